//! Tests of `postgresql_conf`: the file, and which of its settings are live.

use serde_json::{Value, json};

use super::*;
use crate::{
    question::{
        Answers,
        pg_cluster::{ClusterInfo, ConfigFile, ServerAnswer},
    },
    resource::{content::tests::shown, trial},
    secret::SecretValues,
};

const OURS: &str = "/etc/postgresql/15/main/conf.d/50-autobot.conf";

/// A time when the server has read a file that changed at 0, in microseconds.
const READ: i64 = 10_000;

fn conf(parameters: Value) -> Result<PostgresqlConf, ParamError> {
    PostgresqlConf::new(decode(parameters)?)
}

fn two(restart: bool) -> PostgresqlConf {
    conf(json!({"settings": {"max_connections": 200, "work_mem": "8MB"}, "restart": restart})).unwrap()
}

fn error(parameters: Value) -> String {
    match conf(parameters) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    }
}

/// Returns the row of a server that has read our file.
fn server() -> Value {
    let setting = |context: &str| json!({"context": context, "pending": false, "source": "configuration file", "file": OURS});
    let place = |name: &str, file: &str| json!({"name": name, "file": file});
    json!({
        "loaded": READ, "unreadable": [], "elsewhere": [],
        "settings": {"max_connections": setting("postmaster"), "work_mem": setting("user")},
        "places": [
            place("max_connections", "/etc/postgresql/15/main/postgresql.conf"), place("max_connections", OURS), place("work_mem", OURS),
        ],
    })
}

fn verdict(conf: &PostgresqlConf, text: Option<&str>, server: Value) -> Verdict {
    let file = text.map(|text| ConfigFile {
        content: text.into(),
        mode: Mode(0o644),
        owner: "postgres:postgres".into(),
        regular: true,
        changed: 0,
        modified: 0,
    });
    let mut answers = Answers::default();
    answers
        .set::<PgCluster>(conf.query(), Ok(ClusterInfo { versions: vec!["15".into()], file, server: ServerAnswer::Row(server) }));
    conf.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

#[test]
fn values_are_written_so_that_postgresql_reads_them_back() {
    let conf = conf(
        json!({"settings": {"listen_addresses": "localhost, 10.0.0.1", "ssl": true, "log_line_prefix": "%m 'q' \\ ", "pg_stat_statements.max": 1000, "DateStyle": "ISO", "random_page_cost": 1.1}}),
    );
    insta::assert_snapshot!(conf.unwrap().file.text, @r"
    # Written by autobot-provision: what is changed here is lost.
    listen_addresses = 'localhost, 10.0.0.1'
    ssl = 'on'
    log_line_prefix = '%m ''q'' \\ '
    pg_stat_statements.max = '1000'
    DateStyle = 'ISO'
    random_page_cost = '1.1'
    ");
}

#[test]
fn a_file_that_the_server_has_read_is_converged() {
    let conf = two(true);
    assert_eq!(shown(&verdict(&conf, Some(&conf.file.text), server())), "converged");
    // Our own session and the role of this program may have other values than the file.
    let mut session = server();
    session["settings"]["work_mem"] = json!({"context": "user", "pending": false, "source": "user", "file": null});
    assert_eq!(shown(&verdict(&conf, Some(&conf.file.text), session)), "converged");
    // A reload that finds a value in force, such as the default, does not note where it stands if the setting needs a restart.
    let mut same = server();
    same["settings"]["max_connections"]["file"] = json!(null);
    assert_eq!(shown(&verdict(&conf, Some(&conf.file.text), same)), "converged");
}

#[test]
fn a_file_that_keeps_the_server_from_reading_any_is_named_before_a_reload() {
    let conf = two(true);
    let text = conf.file.text.clone();
    let mut broken = server();
    broken["unreadable"] = json!(["/etc/postgresql/15/main/conf.d/99-mine.conf, line 3: syntax error"]);
    assert_eq!(shown(&verdict(&conf, Some(&text), broken.clone())), "converged", "there is nothing to read");
    assert_eq!(
        shown(&verdict(&conf, None, broken.clone())),
        "refused: PostgreSQL reads none of its files again, nor starts again, while one of them has an error: \
         /etc/postgresql/15/main/conf.d/99-mine.conf, line 3: syntax error; correct or remove that line"
    );
    broken["unreadable"] = json!([format!("{OURS}, line 3: syntax error")]);
    assert_eq!(
        trial::change(verdict(&conf, Some("broken"), broken)).summary,
        "content, restart for max_connections",
        "it is replaced"
    );
}

#[test]
fn settings_of_roles_and_databases_are_noted() {
    let conf = two(true);
    let mut elsewhere = server();
    elsewhere["elsewhere"] = json!(["work_mem for the role app in the database slm"]);
    let Verdict::Converged { note: Some(note) } = verdict(&conf, Some(&conf.file.text), elsewhere) else { panic!() };
    assert!(
        note.starts_with("set otherwise, where the file's value does not count: work_mem for the role app in the database slm"),
        "{note}"
    );
}

#[test]
fn each_thing_that_is_not_live_is_a_change() {
    let conf = two(true);
    let text = conf.file.text.clone();
    let mut stale = server();
    // The kernel's time of a file may be a tick behind.
    for loaded in [-1, 0, 9_999] {
        stale["loaded"] = json!(loaded);
        assert_eq!(trial::change(verdict(&conf, Some(&text), stale.clone())).summary, "reload");
    }
    let mut unread = server();
    unread["settings"]["work_mem"]["file"] = json!("/etc/postgresql/15/main/postgresql.conf");
    assert_eq!(trial::change(verdict(&conf, Some(&text), unread)).summary, "reload");
    let mut pending = server();
    pending["settings"]["max_connections"]["pending"] = json!(true);
    assert_eq!(trial::change(verdict(&conf, Some(&text), pending.clone())).summary, "restart for max_connections");
    let Verdict::Converged { note: Some(note) } = verdict(&two(false), Some(&text), pending) else { panic!() };
    assert_eq!(note, "waits for a restart of PostgreSQL: max_connections");
}

#[test]
fn a_reload_is_distinguished_from_a_restart() {
    let conf = two(true);
    assert_eq!(trial::change(verdict(&conf, None, server())).summary, "create, restart for max_connections");
    let other_memory = conf.file.text.replace("8MB", "4MB");
    let change = trial::change(verdict(&conf, Some(&other_memory), server()));
    assert_eq!((change.summary.as_str(), change.replaces), ("content, reload", true));
    assert!(trial::shown(&change.diff).contains("- work_mem = '4MB'\n+ work_mem = '8MB'"));
    let other_connections = conf.file.text.replace("200", "100");
    assert_eq!(trial::change(verdict(&conf, Some(&other_connections), server())).summary, "content, restart for max_connections");
    let change = trial::change(verdict(&two(false), Some(&other_connections), server()));
    assert_eq!(change.summary, "content, reload; a restart is needed for max_connections");
}

#[test]
fn a_file_that_wins_is_named_before_anything_is_done() {
    let conf = two(true);
    let verdict_text = |text: Option<&str>, file: &str, ours: bool| {
        let mut server = server();
        let mut places = vec![json!({"name": "work_mem", "file": file})];
        if ours {
            places.insert(0, json!({"name": "work_mem", "file": OURS}));
        }
        server["places"] = json!(places);
        shown(&verdict(&conf, text, server))
    };
    let auto = "/var/lib/postgresql/15/main/postgresql.auto.conf";
    for ours in [true, false] {
        assert!(verdict_text(None, auto, ours).contains("ALTER SYSTEM RESET work_mem"));
        let later = verdict_text(None, "/etc/postgresql/15/main/conf.d/99-x.conf", ours);
        assert!(later.contains("`work_mem` is set again in `/etc/postgresql/15/main/conf.d/99-x.conf`"), "{later}");
    }
    assert!(verdict_text(None, "/etc/postgresql/15/main/conf.d/10-x.conf", false).starts_with("change: create"));
    assert!(verdict_text(None, "/etc/postgresql/15/main/postgresql.conf", false).starts_with("change: create"));
    assert!(
        verdict_text(Some("x"), "/etc/postgresql/15/main/postgresql.conf", true).starts_with("refused: `work_mem` is set again")
    );
    let mut line = server();
    line["settings"]["work_mem"]["source"] = json!("command line");
    assert!(shown(&verdict(&conf, None, line)).contains("set by the server's command line"));
}

#[test]
fn settings_that_do_not_exist_are_refused() {
    let mut none = server();
    none["settings"].as_object_mut().unwrap().remove("work_mem");
    assert_eq!(shown(&verdict(&two(true), None, none)), "refused: PostgreSQL has no setting `work_mem` in this version");
    let mut internal = server();
    internal["settings"]["work_mem"]["context"] = json!("internal");
    assert!(shown(&verdict(&two(true), None, internal)).starts_with("refused: `work_mem` cannot be set"));
    let custom = conf(json!({"settings": {"my.setting": "x"}})).unwrap();
    assert_eq!(
        shown(&verdict(
            &custom,
            Some(&custom.file.text),
            json!({"loaded": READ, "unreadable": [], "elsewhere": [], "settings": {}, "places": []})
        )),
        "converged"
    );
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let all = [
        error(json!({"settings": {}})),
        error(json!({"settings": {"a b": 1}})),
        error(json!({"settings": {"a'": 1}})),
        error(json!({"settings": {"include_dir": "x"}})),
        error(json!({"settings": {"data_directory": "/x"}})),
        error(json!({"settings": {"work_mem": "a\nb"}})),
        error(json!({"settings": {"work_mem": 1, "WORK_MEM": 2}})),
        error(json!({"settings": {"work_mem": [1]}})),
        error(json!({"settings": {"work_mem": 1}, "file": "../x.conf"})),
        error(json!({"settings": {"work_mem": 1}, "file": "x"})),
        error(json!({"settings": {"work_mem": 1}, "version": "1 5"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    [Key("settings")]: is empty; give what is to be set, as in `{max_connections: 200}`
    [Key("settings"), Key("a b")]: `a b` is not the name of a setting
    [Key("settings"), Key("a'")]: `a'` is not the name of a setting
    [Key("settings"), Key("include_dir")]: `include_dir` says where the cluster's files are; that is the packages' business
    [Key("settings"), Key("data_directory")]: `data_directory` says where the cluster's files are; that is the packages' business
    [Key("settings"), Key("work_mem")]: cannot hold control characters
    [Key("settings"), Key("WORK_MEM")]: `WORK_MEM` is given twice, in upper and in lower case
    [Key("settings"), Key("work_mem")]: expected a text, a number or a boolean
    [Key("file")]: is the name of a file in `conf.d` that PostgreSQL reads: letters, digits, `_`, `.`, `-`, ending in `.conf`
    [Key("file")]: is the name of a file in `conf.d` that PostgreSQL reads: letters, digits, `_`, `.`, `-`, ending in `.conf`
    [Key("version")]: `1 5` is not a PostgreSQL version, such as "17"
    "#);
}
