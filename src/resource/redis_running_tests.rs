use std::fs;

use serde_json::json;

use super::*;
use crate::{
    question::{Answers, redis::User, unit_state::ActiveState},
    resource::trial::{change, fake, run, shown},
    secret::SecretValues,
};

const FINE: &str = "default on sanitize-payload # ~* &* +@all";

fn running(append_only: bool) -> RedisRunning {
    let parameters = json!({"unit": "redis", "cli": "/opt/redis-cli", "password_file": "/etc/secrets.env", "config_file": "/etc/redis.conf",
        "append_only": append_only});
    RedisRunning::new(decode(parameters).unwrap()).unwrap()
}

/// Replies as declared, but with these settings and users.
fn replies(settings: &[(&str, &str)], users: &[&str]) -> Replies {
    let file = ["maxmemory 2mb", "save 900 1", "save 60 5", "appendonly yes", "loadmodule /x.so"];
    let mut running: std::collections::HashMap<String, String> =
        [("maxmemory", "2097152"), ("save", "900 1 60 5"), ("appendonly", "yes")].map(|(a, b)| (a.into(), b.into())).into();
    running.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let user = |rules: &&str| {
        let mut words = rules.split(' ').map(str::to_owned);
        User { name: words.next().unwrap(), rules: words.collect() }
    };
    Replies {
        anonymous: "(error) NOAUTH Authentication required.".into(),
        auth: "OK".into(),
        running,
        file: Some(file.map(str::to_owned).into()),
        requirepass: Requirepass::Same,
        users: Some(users.iter().map(user).collect()),
        ..Replies::default()
    }
}

fn verdict(resource: &RedisRunning, answer: Answer, active: ActiveState) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<Unit>("redis.service".to_owned(), Ok(Unit { active, ..Unit::default() }));
    answers.set::<Redis>(resource.instance.clone(), Ok(answer));
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn of(replies: Replies) -> Verdict {
    verdict(&running(false), Answer::Replies(Box::new(replies)), ActiveState::Active)
}

#[test]
fn a_redis_that_is_as_its_file_says_or_does_not_run_is_left_alone() {
    assert!(matches!(of(replies(&[], &[FINE])), Verdict::Converged { note: None }));
    let drifted = || Answer::Replies(Box::new(replies(&[("maxmemory", "1")], &[FINE])));
    assert!(matches!(verdict(&running(false), drifted(), ActiveState::Inactive), Verdict::Converged { .. }));
    let silent = Answer::Unavailable("there is no client".into());
    assert!(matches!(verdict(&running(false), silent, ActiveState::Active), Verdict::Converged { .. }));
    // The file is not there, or not its own: a handler restarts Redis once it is.
    let without = Replies { file: None, ..replies(&[("maxmemory", "1")], &[FINE]) };
    assert!(matches!(of(without), Verdict::Converged { .. }));
    let rotated = Replies { auth: "(error) WRONGPASS".into(), requirepass: Requirepass::Different, ..replies(&[], &[]) };
    assert!(matches!(of(rotated), Verdict::Converged { .. }));
}

#[test]
fn settings_and_users_that_differ_are_set_back() {
    let drifted = replies(
        &[("maxmemory", "1048576"), ("save", "")],
        &["default on nopass ~* &* +@all", "guest on nopass ~* +@all", "gone off nopass +@all", "app on # ~app:* +@read"],
    );
    let change = change(of(drifted));
    assert_eq!(change.summary, "set back `maxmemory`, `save`, the user `default`, the user `guest`");
    assert_eq!(
        shown(&change.diff),
        "- maxmemory 1048576\n+ maxmemory 2mb\n- save \"\"\n+ save 900 1 60 5\n- user `default` needs no password\n\
         + user `default` needs `REDIS_PASSWORD` and may do everything\n- user `guest` needs no password\n+ user `guest` off"
    );
    let shell = change.script.render().unwrap();
    assert!(!shell.contains("\"app\""), "a user with a password is left alone: {shell}");
}

#[test]
fn a_replica_is_made_a_server_of_its_own_and_what_no_line_names_gets_its_default() {
    let mut drifted = replies(&[("min-replicas-to-write", "1")], &[FINE]);
    let info = [("role", "slave"), ("master_host", "198.18.0.9"), ("master_port", "6379")];
    drifted.info = info.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let change = change(of(drifted));
    assert_eq!(change.summary, "set back a replica of 198.18.0.9:6379, `min-replicas-to-write`");
    assert_eq!(
        shown(&change.diff),
        "- replica of 198.18.0.9:6379\n+ replica of no server\n- min-replicas-to-write 1\n+ min-replicas-to-write 0"
    );
    let shell = change.script.render().unwrap();
    assert!(shell.contains("REPLICAOF NO ONE") && shell.contains("CONFIG SET min-replicas-to-write"), "{shell}");
}

#[test]
fn the_declared_address_is_asked() {
    let of = |bind: &str| {
        let parameters = json!({"unit": "redis", "cli": "/c", "password_file": "/s", "config_file": "/r", "bind": bind});
        RedisRunning::new(decode(parameters).unwrap()).unwrap().instance.address
    };
    assert_eq!(of("* -::*"), Address::Tcp("127.0.0.1".into(), 6379));
    assert_eq!(of("198.18.0.5"), Address::Tcp("198.18.0.5".into(), 6379));
    let odd = json!({"unit": "redis", "cli": "/c", "password_file": "/s", "config_file": "/r", "container": "-f"});
    assert!(RedisRunning::new(decode(odd).unwrap()).is_err());
}

#[test]
fn a_user_that_was_made_for_a_client_is_named_and_left() {
    let Verdict::Converged { note: Some(note) } = of(replies(&[], &[FINE, "app on # ~app:* +@read"])) else { panic!() };
    assert!(note.starts_with("the user `app` was made at run time and stands in no file: a deploy leaves it"), "{note}");
}

#[test]
fn a_redis_that_refuses_its_own_password_or_port_is_restarted() {
    let locked = Replies { auth: "(error) WRONGPASS".into(), ..replies(&[], &[]) };
    let restarted = change(of(locked));
    assert_eq!(restarted.summary, "restart, because it refuses its own password");
    let moved = verdict(&running(false), Answer::Refused("Connection refused".into()), ActiveState::Active);
    assert_eq!(change(moved).summary, "restart, because it does not listen on port 6379");
    let stopped = verdict(&running(false), Answer::Refused("Connection refused".into()), ActiveState::Inactive);
    assert!(matches!(stopped, Verdict::Converged { .. }));
}

#[test]
fn only_an_append_only_file_is_switched_on_before_a_restart() {
    let only = |settings: &[(&str, &str)]| {
        let users = ["default on nopass ~* &* +@all"];
        verdict(&running(true), Answer::Replies(Box::new(replies(settings, &users))), ActiveState::Active)
    };
    assert!(matches!(only(&[("maxmemory", "1")]), Verdict::Converged { note: None }));
    let switched = change(only(&[("maxmemory", "1"), ("appendonly", "no")]));
    assert_eq!(shown(&switched.diff), "- appendonly no\n+ appendonly yes");
    let locked = Replies { auth: "(error) WRONGPASS".into(), ..replies(&[("appendonly", "no")], &[]) };
    let locked = verdict(&running(true), Answer::Replies(Box::new(locked)), ActiveState::Active);
    assert!(matches!(locked, Verdict::Converged { .. }));
}

/// What became of a script: its status, its words, what redis-cli got, and what systemd did.
struct Tried {
    status: i32,
    stderr: String,
    input: String,
    arguments: String,
    systemd: String,
    docker: String,
}

/// Runs the script for real, with a client that answers each line by `reply`.
fn try_repair(drifted: Replies, reply: &str) -> Tried {
    try_repair_of(drifted, reply, None)
}

fn try_repair_of(drifted: Replies, reply: &str, container: Option<&str>) -> Tried {
    let append_only = drifted.running["appendonly"] == "no";
    let tools = tempfile::tempdir().unwrap();
    let path = |name: &str| RemotePath::new(tools.path().join(name).to_str().unwrap()).unwrap();
    unit_functions::tests::fake_systemd(
        tools.path(),
        "Id=redis.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\nType=simple\nResult=success\n",
    );
    fs::write(tools.path().join("secrets.env"), "REDIS_PASSWORD='p@ss $(x)'\n").unwrap();
    let conf = "port 1\n USER  app  on >w0rd ~app:* +@read\nuser application on >x\nrequirepass y\n";
    fs::write(tools.path().join("redis.conf"), conf).unwrap();
    fake(tools.path(), "docker", "echo \"$@\" >>$TOOLS/docker-calls; echo name");
    let client =
        "printf '%s\\n' \"$@\" >>$TOOLS/arguments\nwhile IFS= read -r line; do echo \"$line\" >>$TOOLS/input\ncase $line in ";
    fake(tools.path(), "redis-cli", &format!("{client}{reply}\n*) echo OK;; esac; done"));
    let mut resource = running(append_only);
    resource.instance.cli = path("redis-cli");
    resource.instance.password_file = path("secrets.env");
    resource.instance.config_file = Some(path("redis.conf"));
    resource.container = container.map(str::to_owned);
    let change = change(verdict(&resource, Answer::Replies(Box::new(drifted)), ActiveState::Active));
    let done = run(&change.script, tools.path());
    let read = |name: &str| fs::read_to_string(tools.path().join(name)).unwrap_or_default();
    Tried {
        status: done.status,
        stderr: done.stderr,
        input: read("input"),
        arguments: read("arguments"),
        systemd: unit_functions::tests::calls(tools.path()),
        docker: read("docker-calls"),
    }
}

#[test]
fn the_door_is_closed_first_and_no_argument_holds_the_password() {
    let users = ["default on nopass ~* &* +@all", "a\"b on nopass +@all"];
    let open = Replies {
        anonymous: "PONG".into(),
        auth: "(error) ERR AUTH <password> called without any password configured".into(),
        ..replies(&[("save", "")], &users)
    };
    let tried = try_repair(open, "AUTH*) echo '(error) ERR AUTH <password> called without any password configured';;");
    assert_eq!((tried.status, tried.stderr.as_str(), tried.systemd.as_str()), (0, "", ""));
    assert_eq!(
        tried.input,
        "AUTH \"p@ss $(x)\"\nACL SETUSER default reset on \">p@ss $(x)\" ~* &* +@all\nCONFIG SET requirepass \"p@ss $(x)\"\n\
         CLIENT KILL USER default\nCONFIG SET save \"900 1 60 5\"\nACL SETUSER \"a\\\"b\" off\nCLIENT KILL USER \"a\\\"b\"\n"
    );
    assert_eq!(tried.arguments, "--no-raw\n-h\n127.0.0.1\n-p\n6379\n");
}

#[test]
fn what_redis_takes_from_its_file_only_is_set_by_a_restart_and_other_refusals_fail() {
    let drifted = || replies(&[("maxmemory", "1")], &[FINE]);
    let immutable = "(error) ERR CONFIG SET failed (possibly related to argument 'maxmemory') - can't set immutable config";
    let tried = try_repair(drifted(), &format!("CONFIG*) echo \"{immutable}\";;"));
    assert_eq!((tried.status, tried.stderr.as_str()), (0, ""));
    assert_eq!(tried.systemd, "daemon-reload\nreset-failed redis.service\nrestart redis.service\n");
    let tried = try_repair(drifted(), "CONFIG*) echo '(error) ERR no';;");
    assert_eq!((tried.status, tried.stderr.as_str(), tried.systemd.as_str()), (1, "(error) ERR no\n", ""));
    let tried = try_repair(drifted(), "CONFIG*) echo '(error) ERR bad >p@ss $(x)';;");
    assert_eq!((tried.status, tried.stderr.as_str()), (1, "Redis refuses the password\n"));
    let tried = try_repair(drifted(), "AUTH*) echo 'Could not connect to Redis at x'; exit 1;;");
    assert_eq!((tried.status, tried.stderr.as_str()), (1, "Could not connect to Redis at x\n"));
}

#[test]
fn an_append_only_file_is_complete_before_the_task_ends() {
    let drifted = || replies(&[("appendonly", "no")], &[FINE]);
    assert!(matches!(of(drifted()), Verdict::Converged { .. }), "another task does this");
    let busy = "INFO*) if [ -e $TOOLS/seen ]; then echo 'aof_rewrite_in_progress:0'; echo 'aof_last_bgrewrite_status:ok'\n\
        else echo 'aof_rewrite_in_progress:1'; >$TOOLS/seen; fi;;";
    let tried = try_repair(drifted(), busy);
    assert_eq!((tried.status, tried.stderr.as_str()), (0, ""));
    assert_eq!(tried.input.matches("INFO persistence").count(), 2);
    let tried = try_repair(drifted(), "INFO*) echo 'aof_last_bgrewrite_status:err';;");
    assert_eq!((tried.status, tried.stderr.as_str()), (1, "Redis could not write its append-only file anew\n"));
}

#[test]
fn a_user_of_the_file_gets_its_rules_again_and_no_argument_holds_them() {
    let drifted = || {
        let mut drifted = replies(&[], &[FINE, "app on nopass ~* +@all"]);
        drifted.file.as_mut().unwrap().push("user app on # ~app:* +@read".into());
        drifted
    };
    let change = change(of(drifted()));
    assert_eq!(change.summary, "set back the user `app`");
    assert_eq!(shown(&change.diff), "- user `app` needs no password\n+ user `app` as in its file");
    assert!(!change.script.render().unwrap().contains("w0rd"));
    let tried = try_repair(drifted(), "nothing) ;;");
    assert_eq!((tried.status, tried.stderr.as_str(), tried.systemd.as_str()), (0, "", ""));
    assert_eq!(tried.input, "AUTH \"p@ss $(x)\"\nACL SETUSER app reset  on >w0rd ~app:* +@read\nCLIENT KILL USER app\n");
    let refused = "ACL*) echo \"(error) ERR Error in ACL SETUSER modifier '>w0rd': no\";;";
    let tried = try_repair(drifted(), refused);
    assert_eq!((tried.status, tried.stderr.as_str()), (1, "Redis refuses the rules of a user in its file\n"));
}

#[test]
fn a_redis_in_a_container_is_restarted_with_that() {
    let locked = Replies { auth: "(error) WRONGPASS".into(), ..replies(&[], &[]) };
    let answers = "PING) [ -e $TOOLS/again ] && echo PONG || { >$TOOLS/again; echo LOADING; };;";
    let tried = try_repair_of(locked, answers, Some("autobot-redis"));
    assert_eq!((tried.status, tried.stderr.as_str(), tried.systemd.as_str()), (0, "", ""));
    assert_eq!(tried.docker, "restart autobot-redis\n");
    assert_eq!(tried.input.matches("PING\n").count(), 2, "until it answers: {}", tried.input);
}
