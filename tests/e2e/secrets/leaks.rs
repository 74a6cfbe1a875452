//! Nothing that a run prints, runs, logs or leaves behind holds a secret, new, old or encoded.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use super::{
    FILE, got, put,
    search::{Needles, Sampler, Seen},
    value,
};
use crate::harness::{Project, RunResult, TestNode, eventually};

const REDIS: &str = "Can4ry+redis/%41=&?@:one";
const ROTATED: &str = "Can4ry+redis/%42=&?@:two";
const DB: &str = "Can4ry-db:@/?#&%41'$(id)\"\\x y";
const OLD: &str = "0ldP4ssw0rd+before=";
const OTHERS: &str = "0therPe0plesSecret/";

/// Runs the program with a directory of its own for temporary files.
fn run(project: &Project, arguments: &[&str]) -> RunResult {
    fs::create_dir_all(project.path("tmp")).unwrap();
    RunResult::new(
        arguments,
        &project.command(arguments).env("TMPDIR", project.path("tmp")).env("AUTOBOT_PROVISION_LOG", "trace").output().unwrap(),
    )
}

/// The sampler sees what it is there to see: processes here and on the node, by argument and by environment.
fn assert_sampler_sees(sampler: &Sampler, node: &TestNode) {
    let mut here = Command::new("sh");
    here.args(["-c", "read x", "c0ntrol-argument-here"]).env("X", "c0ntrol-environ-here");
    let mut child = here.stdin(Stdio::piped()).spawn().unwrap();
    for seen in ["c0ntrol-argument-here", "c0ntrol-environ-here"] {
        eventually("the sampler sees a process here", 20, || sampler.saw(seen));
    }
    child.stdin.take();
    child.wait().unwrap();
    std::thread::scope(|scope| {
        // Put together on the node, so that the test's own arguments do not hold it.
        let script =
            "x=control; export Y=there; Y=$x-$Y-environ sh -c 'until [ -e /root/seen ]; do sleep 0.05; done' \"$x-$Y-argument\"";
        let there = scope.spawn(|| node.sh(script));
        for seen in ["control-there-argument", "control-there-environ"] {
            eventually("the sampler sees a process on the node", 20, || sampler.saw(seen));
        }
        put(node, "root/seen", "", 0o600);
        there.join().unwrap();
    });
}

#[test]
fn the_secrets_of_role_redis_are_in_their_two_files_and_nowhere_else() {
    let node = TestNode::bare();
    let project = Project::shipped(&[("database_vm", &node, "")]);
    let file = put(&node, FILE, format!("# mine\nOTHERS={OTHERS}\n\nREDIS_PASSWORD={REDIS}\n# end\n"), 0o600);
    put(&node, "etc/autobot/redis.conf", format!("port 6379\nrequirepass {OLD}\nmasterauth {OLD}\n{OLD}\n"), 0o600);
    let sampler = Sampler::start(node.root.join("etc/autobot"));
    assert_sampler_sees(&sampler, &node);
    let mut runs = vec![run(&project, &["deploy", "--check", "--diff", "-vvv"])];
    runs.push(run(&project, &["deploy", "--diff", "-vvv"]));
    let made = got(&node, FILE);
    let generated = value(&made, "DB_PASSWORD").to_owned();
    assert_eq!(made, format!("# mine\nOTHERS={OTHERS}\n\nREDIS_PASSWORD={REDIS}\n# end\nDB_PASSWORD={generated}\n"));
    assert!(generated.len() == 32 && generated.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", generated.len());

    // PostgreSQL logs all that it is told; then both passwords are rotated, and a setting beside one of them changes.
    node.sh("cd /; for set in log_statement=all log_min_duration_statement=0 log_connections=on; do
           su postgres -c \"psql -qc \\\"ALTER SYSTEM SET ${set%=*} = '${set#*=}'\\\"\"
         done; su postgres -c \"psql -qc 'SELECT pg_reload_conf()'\"");
    fs::write(&file, made.replace(REDIS, ROTATED).replace(&generated, DB)).unwrap();
    runs.push(run(&project, &["deploy", "--diff", "-vvv", "--output", "json"]));
    runs.push(run(&project, &["deploy", "--diff", "-vvv", "-e", "redis_maxclients=9000"]));
    runs.push(run(&project, &["deploy", "--check", "--diff", "-vvv", "-e", "redis_maxclients=9000", "--output", "json"]));
    let seen = sampler.stop();
    for run in &runs {
        run.assert_code(0);
    }
    assert_eq!(runs[4].ids("database_vm", "changed"), BTreeSet::new());
    let rotated = runs[2].ids("database_vm", "changed");
    for id in ["redis/Configure Redis", "redis/Create the owner of the users database"] {
        assert!(rotated.contains(id), "{rotated:?}");
    }

    let values =
        [("REDIS", REDIS), ("ROTATED", ROTATED), ("DB", DB), ("OLD", OLD), ("OTHERS", OTHERS), ("GENERATED", &generated)];
    let needles = Needles::new(&values);
    for run in &runs {
        needles.assert_not_within(&format!("what {:?} printed", run.arguments), &run.said());
    }
    assert!(runs[1].stdout.contains("‹REDIS_PASSWORD›") && runs[1].stdout.contains("requirepass …"), "{}", runs[1].stdout);
    let journal = node.sh("journalctl --no-pager -o export");
    assert!(journal.contains("sudo"), "the journal is there");
    needles.assert_not_within("the journal", &journal);
    let log = node.sh("cat /var/log/postgresql/*.log");
    assert!(log.contains("ALTER ROLE") && log.contains("SCRAM-SHA-256$"), "PostgreSQL logged the statement: {log}");
    needles.assert_not_within("PostgreSQL's log", &log);
    assert_clean(&seen, &needles);

    // The search finds what is to be found, and nothing else on all that the node ever wrote.
    let own = BTreeSet::from([format!("/{FILE}"), "/etc/autobot/redis.conf".to_owned()]);
    assert_eq!(needles.files_below(&node.upper), own);
    assert_eq!(needles.files_in_memory(&node), BTreeSet::new());
    assert_eq!(needles.files_below(&project.path("")), BTreeSet::new());
    let access = node.sh("stat -c '%a %U:%G' /etc/autobot/database-secrets.env /etc/autobot/redis.conf");
    assert_eq!(access, "600 root:root\n640 root:redis");
    assert_eq!(seen.modes["database-secrets.env"], BTreeSet::from([0o600]));
    assert!(seen.modes["redis.conf"].is_subset(&BTreeSet::from([0o600, 0o640])), "{:?}", seen.modes);
}

/// No process was started with a secret, and our files were never open to others.
fn assert_clean(seen: &Seen, needles: &Needles) {
    let processes = seen.processes();
    for known in ["sshd: autobot", "sudo", "psql", "redis-cli"] {
        assert!(processes.contains(known), "the sampler missed {known} in {} processes", seen.processes.len());
    }
    needles.assert_not_within("arguments and environments", &processes);
    for (name, modes) in &seen.modes {
        assert!(modes.iter().all(|mode| mode.is_multiple_of(8)), "{name} was open to all: {modes:?}");
    }
}

const TELLTALE: &str = r#"
secrets:
  TOKEN: {file: /etc/app/secrets.env}
tasks:
  - name: Validator that shows the file
    copy: {dest: /etc/app/validated, content: "plain {{ secrets.TOKEN }}\nurl db://u:{{ secrets.TOKEN | urlencode }}@h\n", validate: "cat %s >&2; false"}
    tags: [validate]
  - name: Command that shows its input
    command: {cmd: "cat >&2; exit 3", creates: /nowhere, stdin: "{{ secrets.TOKEN }} {{ secrets.TOKEN | urlencode }}"}
    retries: 1
    delay: 1s
    tags: [stdin]
  - name: Command that does nothing and shows its input
    command: {cmd: "cat; cat /etc/app/secrets.env", creates: /nowhere, stdin: "{{ secrets.TOKEN }}"}
    tags: [idle]
  - name: Question that shows the secrets
    command: {cmd: "cat /etc/app/secrets.env >&2; false", reads: true}
    tags: [reads]
  - name: Question that hears the secrets
    command: {cmd: "cat /etc/app/secrets.env", reads: true}
    register: heard
    tags: [assert]
  - name: Message with an answer
    assert: {that: "heard.rc == 7", fail_msg: "heard {{ heard.stdout }}"}
    tags: [assert]
  - name: File that held the secret and does not any more
    copy: {dest: /etc/app/former, content: "nothing\n"}
    tags: [former]
  - name: File that is nothing but a secret
    copy: {dest: /etc/app/bare, content: "{{ secrets.TOKEN }}\n"}
    tags: [bare]
  - name: File with a backup
    template: {src: kept.tera, dest: /etc/app/kept, backup: true}
    tags: [kept]
"#;

#[test]
fn a_failure_that_shows_a_file_or_an_input_does_not_show_the_secret() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], TELLTALE);
    project.write("templates/toy/kept.tera", "user: u\npassword: {{ secrets.TOKEN }}\n");
    put(&node, "etc/app/secrets.env", format!("TOKEN={REDIS}\n"), 0o600);
    put(&node, "etc/app/former", format!("user=u\npassword={REDIS}\nurl=db://u:{}@h\n", super::search::percent(REDIS)), 0o600);
    // What looks like a key may be the secret itself: base64 ends in `=`, and a password may hold a colon or a space.
    put(&node, "etc/app/bare", format!("{OLD}\n{OTHERS}: x\n{OLD} x\n"), 0o600);
    put(&node, "etc/app/kept", format!("user: u\npassword: {OLD}\n"), 0o644);
    let needles = Needles::new(&[("TOKEN", REDIS), ("OLD", OLD), ("OTHERS", OTHERS)]);
    let sampler = Sampler::start(node.root.join("etc/app"));
    let mut leaks = Vec::new();
    let cases =
        [("validate", 1), ("stdin", 1), ("idle", 1), ("reads", 1), ("assert", 1), ("former", 0), ("bare", 0), ("kept", 0)];
    for (tag, code) in cases {
        for more in [&["--check"][..], &["--check", "--output", "json"], &["--output", "json"], &[]] {
            // The last of a task that succeeds has nothing left to do.
            let arguments = [&["deploy", "--diff", "-vvv", "--tags", tag][..], more].concat();
            let ran = run(&project, &arguments);
            let foreseen = matches!(tag, "reads" | "assert");
            ran.assert_code(if more.contains(&"--check") && !foreseen { 0 } else { code });
            leaks.extend(needles.within(&ran.said()).into_iter().map(|leak| format!("{tag} {more:?}: {leak}")));
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    let seen = sampler.stop();
    needles.assert_not_within("arguments and environments", &seen.processes());
    needles.assert_not_within("the journal", &node.sh("journalctl --no-pager -o export"));
    let files = needles.files_below(&node.upper);
    let backup = files.iter().find(|file| file.starts_with("/etc/app/kept.")).unwrap_or_else(|| panic!("no backup: {files:?}"));
    let own = ["/etc/app/bare", "/etc/app/kept", backup, "/etc/app/secrets.env"].map(str::to_owned);
    assert_eq!(files, BTreeSet::from(own.clone()));
    for file in own {
        let mode = node.upper.join(&file[1..]).metadata().unwrap().mode();
        assert_eq!(mode & 0o007, 0, "{file} has mode {mode:o}");
    }
}

#[test]
fn a_secret_where_none_may_be_stops_the_run_before_any_connection() {
    let node = TestNode::bare();
    let role = |task: &str| format!("secrets:\n  TOKEN: {{file: /etc/app/secrets.env}}\ntasks:\n  - {task}\n");
    for task in [
        "{name: \"A {{ secrets.TOKEN }}\", file: {path: /a, state: touch}}",
        "{name: A, when: \"secrets.TOKEN != ''\", file: {path: /a, state: directory}}",
        "{name: A, loop: [\"{{ secrets.TOKEN }}\"], file: {path: /a, state: directory}}",
        "{name: A, file: {path: \"/{{ secrets.TOKEN }}\", state: directory}}",
        "{name: A, command: {cmd: \"echo {{ secrets.TOKEN }}\", creates: /a}}",
        "{name: A, copy: {dest: /a, content: \"{{ secrets.TOKEN }}\", mode: \"0644\"}}",
    ] {
        let ran = Project::toy(&[("n", &node)], &role(task)).json(&["deploy"]);
        ran.assert_code(4);
        assert!(ran.json()["errors"].to_string().contains("secret"), "{task}: {}", ran.stdout);
    }
    assert!(!node.root.join("etc/app").exists());
}
