//! Tests of the question about Redis: the shell with a client that is a script, and the parser.

use super::*;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

fn instance(directory: &Path) -> Instance {
    let path = |name: &str| RemotePath::new(directory.join(name).to_str().unwrap()).unwrap();
    Instance {
        cli: path("redis-cli"),
        address: Address::Tcp("127.0.0.1".into(), 6379),
        password_file: path("secrets.env"),
        password_key: "REDIS_PASSWORD".into(),
        config_file: Some(path("redis.conf")),
    }
}

/// A fake redis-cli that records its arguments, environment and input, and answers like the real one.
const FAKE: &str = r#"#!/bin/sh
cd "${0%/*}"
printf '%s\n' "$@" >>seen
env >>seen
input=$(cat)
printf '%s\n' "$input" >>input
cat reply
"#;

fn node(password: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("redis-cli", FAKE);
    fs::set_permissions(directory.path().join("redis-cli"), fs::Permissions::from_mode(0o755)).unwrap();
    write("secrets.env", &format!("# keep\nOTHER=x\nREDIS_PASSWORD={password}\n"));
    write(
        "redis.conf",
        "# comment\n  port 6379\nRequirePass \"p@ss $(x)\"\nmasterauth other\nuser default on >p@ss <old #1f ~* +@all\nUSER app on \">p@ss x\" +get\nsave 900 1 *\n\nloadmodule /x.so\n",
    );
    let info = "(error) NOAUTH Authentication required.\nOK\n\"@ping\"\nPONG\n\"@info\"\n# Server\r\nprocess_id:1\r\nredis_version:7.4.1\r\n# Persistence\r\nloading:0\r\n\
        module:name=search,ver=21005,api=1\r\n\"@config\"\n 1) \"port\"\n 2) \"6379\"\n 3) \"save\"\n10) \"a\\\"\\x00b\"\n\
        \"@users\"\n1) \"user default on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~* &* +@all\"\n\
        2) \"user a\\\"b off #30c9 #773d (%R~* resetchannels -@all +get)\"\n\"@end\"\n";
    write("reply", info);
    directory
}

fn ask(instance: &Instance) -> Result<Answer, Unanswered> {
    let shell = Redis::script(&[instance]).render().unwrap();
    let output = Command::new("sh").arg("-c").arg(shell).env("LC_ALL", "C").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("p@ss"), "the password left the node");
    Redis::read(&[instance], &Output { status: 0, stdout: output.stdout }).remove(0)
}

#[test]
fn the_password_is_passed_to_redis_through_standard_input_only() {
    for password in ["p@ss $(x)", "'p@ss $(x)'", "\"p@ss $(x)\"\r"] {
        let node = node(password);
        let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
        assert_eq!(
            (replies.anonymous.as_str(), replies.auth.as_str(), replies.ping.as_str()),
            ("(error) NOAUTH Authentication required.", "OK", "PONG")
        );
        assert_eq!(replies.requirepass, Requirepass::Same);
        assert_eq!(
            replies.file.unwrap(),
            ["port 6379", "user default on # ! # ~* +@all", "user app ?", "save 900 1 *", "loadmodule /x.so"]
        );
        let users = replies.users.unwrap();
        assert_eq!(users[0].rules.join(" "), "on # ~* &* +@all");
        assert_eq!(
            (users[1].name.as_str(), users[1].rules.join(" ").as_str()),
            ("a\"b", "off # # (%R~* resetchannels -@all +get)")
        );
        assert_eq!((users[0].passwords(), users[0].may_do_everything(), users[1].is_on()), (1, true, false));
        assert_eq!((replies.running["port"].as_str(), replies.running["save"].as_str()), ("6379", "a\"\0b"));
        assert_eq!((replies.modules, replies.info["loading"].as_str()), (vec!["search".to_owned()], "0"));
        let seen = fs::read_to_string(node.path().join("seen")).unwrap();
        assert!(seen.contains("--no-raw\n-h\n127.0.0.1\n-p\n6379\n") && !seen.contains("p@ss"));
        let input = fs::read_to_string(node.path().join("input")).unwrap();
        assert!(
            input.contains("AUTH \"p@ss $(x)\"\n")
                && input.contains("CONFIG GET port save loadmodule min-replicas-to-write maxmemory "),
            "{input}"
        );
    }
}

#[test]
fn a_server_that_needs_no_password_is_asked_all_the_same() {
    let node = node("p@ss $(x)");
    let reply = fs::read_to_string(node.path().join("reply")).unwrap();
    let open = "PONG\n(error) ERR AUTH <password> called without any password configured for the default user. Are you sure?\n";
    let reply = reply.replace("(error) NOAUTH Authentication required.\nOK\n", open).replace("on #30c9", "on nopass #30c9");
    fs::write(node.path().join("reply"), reply).unwrap();
    let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
    assert!(replies.is_open() && replies.auth.starts_with("(error) ERR AUTH <password> called without"), "{replies:?}");
    assert_eq!(replies.running["port"], "6379");
    assert!(replies.users.unwrap()[0].is_open());
}

#[test]
fn a_secrets_file_is_read_as_the_engine_reads_it() {
    for text in [
        "REDIS_PASSWORD = x\n",
        "# c\n\n  # d=e\nREDIS_PASSWORD= x\n",
        " REDIS_PASSWORD=x\n",
        "what\n",
        "=x\n",
        "1A=x\nREDIS_PASSWORD=y\n",
        "REDIS_PASSWORD='x\n",
        "OTHER=\"\nREDIS_PASSWORD=y\n",
        "REDIS_PASSWORD=x\nREDIS_PASSWORD=y\n",
        "REDIS_PASSWORD=x",
        "OTHER=a b/c=d\nREDIS_PASSWORD=y  \r\n",
        "REDIS_PASSWORD=\n",
        "",
    ] {
        let node = node("x");
        fs::write(node.path().join("secrets.env"), text).unwrap();
        let asked = instance(node.path());
        let answer = ask(&asked).unwrap();
        match crate::secret::EnvFile::parse(text.as_bytes()) {
            Err(error) => assert_eq!(answer, Answer::Unavailable(error.of_file(&asked.password_file)), "{text}"),
            Ok(file) if file.get("REDIS_PASSWORD").is_some() => {
                let Answer::Replies(_) = answer else { panic!("{text}: {answer:?}") };
                let value = file.get("REDIS_PASSWORD").unwrap().expose().to_owned();
                let input = fs::read_to_string(node.path().join("input")).unwrap();
                assert!(input.contains(&format!("AUTH \"{value}\"\n")), "{text}: {input}");
            }
            Ok(_) => {
                assert!(matches!(answer, Answer::Unavailable(why) if why.starts_with("there is no `REDIS_PASSWORD`")), "{text}");
            }
        }
    }
}

#[test]
fn a_different_password_in_the_configuration_is_detected_on_the_node() {
    let node = node("p@ss");
    let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
    assert_eq!(replies.requirepass, Requirepass::Different);
}

#[test]
fn an_instance_that_cannot_be_asked_has_a_reason() {
    let node = node("x\"y");
    let silent = |instance: &Instance| match ask(instance) {
        Ok(Answer::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(silent(&instance(node.path())).contains("double quote"));
    let other_key = Instance { password_key: "NONE".into(), ..instance(node.path()) };
    assert!(silent(&other_key).contains("there is no `NONE` in"));
    fs::remove_file(node.path().join("redis-cli")).unwrap();
    assert!(silent(&instance(node.path())).contains("there is no /"));
}

#[test]
fn the_address_is_one_at_which_redis_listens() {
    for (bind, wanted) in [
        ("* -::*", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("198.18.0.5 127.0.0.1", "127.0.0.1"),
        ("198.18.0.5", "198.18.0.5"),
        ("-198.18.0.9 198.18.0.5", "198.18.0.5"),
        ("-198.18.0.9", "198.18.0.9"),
        ("-::*", "::1"),
        ("::", "::1"),
        ("redis.example", "redis.example"),
    ] {
        assert_eq!(Address::bound(bind, 1), Address::Tcp(wanted.to_owned(), 1), "{bind}");
    }
}

#[test]
fn a_reply_that_repeats_the_password_is_cut() {
    let node = node("p@ss $(x)");
    fs::write(
        node.path().join("reply"),
        "PONG\n(error) ERR unknown command 'AUTH', with args beginning with: 'p@ss $(x)'\n\"@end\"\n",
    )
    .unwrap();
    let Ok(Answer::Replies(replies)) = ask(&instance(node.path())) else { panic!() };
    assert_eq!(replies.auth, "(error) ERR unknown command 'AUTH'");
}

#[test]
fn another_machine_does_not_get_the_password_unless_it_is_named_as_one() {
    let node = node("p");
    let at = |address: Address| ask(&Instance { address, ..instance(node.path()) });
    // An address of TEST-NET-3 (RFC 5737), which no machine has.
    let answer = at(Address::Tcp("203.0.113.9".into(), 6379));
    let Ok(Answer::Refused(why)) = answer else { panic!("{answer:?}") };
    assert_eq!(why, "Could not connect to Redis at 203.0.113.9: it is no address of this node");
    assert!(!node.path().join("seen").exists(), "nothing was asked");
    assert!(matches!(at(Address::Elsewhere("203.0.113.9".into(), 6379)), Ok(Answer::Replies(_))));
    assert!(fs::read_to_string(node.path().join("seen")).unwrap().contains("203.0.113.9"));
}

#[test]
fn a_refused_connection_has_a_reason_and_half_an_answer_is_no_answer() {
    let node = node("p");
    let reply = |text: &str| fs::write(node.path().join("reply"), text).unwrap();
    reply("Could not connect to Redis at /x: No such file or directory\n");
    assert!(matches!(ask(&instance(node.path())), Ok(Answer::Refused(why)) if why.starts_with("Could not connect")));
    reply("PONG\nOK\n\"@ping\"\n");
    assert_eq!(ask(&instance(node.path())).unwrap_err().0, "redis-cli ended early");
    reply("service \"redis\" is not running\n");
    assert_eq!(ask(&instance(node.path())), Ok(Answer::Unavailable("service \"redis\" is not running".into())));
    assert!(Redis::read(&[&instance(node.path())], &Output { status: 0, stdout: Vec::new() })[0].is_err());
    assert!(Redis::read(&[&instance(node.path())], &Output { status: 124, stdout: Vec::new() })[0].is_err());
}
