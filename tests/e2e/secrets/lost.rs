//! A secret that is lost while something still uses it is an error that says what to do, and changes nothing.

use std::{fmt::Write as _, fs};

use super::{FILE, got, put};
use crate::harness::{Project, Task, TestNode};

/// Logs in to Redis and PostgreSQL with the passwords of `/root/saved.env`, and lists what is newer than `/root/stamp`.
const UNTOUCHED: &str = r#"
exec 2>&1; cd /
while IFS='=' read -r key value; do export "$key=$value"; done </root/saved.env
printf 'AUTH %s\nPING\n' "$REDIS_PASSWORD" | /opt/redis-stack/bin/redis-cli -p 6379
PGPASSWORD=$DB_PASSWORD psql -h 127.0.0.1 -U autobot_users -d autobot_users -Atc "SELECT 'users'"
find /etc /usr/local /var/lib/autobot-provision -newer /root/stamp -not -type l
"#;

fn failure(project: &Project, arguments: &[&str]) -> Task {
    let ran = project.json(arguments);
    ran.assert_code(1);
    let tasks = ran.tasks("database_vm");
    if !arguments.contains(&"--check") {
        assert!(tasks.iter().all(|task| task.status != "changed"), "{tasks:?}");
    }
    tasks.into_iter().find(|task| task.status == "failed").unwrap()
}

/// Check and deploy fail alike and touch nothing. What they say.
#[track_caller]
fn refused(node: &TestNode, project: &Project) -> String {
    node.sh("touch /root/stamp");
    let check = failure(project, &["deploy", "--check"]);
    let deploy = failure(project, &["deploy"]);
    assert_eq!((&check.id, &check.error), (&deploy.id, &deploy.error));
    assert_eq!(node.sh(UNTOUCHED), "OK\nPONG\nusers", "after: {}", deploy.error);
    deploy.error
}

#[test]
fn a_lost_or_broken_secrets_file_stops_everything_until_it_is_back() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let file = node.root.join(FILE);
    let saved = got(&node, FILE);
    put(&node, "root/saved.env", &saved, 0o600);
    let without = |key: &str| saved.split_inclusive('\n').filter(|line| !line.starts_with(key)).collect::<String>();

    fs::remove_file(&file).unwrap();
    let error = refused(&node, &project);
    insta::assert_snapshot!(error, @r"
    `REDIS_PASSWORD` is not in `/etc/autobot/database-secrets.env`, but what it protects already exists: a new value would lock its users out
    either restore `/etc/autobot/database-secrets.env` from a backup,
    or rotate: write `REDIS_PASSWORD=<new value>` into `/etc/autobot/database-secrets.env`, set it where it is used, and run again
    ");
    assert!(!file.exists(), "no file was made");

    for (lost, kept) in [("REDIS_PASSWORD", "DB_PASSWORD"), ("DB_PASSWORD", "REDIS_PASSWORD")] {
        fs::write(&file, without(lost)).unwrap();
        let error = refused(&node, &project);
        assert!(error.contains(&format!("`{lost}` is not in `/{FILE}`")) && !error.contains(kept), "{error}");
        assert_eq!(got(&node, FILE), without(lost));
        // An empty value is no value.
        fs::write(&file, format!("{}{lost}=\n", without(lost))).unwrap();
        assert_eq!(refused(&node, &project), error);
    }

    let broken = [
        ("cut short", saved.trim_end().as_bytes().to_vec()),
        ("twice", [saved.as_bytes(), b"DB_PASSWORD=other\n"].concat()),
        ("no assignment", [saved.as_bytes(), b"export PATH\n"].concat()),
        ("not text", [saved.as_bytes(), b"X=\xff\n"].concat()),
        ("unbalanced quote", saved.replace("DB_PASSWORD=", "DB_PASSWORD=\"").into_bytes()),
    ];
    let mut said = String::new();
    for (what, content) in broken {
        fs::write(&file, &content).unwrap();
        let _ = writeln!(said, "{what}: {}", refused(&node, &project));
        assert_eq!(fs::read(&file).unwrap(), content, "{what}");
    }
    insta::assert_snapshot!(said, @r"
    cut short: `/etc/autobot/database-secrets.env` cannot be trusted: the last line has no line end, so the file may be truncated; repair it or restore it from a backup, nothing was changed
    twice: `/etc/autobot/database-secrets.env` cannot be trusted: `DB_PASSWORD` occurs twice, in lines 2 and 3; repair it or restore it from a backup, nothing was changed
    no assignment: `/etc/autobot/database-secrets.env` cannot be trusted: line 3 is not `KEY=value`; repair it or restore it from a backup, nothing was changed
    not text: `/etc/autobot/database-secrets.env` cannot be trusted: line 3 is not UTF-8 text; repair it or restore it from a backup, nothing was changed
    unbalanced quote: `/etc/autobot/database-secrets.env` cannot be trusted: the quotes in line 2 do not match; repair it or restore it from a backup, nothing was changed
    ");

    // Quotes and Windows line ends are not part of a value; with the old values back nothing is to be done.
    let quoted: String = saved.lines().map(|line| line.replacen('=', "=\"", 1) + "\"\r\n").collect();
    for content in [&quoted, &saved] {
        put(&node, FILE, content, 0o600);
        project.run(&["deploy", "--detailed-exitcode"]).assert_code(0);
        assert_eq!(&got(&node, FILE), content);
    }
    // Another mode is a change of its own, which restarts nothing.
    put(&node, FILE, &saved, 0o644);
    let deploy = project.json(&["deploy"]);
    assert_eq!(deploy.ids("database_vm", "changed"), ["redis/secret REDIS_PASSWORD".to_owned()].into(), "{}", deploy.stdout);
    assert_eq!(got(&node, FILE), saved);
}
