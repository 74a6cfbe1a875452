use std::{fs, path::Path};

use serde_json::json;

use super::*;
use crate::{
    question::Answers,
    resource::{
        do_not_exist,
        trial::{Done, NoFiles, change, fake, run, shown},
    },
    secret::SecretValues,
};

/// Parameters, with these in place of or beside the usual ones.
fn cluster(more: &Value) -> Result<PostgresqlCluster, ParamError> {
    let mut parameters = json!({"version": "15"});
    for (name, value) in more.as_object().unwrap() {
        parameters[name] = value.clone();
    }
    PostgresqlCluster::new(decode(parameters)?)
}

/// What there is of a cluster: `port` where it has a configuration, and any of the words `data`, `started`, `mark`.
fn files(port: &str, words: &str) -> ClusterFiles {
    let has = |word: &str| words.split(' ').any(|one| one == word);
    let port = (!port.is_empty()).then(|| port.to_owned());
    ClusterFiles { port, data: has("data"), started: has("started"), mark: has("mark") }
}

/// A node with PostgreSQL 15 and these clusters.
fn node(clusters: &[(&str, ClusterFiles)]) -> PgLayout {
    PgLayout {
        clusters: clusters.iter().map(|(name, files)| ((*name).to_owned(), files.clone())).collect(),
        versions: ["15".to_owned()].into(),
        has_createcluster: true,
    }
}

fn compare_with(more: &Value, layout: PgLayout, locales: &[&str]) -> Verdict {
    let resource = cluster(more).unwrap();
    let mut answers = Answers::default();
    answers.set::<PgFiles>((), Ok(layout));
    answers.set::<Locales>((), Ok(locales.iter().map(|name| (*name).to_owned()).collect()));
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn compare(more: &Value, clusters: &[(&str, ClusterFiles)]) -> Verdict {
    compare_with(more, node(clusters), &["C", "C.utf8", "POSIX"])
}

fn refusal(verdict: Verdict) -> String {
    let Verdict::Refused(why) = verdict else { panic!("not refused: {verdict:?}") };
    why
}

fn is_converged(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Converged { note: None })
}

#[test]
fn wrong_parameters_are_errors_at_the_parameter() {
    let said = |more: Value| match cluster(&more).unwrap_err() {
        ParamError::Parameter { path, message } => format!("{path:?}: {message}"),
        other @ (ParamError::Word { .. } | ParamError::File(_)) => panic!("{other:?}"),
    };
    for (parameter, values) in [
        ("version", vec!["", "15; reboot", "../15", "-1", "15.", "1.2.3", "main", "15\n"]),
        ("name", vec!["", "../main", "a/b", "-x", ".x", "a b", "*", "main.unfinished-1"]),
        ("encoding", vec!["", "UTF8 ", "--locale", "a\nb", "$(reboot)"]),
        ("locale", vec!["", "--encoding", "a b", "C.UTF-8\n", "$(reboot)", "../C.UTF-8"]),
    ] {
        for value in values {
            let said = said(json!({parameter: value}));
            assert!(said.starts_with(&format!("[Key({parameter:?})]: ")), "{parameter} {value:?}: {said}");
        }
    }
    assert!(said(json!({"port": 0})).starts_with("[Key(\"port\")]"));
    for locale in ["C.ISO-8859-1", "de_DE", "de_DE@euro", "utf8", "de_DE.UTF-16"] {
        assert!(said(json!({"locale": locale})).contains("does not fit the encoding UTF8"), "{locale}");
    }
    insta::assert_snapshot!(said(json!({"locale": "C.ISO-8859-1"})), @r#"[Key("locale")]: `C.ISO-8859-1` does not fit the encoding UTF8: it can be `C`, `POSIX`, or one that ends in `.UTF-8`, such as de_DE.UTF-8"#);
    for fine in [
        json!({"locale": "C"}),
        json!({"locale": "POSIX"}),
        json!({"locale": "de_DE.utf8"}),
        json!({"locale": "ca_ES.UTF-8@valencia"}),
        json!({"encoding": "LATIN1", "locale": "de_DE.ISO-8859-1"}),
        json!({"encoding": "utf-8"}),
        json!({"version": 17}),
        json!({"version": "9.6"}),
    ] {
        assert!(cluster(&fine).is_ok(), "{fine}");
    }
    assert!(from_parameters(json!({"name": "main"}), &mut NoFiles).is_err(), "the version must be given");
}

#[test]
fn a_complete_cluster_is_converged_whatever_else_the_node_has() {
    let complete = || ("15/main", files("5432", "data started"));
    assert!(is_converged(&compare(&json!({}), &[complete()])));
    assert!(is_converged(&compare(&json!({"only": true}), &[complete()])));
    // Made by hand, and never started.
    assert!(is_converged(&compare(&json!({"only": true}), &[("15/main", files("5432", "data"))])));
    // What an interrupted creation left behind, and the beginning of another one.
    let more = [complete(), ("15/main.unfinished-20260101T000000Z", files("", "data")), ("15/x", files("", "data mark"))];
    assert!(is_converged(&compare(&json!({"only": true}), &more)));
    // One of the same version on a port of its own is no obstacle.
    assert!(is_converged(&compare(&json!({"only": true}), &[complete(), ("15/other", files("5433", "data started"))])));
    // Others are a matter of `only`.
    let others = [complete(), ("15/other", files("5433", "data started")), ("13/main", files("", "data started"))];
    assert!(is_converged(&compare(&json!({}), &others)));
    assert!(matches!(compare(&json!({"only": true}), &others), Verdict::Refused(_)));
    // Neither the locale, the encoding nor the checksums of an existing cluster are compared, and its packages may be those of another time.
    let older = PgLayout { versions: ["16".to_owned()].into(), has_createcluster: false, ..node(&[complete()]) };
    let wanted = json!({"locale": "C", "encoding": "LATIN1", "checksums": false});
    assert!(is_converged(&compare_with(&wanted, older, &[])));
}

#[test]
fn a_missing_cluster_is_created_as_declared() {
    let created = change(compare(&json!({"port": 5433}), &[]));
    assert_eq!((created.summary.as_str(), created.replaces), ("create 15/main", false));
    insta::assert_snapshot!(shown(&created.diff), @"
    = cluster 15/main
    + port 5433
    + locale C.UTF-8
    + encoding UTF8
    + checksums on
    ");
    let created =
        change(compare(&json!({"name": "two", "checksums": false, "locale": "C"}), &[("15/main", files("5433", "data"))]));
    assert_eq!(created.summary, "create 15/two");
    assert!(shown(&created.diff).contains("+ checksums off"));
}

#[test]
fn without_its_packages_a_cluster_is_blocked_and_predicted() {
    let bare = PgLayout { versions: ["13".to_owned()].into(), has_createcluster: false, ..node(&[]) };
    let Verdict::Blocked { missing, change } = compare_with(&json!({}), bare, &["C.utf8"]) else { panic!() };
    assert_eq!(change.summary, "create 15/main");
    insta::assert_snapshot!(do_not_exist(&missing), @"program `pg_createcluster` (package `postgresql-common`), program `/usr/lib/postgresql/15/bin/initdb` (package `postgresql-15`) does not exist");
    let half = PgLayout { has_createcluster: true, versions: ["13".to_owned()].into(), ..node(&[]) };
    assert!(matches!(compare_with(&json!({}), half, &["C.utf8"]), Verdict::Blocked { missing, .. } if missing.len() == 1));
}

#[test]
fn an_interrupted_creation_is_taken_up_again_and_data_never_is() {
    let verdict = |files: ClusterFiles| compare(&json!({"only": true}), &[("15/main", files)]);
    // Interrupted right after its mark, in initdb, and after pg_createcluster had written a configuration, perhaps without its port.
    for (port, words) in [("", "mark"), ("", "data mark"), ("5433", "data mark"), ("5432", "mark")] {
        let change = change(verdict(files(port, words)));
        assert_eq!(change.summary, "create 15/main again, because its creation was interrupted", "{port} {words}");
    }
    // A server ran on it: it may hold data.
    let done = change(verdict(files("5432", "data started mark")));
    assert_eq!((done.summary.as_str(), done.diff.lines.len()), ("15/main is complete: remove the mark that it is not", 0));
    for words in ["data", "data started", "data started mark"] {
        let why = refusal(verdict(files("", words)));
        assert!(why.starts_with("/var/lib/postgresql/15/main holds data, and its configuration"), "{words}: {why}");
    }
}

#[test]
fn what_exists_is_never_ignored() {
    let refused = |more: Value, clusters: &[(&str, ClusterFiles)]| refusal(compare(&more, clusters));
    let only = || json!({"only": true});
    let said = [
        refused(only(), &[("13/main", files("5432", "data started"))]),
        refused(only(), &[("13/main", files("5432", "mark"))]),
        refused(only(), &[("15/main", files("5432", "data")), ("15/other", files("5432", "data"))]),
        refused(only(), &[("15/other", files("5433", "data"))]),
        refused(only(), &[("13/main", files("5433", "data")), ("15/main", files("5432", "data"))]),
        refused(only(), &[("13/main", files("", "data started")), ("15/main", files("", "data"))]),
        refused(only(), &[("15/main", files("5432", "data")), ("13/main", files("", "data"))]),
        refused(json!({}), &[("15/main", files("", "data"))]),
        refused(json!({"port": 5433}), &[("15/main", files("5432", "data started"))]),
        refused(json!({"port": 5433}), &[("15/main", files("5432", "data started mark"))]),
        refused(json!({"name": "two"}), &[("15/main", files("5432", "data started"))]),
        refused(only(), &[("13/\u{1b}[2J\n", files("5432", "data"))]),
        refused(only(), &[("13/\u{1b}[2J\n", files("", "data"))]),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    this node has the PostgreSQL cluster 13/main, and 15/main is asked for: ask for the version that holds the data, or upgrade it first
    this node has the PostgreSQL cluster 13/main, and 15/main is asked for: ask for the version that holds the data, or upgrade it first
    this node has the PostgreSQL cluster 15/other with port 5432, which is that of 15/main: give it another one, `pg_conftool 15 other set port …`, or remove it, `pg_dropcluster 15 other`, if its data is not needed
    this node has the PostgreSQL cluster 15/other, and 15/main is asked for: rename it, `pg_renamecluster 15 other main`, or remove it, `pg_dropcluster 15 other`, if its data is not needed
    this node has the PostgreSQL cluster 13/main beside 15/main, and only 15/main is asked for: move the data of the other to another node, then `pg_dropcluster` removes the cluster
    /var/lib/postgresql/13/main, /var/lib/postgresql/15/main holds data, and its configuration in /etc/postgresql is gone: restore /etc/postgresql/13/main, /etc/postgresql/15/main from a backup, or move the data away
    /var/lib/postgresql/13/main holds data, and its configuration in /etc/postgresql is gone: restore /etc/postgresql/13/main from a backup, or move the data away
    /var/lib/postgresql/15/main holds data, and its configuration in /etc/postgresql is gone: restore /etc/postgresql/15/main from a backup, or move the data away
    PostgreSQL 15/main listens on port 5432, and port 5433 is declared: declare port 5432. To move the cluster, deploy with its port, then say on the node `pg_conftool 15 main set port 5433` and `systemctl restart postgresql@15-main`, and only then declare port 5433
    PostgreSQL 15/main listens on port 5432, and port 5433 is declared: declare port 5432. To move the cluster, deploy with its port, then say on the node `pg_conftool 15 main set port 5433` and `systemctl restart postgresql@15-main`, and only then declare port 5433
    the PostgreSQL cluster 15/main uses port 5432, which 15/two cannot have, too: declare another port
    this node has the PostgreSQL cluster 13/\u{1b}[2J\n, and 15/main is asked for: ask for the version that holds the data, or upgrade it first
    /var/lib/postgresql/13/\u{1b}[2J\n holds data, and its configuration in /etc/postgresql is gone: restore /etc/postgresql/13/\u{1b}[2J\n from a backup, or move the data away
    ");
    // Data elsewhere is no reason, unless no other cluster may be there.
    assert!(matches!(compare(&json!({}), &[("13/main", files("", "data"))]), Verdict::Change(_)));
}

#[test]
fn a_locale_that_the_node_lacks_is_refused_before_and_after_the_cluster_exists() {
    let complete = [("15/main", files("5432", "data started"))];
    for clusters in [&[][..], &complete] {
        let said = refusal(compare(&json!({"locale": "de_DE.UTF-8"}), clusters));
        insta::allow_duplicates! {
            insta::assert_snapshot!(said, @"this node has no UTF-8 locale `de_DE.UTF-8` (it has C.utf8): leave the locale out for C.UTF-8, which is everywhere, or make it on the node: `apt-get install locales`, the line `de_DE.UTF-8 UTF-8` in /etc/locale.gen, `locale-gen`");
        }
    }
    let locales = ["C", "C.utf8", "POSIX", "de_DE", "de_DE.iso88591", "de_DE.utf8", "de_DE.utf8@euro"];
    let verdict = |more: Value| compare_with(&more, node(&[]), &locales);
    for locale in ["C", "POSIX", "C.UTF-8", "C.utf8", "de_DE.UTF-8", "de_DE.UTF-8@euro"] {
        assert!(matches!(verdict(json!({"locale": locale})), Verdict::Change(_)), "{locale}");
    }
    assert!(matches!(verdict(json!({"locale": "de_DE.ISO-8859-1", "encoding": "LATIN1"})), Verdict::Change(_)));
    for locale in ["de_DE.UTF-8@bogus", "DE_DE.UTF-8", "e_DE.UTF-8", "d*.UTF-8"] {
        if let Ok(resource) = cluster(&json!({"locale": locale})) {
            assert!(matches!(verdict(json!({"locale": resource.locale})), Verdict::Refused(_)), "{locale}");
        }
    }
    insta::assert_snapshot!(refusal(verdict(json!({"locale": "fr_FR.ISO-8859-1", "encoding": "LATIN1"}))), @"this node has no locale `fr_FR.ISO-8859-1` (it has C, C.utf8, POSIX, de_DE, de_DE.iso88591, de_DE.utf8, de_DE.utf8@euro): make it on the node, with `apt-get install locales` and its line in /etc/locale.gen, then `locale-gen`");
    let many: Vec<String> = (0..300).map(|number| format!("l{number:03}.utf8")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let said = refusal(compare_with(&json!({}), node(&[]), &many));
    assert!(said.contains("(it has l000.utf8, ") && said.contains(", l009.utf8, …)"), "{said}");
}

#[test]
fn without_an_answer_there_is_no_verdict() {
    let resource = cluster(&json!({})).unwrap();
    let mut answers = Answers::default();
    let verdict = |answers: &Answers| resource.compare(&NodeState { answers, secrets: &SecretValues::default() });
    answers.set::<PgFiles>((), Err(Unanswered("the disk is gone".to_owned())));
    assert_eq!(verdict(&answers).unwrap_err().0, "the disk is gone");
    answers.set::<PgFiles>((), Ok(node(&[])));
    answers.set::<Locales>((), Err(Unanswered("no locale".to_owned())));
    assert_eq!(verdict(&answers).unwrap_err().0, "no locale");
}

/// A `pg_createcluster` that notes its arguments and makes what the real one makes.
const CREATE: &str = r#"printf '%s\n' "$@" >"$TOOLS/said"
[ -e "$TOOLS/marks/cluster-15-main" ] || { echo 'there is no mark' >&2; exit 1; }
mkdir -p "$TOOLS/data/15/main" "$TOOLS/etc/15/main"
echo 15 >"$TOOLS/data/15/main/PG_VERSION"
echo 'port = 5432' >"$TOOLS/etc/15/main/postgresql.conf""#;

fn node_with(create: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), "pg_createcluster", create);
    // Nothing of this machine is written out.
    fake(root.path(), "sync", "");
    root
}

fn apply(more: &Value, root: &Path) -> Done {
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    run(&cluster(more).unwrap().script(&at("etc"), &at("data"), &at("marks")), root)
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn said(root: &Path) -> String {
    fs::read_to_string(root.join("said")).unwrap_or_default().replace('\n', " ")
}

#[test]
fn the_script_creates_the_cluster_under_its_mark() {
    for (more, arguments) in [
        (json!({}), "--port 5432 --locale C.UTF-8 --encoding UTF8 15 main -- --data-checksums "),
        (
            json!({"port": 5433, "locale": "C", "encoding": "LATIN1", "checksums": false}),
            "--port 5433 --locale C --encoding LATIN1 15 main ",
        ),
    ] {
        let root = node_with(CREATE);
        let done = apply(&more, root.path());
        assert_eq!((done.status, done.stderr.as_str(), said(root.path()).as_str()), (0, "", arguments));
        assert!(!root.path().join("marks/cluster-15-main").exists(), "the mark is left");
        // The usual umask, as packages have it.
        let mode =
            |path: &str| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(root.path().join(path)).unwrap().permissions());
        assert_eq!((mode("etc/15") & 0o777, mode("marks") & 0o777), (0o755, 0o700));
        // Again: nothing is done to it.
        fs::remove_file(root.path().join("said")).unwrap();
        assert_eq!((apply(&more, root.path()).status, said(root.path()).as_str()), (0, ""));
    }
    assert_eq!(cluster(&json!({"version": 18, "checksums": false})).unwrap().checksum_option(), "--no-data-checksums");
}

#[test]
fn a_creation_that_fails_leaves_the_mark_and_the_next_one_moves_it_aside() {
    let root = node_with(&format!("{CREATE}\nexit 3"));
    let done = apply(&json!({}), root.path());
    assert_eq!(done.status, 3);
    assert!(root.path().join("marks/cluster-15-main").exists());
    put(root.path(), "data/15/main/precious", "x");
    fake(root.path(), "pg_createcluster", CREATE);
    let done = apply(&json!({}), root.path());
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    assert!(!root.path().join("marks/cluster-15-main").exists());
    let names: Vec<String> = fs::read_dir(root.path().join("data/15"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let aside = names.iter().find(|name| name.starts_with("main.unfinished-")).unwrap_or_else(|| panic!("{names:?}"));
    assert_eq!(fs::read_to_string(root.path().join("data/15").join(aside).join("precious")).unwrap(), "x");
    assert!(!root.path().join("data/15/main/precious").exists());
}

#[test]
fn the_script_touches_no_data_that_a_server_has_used() {
    // The mark is left, and a server ran since.
    let root = node_with(CREATE);
    for (path, text) in [
        ("marks/cluster-15-main", ""),
        ("data/15/main/PG_VERSION", "15\n"),
        ("data/15/main/postmaster.opts", ""),
        ("etc/15/main/postgresql.conf", "port = 7\n"),
    ] {
        put(root.path(), path, text);
    }
    let done = apply(&json!({}), root.path());
    assert_eq!((done.status, done.stderr.as_str(), said(root.path()).as_str()), (0, "", ""));
    assert!(!root.path().join("marks/cluster-15-main").exists());
    assert_eq!(fs::read_to_string(root.path().join("etc/15/main/postgresql.conf")).unwrap(), "port = 7\n");
    // Data without a configuration, as it may appear between the questions and the change.
    for mark in [true, false] {
        fs::remove_dir_all(root.path().join("etc")).unwrap_or_default();
        if mark {
            put(root.path(), "marks/cluster-15-main", "");
        } else {
            fs::remove_file(root.path().join("marks/cluster-15-main")).unwrap();
        }
        let done = apply(&json!({}), root.path());
        assert_eq!((done.status, said(root.path()).as_str()), (1, ""));
        assert!(done.stderr.contains("data/15/main holds data, and its configuration in"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(root.path().join("data/15/main/PG_VERSION")).unwrap(), "15\n");
    }
}
