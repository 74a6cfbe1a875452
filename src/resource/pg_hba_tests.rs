//! Tests of `pg_hba`: lines as PostgreSQL reads them, and what must not happen.

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

fn hba(parameters: Value) -> Result<PgHba, ParamError> {
    PgHba::new(decode(parameters)?)
}

fn rule(rule: &Value) -> Value {
    json!({"rules": [rule]})
}

fn line(given: &Value) -> String {
    hba(rule(given)).unwrap().file.text.lines().nth(2).unwrap_or_default().to_owned()
}

fn error(parameters: Value) -> String {
    let (path, message) = match hba(parameters) {
        Err(ParamError::Parameter { path, message }) => (path, message),
        Err(ParamError::Word { path, word }) => (path, word.to_string()),
        other => panic!("{other:?}"),
    };
    let path: Vec<String> = path
        .iter()
        .map(|step| match step {
            Segment::Key(key) => key.clone(),
            Segment::Index(index) => index.to_string(),
        })
        .collect();
    format!("{}: {message}", path.join("."))
}

fn app() -> PgHba {
    hba(json!({"rules": [
        {"type": "local", "database": "slm", "user": "slm_app", "method": "scram-sha-256"},
        {"type": "hostssl", "database": ["slm", "x y"], "user": ["slm_app", "+staff"], "address": "198.18.0.20/32", "method": "scram-sha-256"},
    ]}))
    .unwrap()
}

fn file(content: &str) -> ConfigFile {
    ConfigFile {
        content: content.into(),
        mode: Mode(0o640),
        owner: "postgres:postgres".into(),
        regular: true,
        changed: 0,
        modified: 0,
    }
}

fn found(file: Option<ConfigFile>, server: Value) -> ClusterInfo {
    ClusterInfo { versions: vec!["15".into()], file, server: ServerAnswer::Row(server) }
}

fn server(stale: bool, errors: &[&str]) -> Value {
    let loaded = if stale { 9_999 } else { 10_000 };
    json!({"hba_file": "/etc/postgresql/15/main/pg_hba.conf", "loaded": loaded, "errors": errors, "unreadable": [],
        "unread": [], "pending": [], "ssl": true, "ssl_place": null, "hostssl": [], "trust": [], "gone": []})
}

fn verdict(hba: &PgHba, found: ClusterInfo) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<PgCluster>(hba.query(), Ok(found));
    hba.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

#[test]
fn the_rule_for_postgres_comes_first_whatever_is_declared() {
    insta::assert_snapshot!(app().file.text, @r#"
    # Written by autobot-provision: what is changed here is lost. The first rule that fits counts.
    local all postgres peer
    local slm slm_app scram-sha-256
    hostssl slm,"x y" slm_app,+staff 198.18.0.20/32 scram-sha-256
    "#);
    let twice = json!({"rules": [{"type": "local", "user": "postgres", "method": "peer"}]});
    assert_eq!(hba(twice).unwrap().file.text.matches("local all postgres peer").count(), 1);
}

#[test]
fn words_are_quoted_where_they_would_mean_more() {
    for (given, expected) in [
        (json!({"type": "local", "method": "peer"}), "local all all peer"),
        (json!({"type": "local", "database": "a b", "user": "c#d", "method": "peer"}), "local \"a b\" \"c#d\" peer"),
        (
            json!({"type": "host", "database": "replication", "user": "rep", "address": "fd00::/8", "method": "scram-sha-256"}),
            "host replication rep fd00::/8 scram-sha-256",
        ),
        (json!({"type": "host", "address": "samenet", "method": "reject"}), "host all all samenet reject"),
        (
            json!({"type": "hostssl", "address": "all", "method": "cert", "options": {"map": "a b", "clientname": "DN"}}),
            "hostssl all all all cert \"map=a b\" clientname=DN",
        ),
        (
            json!({"type": "hostssl", "address": "0.0.0.0/0", "method": "scram-sha-256", "options": {"clientcert": "verify-full"}}),
            "hostssl all all 0.0.0.0/0 scram-sha-256 clientcert=verify-full",
        ),
        (json!({"type": "local", "user": "ü", "method": "peer"}), "local all \"ü\" peer"),
        (json!({"type": "host", "address": "198.18.0.20", "method": "md5"}), "host all all 198.18.0.20/32 md5"),
        (json!({"type": "host", "address": "fd00::1", "method": "md5"}), "host all all fd00::1/128 md5"),
    ] {
        assert_eq!(line(&given), expected);
    }
}

#[test]
fn a_rule_for_several_addresses_is_several_lines_and_for_none_is_no_line() {
    let lines_for = |address: Value| {
        let rule =
            json!({"type": "host", "database": "x", "user": "y", "address": address, "method": "trust", "options": {"map": "m"}});
        let hba = hba(json!({"rules": [rule], "part": "p", "allow_trust": true})).unwrap();
        (hba.file.text.lines().skip(3).map(str::to_owned).collect::<Vec<_>>(), hba.trusting.len())
    };
    let (lines, trusting) = lines_for(json!(["198.18.0.1", "198.18.2.0/24"]));
    assert_eq!(
        (lines.join("; ").as_str(), trusting),
        ("host x y 198.18.0.1/32 trust map=m; host x y 198.18.2.0/24 trust map=m; # autobot-provision: end p", 2)
    );
    assert_eq!(lines_for(json!([])), (vec!["# autobot-provision: end p".to_owned()], 0));
}

#[test]
fn wrong_rules_say_what_to_do() {
    let all = [
        error(rule(&json!({"type": "local", "address": "127.0.0.1/32", "method": "peer"}))),
        error(rule(&json!({"type": "host", "method": "scram-sha-256"}))),
        error(rule(&json!({"type": "host", "address": "198.18.0.20/24", "method": "scram-sha-256"}))),
        error(rule(&json!({"type": "host", "address": "db.example/24", "method": "scram-sha-256"}))),
        error(rule(&json!({"type": "host", "address": "198.18.0.0/33", "method": "scram-sha-256"}))),
        error(rule(&json!({"type": "host", "address": "all", "method": "peer"}))),
        error(rule(&json!({"type": "host", "address": "all", "method": "cert"}))),
        error(rule(&json!({"type": "local", "user": ["postgres"], "method": "reject"}))),
        error(rule(&json!({"type": "local", "method": "trust"}))),
        error(rule(&json!({"type": "local", "user": "a\"b", "method": "peer"}))),
        error(rule(&json!({"type": "local", "user": "a\nlocal all all trust", "method": "peer"}))),
        error(rule(&json!({"type": "local", "user": "@file", "method": "peer"}))),
        error(rule(&json!({"type": "local", "user": [], "method": "peer"}))),
        error(rule(&json!({"type": "local", "user": ["c", "a,b"], "method": "peer"}))),
        error(rule(&json!({"type": "local", "database": "slm,users", "method": "peer"}))),
        error(rule(&json!({"type": "local", "database": "samegroup", "method": "peer"}))),
        error(rule(&json!({"type": "local", "method": "peer", "options": {"a b": "c"}}))),
        error(json!({"rules": [], "cluster": "../x"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    rules.0.address: a `local` rule is for the Unix socket and has no address
    rules.0.type: a `host` rule needs an `address`, such as 198.18.0.5/32
    rules.0.address: `198.18.0.20/24` has bits beyond its mask: write `198.18.0.0/24`, or `/32` (IPv6: `/128`) for the one address
    rules.0.address: `db.example/24` is not an address such as 198.18.0.1 or 198.18.0.0/24
    rules.0.address: `198.18.0.0/33` is not an address such as 198.18.0.1 or 198.18.0.0/24
    rules.0.method: `peer` asks the kernel who is at the socket, so it is for `local` rules only
    rules.0.method: `cert` needs TLS, so it is for `hostssl` rules only
    rules.0.user: a `local` rule for `postgres` never applies: `local all postgres peer` comes before it, because this program logs in by that
    rules.0.method: `trust` asks for no password: any process that gets this far is any of these users; say `allow_trust: true` if that is meant
    rules.0.user: `a\"b` holds a quote or a control character, which the file has no way to write
    rules.0.user: `a\nlocal all all trust` holds a quote or a control character, which the file has no way to write
    rules.0.user: `@file` is not a name; files (`@`) and patterns (`/`) are not supported
    rules.0.user: is an empty list; leave it out to mean `all`
    rules.0.user: `a,b` would be one name, with a comma in it; give several as a list
    rules.0.database: `slm,users` would be one name, with a comma in it; give several as a list
    rules.0.database: `samegroup` is the old word for `samerole`; say that
    rules.0.options: `a b` is not the name of an option
    cluster: `../x` is not a valid cluster name, such as `main`; a name has letters, digits, `_` and `.`
    "#);
    assert!(error(rule(&json!({"type": "local", "method": "password"}))).contains("`password` is not one of"));
}

#[test]
fn the_file_and_the_running_rules_are_as_wanted() {
    let hba = app();
    let same = || Some(file(&hba.file.text));
    assert_eq!(shown(&verdict(&hba, found(same(), server(false, &[])))), "converged");
    assert_eq!(shown(&verdict(&hba, found(same(), server(true, &[])))), "change (replaces): reload\n");
    let mut broken = server(true, &[]);
    broken["unreadable"] = json!(["/x.conf, line 3: syntax error"]);
    let refused = shown(&verdict(&hba, found(same(), broken.clone())));
    assert!(refused.contains("while one of them has an error: /x.conf, line 3: syntax error; correct"), "{refused}");
    broken["loaded"] = json!(10_000);
    assert_eq!(shown(&verdict(&hba, found(same(), broken))), "converged", "there is nothing to read");
    let refused = shown(&verdict(&hba, found(same(), server(false, &["line 4: no"]))));
    assert!(refused.contains("does not accept these rules: line 4: no"), "{refused}");
    let mut elsewhere = server(false, &[]);
    elsewhere["hba_file"] = json!("/srv/pg_hba.conf");
    assert!(shown(&verdict(&hba, found(same(), elsewhere))).contains("the server reads `/srv/pg_hba.conf`"));
}

#[test]
fn differences_are_shown_and_loaded_by_the_server() {
    let hba = app();
    let old = hba.file.text.replace("scram-sha-256", "trust");
    let change = trial::change(verdict(&hba, found(Some(file(&old)), server(false, &["line 9: wrong, but of the old file"]))));
    assert_eq!(change.summary, "content, reload");
    assert!(trial::shown(&change.diff).contains("- local slm slm_app trust"));
    let open = ConfigFile { mode: Mode(0o644), owner: "root:root".into(), ..file(&hba.file.text) };
    let change = trial::change(verdict(&hba, found(Some(open), server(false, &[]))));
    assert_eq!(change.summary, "owner root:root → postgres:postgres, mode 0644 → 0640, reload");
}

#[test]
fn trust_is_noted_each_time() {
    let hba = hba(json!({"rules": [{"type": "local", "user": "app", "method": "trust"}], "allow_trust": true})).unwrap();
    let Verdict::Converged { note: Some(note) } = verdict(&hba, found(Some(file(&hba.file.text)), server(false, &[]))) else {
        panic!()
    };
    assert_eq!(note, "`trust` admits every client without a password: local all app trust");
    assert!(trial::change(verdict(&hba, found(None, server(false, &[])))).summary.contains("`trust` admits every client"));
}

#[test]
fn without_a_cluster_or_a_server_it_says_what_is_missing() {
    let hba = app();
    let none = ClusterInfo { versions: Vec::new(), file: None, server: ServerAnswer::Unavailable("x".into()) };
    assert!(shown(&verdict(&hba, none.clone())).starts_with("blocked by PostgreSQL's cluster `main`: create\n= pg_hba.conf\n"));
    let two = ClusterInfo { versions: vec!["15".into(), "17".into()], ..none.clone() };
    assert_eq!(
        shown(&verdict(&hba, two)),
        "refused: there are several clusters `main`, of versions 15, 17; say which with `version`"
    );
    let down = |content: &str| ClusterInfo {
        versions: vec!["15".into()],
        file: Some(file(content)),
        server: ServerAnswer::Unavailable("its server does not run".into()),
    };
    assert!(
        shown(&verdict(&hba, down(&hba.file.text)))
            .starts_with("blocked by the server of `/etc/postgresql/15/main` (its server does not run)")
    );
    assert_eq!(trial::change(verdict(&hba, down("broken"))).summary, "content, start");
    let without_answer = hba.compare(&NodeState { answers: &Answers::default(), secrets: &SecretValues::default() });
    assert!(without_answer.is_err());
}

fn part(name: &str, address: &str) -> PgHba {
    let rule = json!({"type": "host", "database": name, "user": name, "address": address, "method": "scram-sha-256"});
    hba(json!({"part": name, "rules": [rule]})).unwrap()
}

#[test]
fn a_part_is_compared_with_its_section_and_the_rest_is_kept() {
    let (slm, users) = (part("slm", "198.18.0.1/32"), part("users", "198.18.0.2/32"));
    let debian = "local all postgres peer\nlocal all all peer\n";
    let change = trial::change(verdict(&slm, found(Some(file(debian)), server(false, &[]))));
    insta::assert_snapshot!(trial::shown(&change.diff), @"
    = pg_hba.conf
    + # Written by autobot-provision: what is changed here is lost. The first rule that fits counts.
      local all postgres peer
    - local all all peer
    + # autobot-provision: begin slm
    + host slm slm 198.18.0.1/32 scram-sha-256
    + # autobot-provision: end slm
    ");
    let alone = change.script.sealed_input().shown();
    let change = trial::change(verdict(&users, found(Some(file(&alone)), server(false, &[]))));
    let both = change.script.sealed_input().shown();
    assert_eq!((change.summary.as_str(), both.starts_with(&alone)), ("content, reload", true));
    for hba in [&slm, &users] {
        assert_eq!(shown(&verdict(hba, found(Some(file(&both)), server(false, &[])))), "converged");
    }
    assert_eq!(shown(&verdict(&slm, found(Some(file(&alone)), server(true, &[])))), "change (replaces): reload\n");
    let foreign = file(&format!("{both}host all all all md5\n"));
    assert_eq!(trial::change(verdict(&slm, found(Some(foreign), server(false, &[])))).script.sealed_input().shown(), both);
    let wider = file(&both.replace("198.18.0.2/32", "0.0.0.0/0"));
    assert_eq!(shown(&verdict(&slm, found(Some(wider.clone()), server(false, &[])))), "converged", "another's business");
    assert_eq!(trial::change(verdict(&users, found(Some(wider), server(false, &[])))).summary, "content, reload");
}

#[test]
fn a_part_answers_for_its_own_lines_only() {
    let both = parts::with_part(part("slm", "198.18.0.1/32").file.text.as_bytes(), "users", Some("broken\n")).unwrap();
    let verdict_of =
        |name: &str, errors: &[&str]| verdict(&part(name, "198.18.0.1/32"), found(Some(file(&both)), server(true, errors)));
    let Verdict::Converged { note: Some(note) } = verdict_of("slm", &["line 7: invalid connection type \"broken\""]) else {
        panic!()
    };
    assert_eq!(note, "PostgreSQL does not accept rules of another part of the file: line 7: invalid connection type \"broken\"");
    let change = shown(&verdict_of("users", &["line 7: invalid connection type \"broken\""]));
    assert!(change.starts_with("change (replaces): content, reload"), "{change}");
    assert!(shown(&verdict_of("slm", &["line 4: no", "line 7: no"])).ends_with("does not accept these rules: line 4: no"));
    assert!(shown(&verdict_of("slm", &["whatever"])).ends_with("does not accept these rules: whatever"));
}

#[test]
fn an_absent_part_is_removed_once() {
    for given in [json!({"part": "slm", "rules": []}), json!({"part": "slm", "state": "absent"})] {
        let gone = hba(given).unwrap();
        let with = part("slm", "198.18.0.1/32").file.text;
        let change = trial::change(verdict(&gone, found(Some(file(&with)), server(false, &[]))));
        assert_eq!(change.script.sealed_input().shown(), format!("{HEADER}\n{FIRST}\n"));
        // A file without the section stays the same, and so does a node without PostgreSQL.
        assert_eq!(shown(&verdict(&gone, found(Some(file("local all all peer\n")), server(true, &["line 1: x"])))), "converged");
        let none = ClusterInfo { versions: Vec::new(), file: None, server: ServerAnswer::Unavailable("x".into()) };
        assert_eq!(shown(&verdict(&gone, none)), "converged");
    }
}

#[test]
fn wrong_parts_say_what_to_do() {
    let all = [
        error(json!({"part": "a b", "rules": []})),
        error(json!({"part": "a", "rules": [{"type": "local", "method": "peer"}], "state": "absent"})),
        error(json!({"rules": [], "state": "absent"})),
        error(json!({"part": "a"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @"
    part: `a b` is not a name for a part: up to 60 letters, digits, `_`, `.`, `-`
    rules: cannot be given with `state: absent`
    state: can be `absent` for a `part` only: without the file no client could log in
    rules: is missing
    ");
}

#[test]
fn a_part_that_cannot_be_kept_is_refused() {
    let strange = ConfigFile { content: b"# autobot-provision: begin z\nlocal \xff all peer\n".to_vec(), ..file("") };
    let refused = shown(&verdict(&part("slm", "198.18.0.1/32"), found(Some(strange), server(false, &[]))));
    assert!(refused.starts_with("refused: the part `z` of pg_hba.conf was changed by hand"), "{refused}");
}

#[test]
fn rules_for_tls_contradict_a_server_without_it_unless_an_earlier_task_switches_it_on() {
    let of = |kind: &str| {
        hba(json!({"rules": [{"type": kind, "database": "slm", "user": "app", "address": "10.0.0.1", "method": "scram-sha-256"}]})).unwrap()
    };
    let contradicted = |hba: &PgHba, server: Value| {
        let mut answers = Answers::default();
        answers.set::<PgCluster>(hba.query(), Ok(found(Some(file(&hba.file.text)), server)));
        hba.contradicted(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    };
    let mut off = server(false, &[]);
    off["ssl"] = json!(false);
    off["ssl_place"] = json!("/var/lib/postgresql/15/main/postgresql.auto.conf:3");
    let by_tls = of("hostssl");
    assert_eq!(contradicted(&by_tls, server(false, &[])), None);
    assert_eq!(contradicted(&of("host"), off.clone()), None);
    let found = contradicted(&by_tls, off).unwrap();
    assert_eq!(
        found.reason,
        "`ssl` is off, so that no client gets in by the `hostssl` rules: it was set with ALTER SYSTEM; `alter system reset ssl`, then \
         `select pg_reload_conf()`"
    );
    let conf = |settings: Value| {
        let mut files = crate::resource::trial::NoFiles;
        (super::super::postgresql_conf::KIND.decode)(json!({"settings": settings}), &mut files).unwrap()
    };
    let (on, other) = (conf(json!({"ssl": "on"})), conf(json!({"work_mem": "1MB"})));
    assert!(found.may_be_ended_by(&[other.as_ref(), on.as_ref()]) && !found.may_be_ended_by(&[other.as_ref()]));
}
