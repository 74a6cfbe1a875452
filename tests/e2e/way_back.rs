//! A configuration with which its service does not work goes back, and the service comes up with what it had before.

use crate::harness::{Project, TestNode};

const REDIS: &str = "autobot-database-redis.service";
const KEPT: &str = "ls -A /var/lib/autobot-provision/kept /var/lib/autobot-provision/pending 2>/dev/null | grep -v : || :";

fn ping(node: &TestNode) -> String {
    node.sh(". /etc/autobot/database-secrets.env
        REDISCLI_AUTH=$REDIS_PASSWORD /opt/redis-stack/bin/redis-cli ping")
}

#[test]
fn redis_comes_up_with_its_old_configuration_when_it_refuses_the_new_one() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("host", &node, "")]);
    project.json(&["deploy"]).assert_code(0);
    let state = "sha256sum /etc/autobot/redis.conf; stat -c '%a %U %G' /etc/autobot/redis.conf";
    let before = node.sh(state);
    for (bad, words) in
        [("redis_bind=2001:db8::9", "Cannot assign requested address"), ("redis_module_dir=/nowhere", "/nowhere/redisearch.so")]
    {
        let pid = node.sh(&format!("systemctl show -p MainPID --value {REDIS}"));
        let deploy = project.json(&["deploy", "-e", bad]);
        deploy.assert_code(1);
        let error = deploy.failure("host");
        assert!(error.contains(words), "the service's own words: {error}");
        let end = format!("put back as before: `/etc/autobot/redis.conf`; `{REDIS}` works with it again");
        assert!(error.ends_with(&end), "{error}");
        assert_eq!(node.sh(state), before, "{bad}");
        assert_eq!(ping(&node), "PONG", "{bad}");
        assert_ne!(node.sh(&format!("systemctl show -p MainPID --value {REDIS}")), pid);
        assert_eq!(node.sh(KEPT), "", "{bad}");
        // What was put back is as the deploy before had declared it.
        let check = project.json(&["deploy", "--check"]);
        check.assert_code(0);
        assert_eq!(check.ids("host", "changed"), std::collections::BTreeSet::new(), "{}", check.stdout);
    }
}

#[test]
fn redis_is_left_alone_where_it_is_known_that_it_would_not_start() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("host", &node, "")]);
    let before = node.sh("sha256sum /etc/autobot/redis.conf; systemctl show -p MainPID autobot-database-redis");
    for (bad, words) in [
        (r#"{"redis_bind": "10.9.9.9"}"#, "Redis cannot listen on 10.9.9.9, which is no address of this node"),
        (r#"{"redis_modules": ["nosuch"]}"#, "there is no module `/opt/redis-stack/lib/nosuch.so`"),
        (r#"{"redis_maxmemory": "1100kb"}"#, "`maxmemory 1100kb` is less than the"),
    ] {
        for arguments in [&["deploy", "--check", "-e", bad][..], &["deploy", "-e", bad]] {
            let run = project.json(arguments);
            run.assert_code(1);
            assert!(run.failure("host").contains(words), "{}", run.stdout);
            assert_eq!(run.ids("host", "changed"), std::collections::BTreeSet::new(), "{}", run.stdout);
        }
    }
    assert_eq!(node.sh("sha256sum /etc/autobot/redis.conf; systemctl show -p MainPID autobot-database-redis"), before);
}

/// A service on a port of its choice, which refuses the port 1. Its check knows one port only.
const ROLE: &str = r#"
description: A service that listens where its settings say, and gates between the changes
defaults:
  v: {type: string, default: "7001", help: The port}
  mode: {type: string, default: "0600", help: The mode of the settings}
tasks:
  - name: Write the program
    copy:
      dest: /usr/local/bin/toy
      mode: "0755"
      content: |
        #!/bin/sh
        . /etc/toy.conf
        [ "$PORT" != 1 ] || { echo "the port 1 is not for me" >&2; exit 1; }
        exec /opt/redis-stack/bin/redis-server --port "$PORT" --save ''
  - name: Write the settings
    copy: {dest: /etc/toy.conf, content: "PORT={{ v }}\n", mode: "{{ mode }}"}
    notify: restart toy
  - name: Write the unit
    copy:
      dest: /etc/systemd/system/toy.service
      content: |
        [Service]
        Environment=V={{ v }}
        ExecStart=/usr/local/bin/toy
        [Install]
        WantedBy=multi-user.target
    notify: restart toy
  - name: Add more settings
    copy: {dest: /etc/toy.more, content: "{{ v }}\n"}
    when: v != "7001"
    notify: restart toy
  - name: Start the toy
    systemd: {name: toy.service, state: started, enabled: true}
  - name: Gate before the restart
    command: {cmd: gate restart, only_if: test -e /run/gate.restart}
handlers:
  - name: restart toy
    systemd: {name: toy.service, state: restarted}
    ready: gate ready
health:
  - name: The toy listens
    read:
      listening: {port: 7001, addresses: [0.0.0.0, "::"], unit: toy.service}
"#;

const STATE: &str =
    "cat /etc/toy.conf; systemctl show -p Environment --value toy; stat -c %a /etc/toy.conf; ls /etc/toy.more 2>/dev/null || :";
const GOOD: &str = "PORT=7001\nV=7001\n600";

fn converged() -> (TestNode, Project) {
    let node = TestNode::converged().with_gates();
    let project = Project::toy(&[("host", &node)], ROLE);
    project.json(&["deploy"]).assert_code(0);
    assert_eq!((node.sh(STATE), node.sh(KEPT)), (GOOD.to_owned(), String::new()));
    (node, project)
}

#[test]
fn all_files_of_a_handler_go_back_together_if_the_unit_fails_or_its_check_does() {
    let (node, project) = converged();
    for (bad, words) in [("v=1", "the port 1 is not for me"), ("v=7002", "7001")] {
        let deploy = project.json(&["deploy", "-e", bad, "-e", "mode=0640"]);
        deploy.assert_code(1);
        let error = deploy.failure("host");
        assert!(error.contains(words), "{error}");
        assert!(error.ends_with("`toy.service` works with it again"), "{error}");
        for path in ["/etc/toy.conf", "/etc/toy.more", "/etc/systemd/system/toy.service"] {
            assert!(error.contains(&format!("`{path}`")), "{error}");
        }
        assert_eq!(node.sh(STATE), GOOD, "{bad}");
        assert_eq!(node.sh("systemctl is-active toy"), "active", "{bad}");
        assert_eq!(node.sh(KEPT), "", "{bad}");
    }
    // A check does nothing of the kind.
    project.json(&["deploy", "--check", "-e", "v=1"]).assert_code(0);
    assert_eq!(node.sh(STATE), GOOD);
}

#[test]
fn the_next_run_finishes_what_a_killed_run_left() {
    let (node, project) = converged();
    let kill_at = |gate: &str, arguments: &[&str]| {
        node.shut(gate);
        let run = project.start(&[&["deploy"], arguments].concat());
        node.await_at(gate);
        let kept = node.sh("cd /var/lib/autobot-provision/kept; stat -c '%a %U' .; find . -type f -exec stat -c '%a %U' {} +");
        assert!(kept.lines().all(|line| line == "700 root" || line == "600 root"), "{kept}");
        run.kill();
        node.await_end_of_runs();
        node.open(gate);
    };
    // Killed before the restart, and then run again with another bad value: back to what was there before both.
    kill_at("restart", &["-e", "v=1"]);
    assert!(node.sh(STATE).starts_with("PORT=1\n"));
    let error = project.json(&["deploy", "-e", "v=1", "-e", "mode=0644"]).failure("host");
    assert!(error.ends_with("works with it again"), "{error}");
    assert_eq!((node.sh(STATE), node.sh(KEPT)), (GOOD.to_owned(), String::new()));

    // Killed, the service down since: its start fails, and it goes back.
    kill_at("restart", &["-e", "v=1"]);
    node.sh("systemctl stop toy");
    let error = project.json(&["deploy", "-e", "v=1"]).failure("host");
    assert!(error.contains("the port 1 is not for me") && error.ends_with("works with it again"), "{error}");
    assert_eq!((node.sh(STATE), node.sh(KEPT)), (GOOD.to_owned(), String::new()));

    // Killed, then run with a value that works: nothing is left of the copies.
    kill_at("ready", &["-e", "v=7002"]);
    project.json(&["deploy"]).assert_code(0);
    assert_eq!((node.sh(STATE).lines().take(3).collect::<Vec<_>>().join("\n"), node.sh(KEPT)), (GOOD.to_owned(), String::new()));
}

#[test]
fn what_has_no_way_back_stays_and_says_so() {
    let (node, project) = converged();
    // The old settings do not work any more, either.
    node.sh("printf '#!/bin/sh\\necho gone; exit 1\\n' >/usr/local/bin/other; sed -i 's,^ExecStart=.*,ExecStart=/usr/local/bin/other,' /etc/systemd/system/toy.service; chmod 755 /usr/local/bin/other");
    let error = project.json(&["deploy", "-e", "v=1"]).failure("host");
    assert!(error.contains("put back as before") && error.contains("but `toy.service` does not work with it either"), "{error}");
    // A service that was down before has no state to go back to.
    node.sh("systemctl stop toy; systemctl reset-failed toy || :");
    let error = project.json(&["deploy", "-e", "v=1"]).failure("host");
    assert!(error.contains("the port 1 is not for me"), "{error}");
    project.json(&["deploy"]).assert_code(0);
    assert_eq!((node.sh("cat /etc/toy.conf"), node.sh(KEPT)), ("PORT=7001".to_owned(), String::new()));
}

#[test]
fn the_line_of_a_secret_goes_back_with_the_file_that_it_is_in() {
    let node = TestNode::converged();
    let project = Project::shipped(&[("host", &node, "")]);
    let with = |password: &str, more: &str| {
        project.write(
            "inventory/group_vars/all.yml",
            &format!("autobot_secrets: {{REDIS_PASSWORD: {{command: [printf, {password}]}}}}\n{more}"),
        );
    };
    with("first-password-of-redis", "");
    project.json(&["deploy"]).assert_code(0);
    assert_eq!(ping(&node), "PONG");
    let before = node.sh("sha256sum /etc/autobot/database-secrets.env /etc/autobot/redis.conf");
    with("second-password-of-redis", "redis_bind: '2001:db8::9'\n");
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(1);
    let error = deploy.failure("host");
    assert!(
        error.contains("`REDIS_PASSWORD in /etc/autobot/database-secrets.env`") && error.ends_with("works with it again"),
        "{error}"
    );
    assert_eq!(node.sh("sha256sum /etc/autobot/database-secrets.env /etc/autobot/redis.conf"), before);
    assert_eq!(node.sh("stat -c '%a %U' /etc/autobot/database-secrets.env"), "600 root");
    assert_eq!((ping(&node), node.sh(KEPT)), ("PONG".to_owned(), String::new()));
    assert!(!deploy.said().contains("password-of-redis"), "{}", deploy.said());
}
