//! Role `redis` on nodes with existing data: check and deploy both refuse before the first change, with a helpful error.

use crate::harness::{Project, TestNode, eventually, repository_url};

const DEPLOY: [&str; 5] = ["deploy", "--role", "redis", "--limit", "database_vm"];

fn project(node: &TestNode) -> Project {
    Project::shipped(&[("database_vm", node, "")])
}

/// Returns what must not change: packages, and every file where a role could put something, with owner, mode, size and time.
fn state(node: &TestNode) -> String {
    node.sh("dpkg -l; find /etc /opt /usr/local /lib/systemd /var/lib/redis* /var/lib/postgresql /var/lib/autobot* -printf '%p %u %g %m %s %T@\\n' 2>/dev/null | sort")
}

/// Checks and deploys; both must be refused with the same error and leave the node unchanged. Returns the error.
#[track_caller]
fn refusal(node: &TestNode, project: &Project, extra: &[&str]) -> String {
    let before = state(node);
    let errors = |arguments: &[&str]| {
        let ran = project.json(&[arguments, extra].concat());
        ran.assert_code(1);
        let failed = ran.tasks("database_vm").into_iter().filter(|task| task.status == "failed");
        failed.map(|task| task.error).collect::<Vec<String>>()
    };
    let check = errors(&[&DEPLOY[..], &["--check"]].concat());
    let deploy = errors(&DEPLOY);
    assert_eq!(check, deploy);
    assert_eq!(before, state(node), "a refused deploy changed the node");
    assert_eq!(check.len(), 1, "{check:?}");
    check.concat()
}

#[track_caller]
fn assert_contains(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
}

const INSTALL: &str =
    "export DEBIAN_FRONTEND=noninteractive; apt-get -q update >/dev/null && apt-get -q -y install --no-install-recommends";

#[test]
fn keys_in_debians_redis_are_not_walked_past_whether_it_runs_or_not() {
    let node = TestNode::bare();
    let project = project(&node);
    node.sh(&format!("{INSTALL} redis-server"));
    eventually("Debian's Redis answers", 20, || node.try_sh("redis-cli ping | grep -q PONG").status.success());
    node.sh("redis-cli set precious key");
    let pid = node.sh("systemctl show -p MainPID --value redis-server");

    let error = refusal(&node, &project, &[]);
    assert_contains(
        &error,
        &[
            "6379 is taken by `redis-server`",
            &format!("(pid {pid}, unit redis-server.service, directory /var/lib/redis): stop it"),
        ],
    );
    assert_eq!(node.sh("redis-cli get precious"), "key");
    node.sh("systemctl stop redis-server");
    let error = refusal(&node, &project, &[]);
    assert_contains(
        &error,
        &["the package `redis-server` is installed, and `redis_flavour: stack` is asked for", "back up the data"],
    );

    // Debian keeps the data of a removed package: one key, some 100 bytes.
    node.sh("DEBIAN_FRONTEND=noninteractive apt-get -q -y remove redis-server redis-tools");
    assert_contains(
        &refusal(&node, &project, &[]),
        &["/var/lib/redis/dump.rdb holds keys of another Redis", "redis_neighbour_dirs"],
    );

    // With a declared neighbour, or with an empty snapshot, the role can begin.
    let neighbour = ["-e", r#"{"redis_neighbour_dirs": ["/var/lib/redis"]}"#];
    project.run(&[&DEPLOY[..], &["--check"], &neighbour].concat()).assert_code(0);
    node.sh("printf 'REDIS0010\\372\\011redis-ver\\0067.0.15\\372\\012redis-bits\\300@\\377\\001\\002\\003\\004\\005\\006\\007\\010' >/var/lib/redis/dump.rdb");
    project.run(&[&DEPLOY[..], &["--check"]].concat()).assert_code(0);
}

#[test]
fn the_vendors_own_unit_with_keys_is_refused_and_so_is_another_flavour() {
    let node = TestNode::bare();
    let project = project(&node);
    let url = repository_url();
    node.sh(&format!(
        "echo 'deb [trusted=yes] {url}/deb bookworm main' >/etc/apt/sources.list.d/vendor.list; {INSTALL} redis-stack-server && systemctl start redis-stack-server"
    ));
    eventually("the vendor's Redis answers", 20, || node.try_sh("redis-cli ping | grep -q PONG").status.success());
    node.sh("redis-cli set precious key");
    let pid = node.sh("pgrep -x redis-server");
    let error = refusal(&node, &project, &[]);
    assert_contains(
        &error,
        &[
            "6379 is taken by `redis-server`",
            &format!("(pid {pid}, unit redis-stack-server.service, directory /var/lib/redis-stack)"),
        ],
    );

    // On another port it is not in the way, but its keys would be forgotten all the same.
    node.sh("redis-cli save; systemctl stop redis-stack-server");
    node.sh("systemd-run --unit=elsewhere --working-directory=/srv /opt/redis-stack/bin/redis-server --port 7000 --save ''");
    eventually("a Redis answers on another port", 20, || node.try_sh("redis-cli -p 7000 ping | grep -q PONG").status.success());
    let error = refusal(&node, &project, &[]);
    assert_contains(
        &error,
        &[
            "another Redis runs in /srv (redis-server, pid ",
            ", elsewhere.service): stop it",
            "; /var/lib/redis-stack/dump.rdb holds keys",
        ],
    );
    node.sh("systemctl stop elsewhere; rm /var/lib/redis-stack/dump.rdb");

    let error = refusal(&node, &project, &["-e", "redis_flavour=redis8"]);
    assert_contains(
        &error,
        &["the package `redis-stack-server` is installed, and `redis_flavour: redis8` is asked for", "remove that package"],
    );
}

#[test]
fn whatever_stands_in_the_way_on_a_bare_node_is_named_before_the_first_change() {
    let node = TestNode::bare();
    let project = project(&node);
    let vendor = ["-e", "redis_repo_url=https://packages.redis.io/deb"];
    let error = refusal(&node, &project, &vendor);
    insta::assert_snapshot!(error, @"Redis Stack was never published for `bookworm` (only for bullseye, bionic, focal, jammy): set `redis_flavour: redis8`, or `redis_repo_url` or `redis_repo_suite` to a repository that has it");
    assert_contains(&refusal(&node, &project, &["-e", "redis_insight=true"]), &["RedisInsight is in no apt package", "8001"]);

    for port in ["6379", "5432"] {
        node.sh(&format!(
            "systemd-run --unit=squatter-{port} --working-directory=/srv systemd-socket-activate -l 127.0.0.1:{port} /bin/cat"
        ));
        eventually("something listens", 10, || !node.sh(&format!("ss -Hlnt 'sport = :{port}'")).is_empty());
        let pid = node.sh(&format!("systemctl show -p MainPID --value squatter-{port}"));
        let error = refusal(&node, &project, &[]);
        assert_contains(
            &error,
            &[
                &format!("{port} is taken by `systemd-socket-"),
                &format!("pid {pid}, unit squatter-{port}.service, directory /srv"),
            ],
        );
        node.sh(&format!("systemctl stop squatter-{port}"));
    }

    node.sh("mkdir -p /etc/postgresql/13/main; touch /etc/postgresql/13/main/postgresql.conf");
    insta::assert_snapshot!(refusal(&node, &project, &[]), @"this node has the PostgreSQL cluster 13/main, and 15/main is asked for: ask for the version that holds the data, or upgrade it first");
    node.sh("rm -r /etc/postgresql");
    project.run(&[&DEPLOY[..], &["--check"]].concat()).assert_code(0);
}
