//! Accounts, files, kernel settings, commands and the keywords of a task, on a real node.

use std::fmt::Write as _;
use std::time::Instant;

use crate::harness::{Project, TestNode, eventually};

const EMPTY: &str = "description: t\ntasks: []\n";

fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n{tasks}")
}

#[test]
fn accounts_become_as_declared_and_stay_so() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let accounts = |shell: &str, groups: &str| {
        role(&format!(
            "  - {{name: Group, group: {{name: keepers, gid: 4242}}}}
  - {{name: Own group, group: {{name: vault, system: true}}}}
  - {{name: System user, user: {{name: vault, group: vault, system: true, home: /opt/vault, create_home: false, shell: /usr/sbin/nologin}}}}
  - {{name: Person, user: {{name: ann, groups: {groups}, shell: {shell}, comment: 'Ann $(id) O''Hara'}}}}
  - {{name: Home file, copy: {{dest: /home/ann/welcome, content: hi, owner: ann, group: keepers, mode: \"0640\"}}}}
"
        ))
    };
    project.converges(&accounts("/bin/sh", "[keepers, adm]"));
    let vault = node.sh("getent passwd vault");
    let uid: u32 = vault.split(':').nth(2).unwrap().parse().unwrap();
    assert!(uid < 1000 && vault.ends_with(":/opt/vault:/usr/sbin/nologin"), "{vault}");
    assert!(!node.root.join("opt/vault").exists(), "create_home: false");
    assert!(node.sh("getent passwd ann").ends_with(":Ann $(id) O'Hara:/home/ann:/bin/sh"));
    assert_eq!(node.sh("id -nG ann | tr ' ' '\\n' | sort | tr '\\n' ' '"), "adm ann keepers");
    assert_eq!(node.sh("getent group keepers"), "keepers:x:4242:ann");
    assert_eq!(node.sh("stat -c '%U:%G %a' /home/ann/welcome"), "ann:keepers 640");

    // Another shell and fewer groups; nothing else changes.
    let deploy = project.converges(&accounts("/bin/bash", "keepers"));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Person"]);
    assert!(node.sh("getent passwd ann").ends_with(":/bin/bash"));
    assert_eq!(node.sh("id -nG ann"), "ann keepers");

    // The ids of existing accounts are not changed, because files belong to them; removing an account keeps its data.
    let words = project.is_refused(&role("  - {name: Group, group: {name: keepers, gid: 4343}}\n"));
    assert!(words.starts_with("group `keepers` has gid 4242, not 4343"), "{words}");
    project.converges(&role("  - {name: Gone, user: {name: ann, state: absent}}\n"));
    assert!(!node.try_sh("id ann").status.success());
    assert!(node.root.join("home/ann/welcome").exists());
}

#[test]
fn files_links_and_directories_become_as_declared_whatever_their_names_and_contents() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let hostile =
        ["/srv/a b", "/srv/it's \"quoted\"", "/srv/$(touch pwned)`id`", "/srv/-rf *", "/srv/köln ☃", "/srv/back\\slash;&|"];
    let mut tasks = String::new();
    for (index, path) in hostile.iter().enumerate() {
        let path = serde_json::to_string(path).unwrap();
        let file = path.replace("/srv/", "/srv/file ");
        let _ = writeln!(tasks, "  - {{name: Directory {index}, file: {{path: {path}, state: directory, mode: \"0751\"}}}}");
        let _ = writeln!(tasks, "  - {{name: File {index}, copy: {{dest: {file}, content: \"$(id) 'x' \\\"\\n\"}}}}");
    }
    tasks += "  - {name: Link, file: {path: /srv/link, state: link, src: '$(nowhere) x', force: true}}\n";
    tasks += "  - {name: Empty, file: {path: /srv/empty, state: touch, owner: autobot, group: adm, mode: \"0604\"}}\n";
    project.converges(&role(&tasks));
    for path in hostile {
        let on_disk = node.upper.join(&path[1..]);
        assert!(on_disk.is_dir(), "{path}");
        let file = node.upper.join(path[1..].replace("srv/", "srv/file "));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "$(id) 'x' \"\n", "{path}");
    }
    assert_eq!(node.sh("find / -xdev -name pwned"), "");
    assert_eq!(
        node.sh("stat -c '%a' '/srv/a b'; stat -c '%U:%G %a %s' /srv/empty; readlink /srv/link"),
        "751\nautobot:adm 604 0\n$(nowhere) x"
    );

    // Drift is repaired in place, and nothing else is touched.
    node.sh("chmod 0777 /srv/empty; chown autobot '/srv/a b'; ln -sfn elsewhere /srv/link; chown root /srv/empty");
    let deploy = project.converges(&role(&tasks));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Empty", "toy/Link"]);

    // 5 MiB with every byte value, including NUL. One different byte is a change, and an existing file is not replaced by a directory.
    let mut blob: Vec<u8> = (0..5_u32 << 20).map(|index| index.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let copy = role("  - {name: Blob, copy: {src: blob.bin, dest: /srv/blob, mode: \"0600\"}}\n");
    std::fs::create_dir_all(project.path("roles/toy/files")).unwrap();
    std::fs::write(project.path("roles/toy/files/blob.bin"), &blob).unwrap();
    project.converges(&copy);
    assert!(std::fs::read(node.upper.join("srv/blob")).unwrap() == blob);
    *blob.last_mut().unwrap() ^= 1;
    std::fs::write(project.path("roles/toy/files/blob.bin"), &blob).unwrap();
    let check = project.json(&["deploy", "--check"]);
    assert_eq!(check.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Blob"]);
    let words = project.is_refused(&role("  - {name: In the way, file: {path: /srv/blob, state: directory}}\n"));
    assert!(words.contains("`/srv/blob` is a file"), "{words}");

    project.converges(&role("  - {name: Gone, file: {path: '/srv/a b', state: absent}}\n  - {name: Link gone, file: {path: /srv/link, state: absent}}\n"));
    assert!(!node.try_sh("test -e '/srv/a b' || test -L /srv/link").status.success());
}

#[test]
fn a_file_that_is_not_approved_or_does_not_fit_leaves_the_old_one_whole() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    let template = |text: &str| {
        project.write("templates/toy/app.conf.tera", text);
        role(
            "  - {name: Configure, template: {src: app.conf.tera, dest: /etc/app.conf, validate: grep -q ^port %s, backup: true}}\n",
        )
    };
    project.converges(&template("port 1\n"));
    let wrong = template("prot 2\n");
    let error = project.fails(&wrong).failure("node");
    assert!(error.contains("validate failed with exit status 1; /etc/app.conf stays as it was"), "{error}");
    assert_eq!(node.sh("cat /etc/app.conf"), "port 1");
    project.converges(&template("port 3 {{ inventory_hostname }}\n"));
    assert_eq!(node.sh("cat /etc/app.conf; cat /etc/app.conf.*~"), "port 3 node\nport 1");
    assert_eq!(node.sh("ls -A /etc | grep -c autobot-provision || :"), "0", "nothing half written is left");

    // A disk of 64 KiB.
    node.sh("mkdir /srv/small; mount -t tmpfs -o size=64k tmpfs /srv/small");
    let text =
        |size: usize| role(&format!("  - {{name: Data, copy: {{dest: /srv/small/data, content: {}}}}}\n", "x".repeat(size)));
    project.converges(&text(30_000));
    let error = project.fails(&text(50_000)).failure("node");
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(node.sh("stat -c %s /srv/small/data; ls -A /srv/small"), "30000\ndata");
    // With enough space the same run succeeds.
    node.sh("mount -o remount,size=1m /srv/small");
    project.converges(&text(50_000));
    // A file system that cannot be written to at all.
    node.sh("mount -o remount,ro /srv/small");
    let error = project.fails(&text(10)).failure("node");
    assert!(error.contains("/srv/small is mounted read-only or immutable"), "{error}");
}

#[test]
fn a_kernel_setting_is_in_its_file_and_live_where_the_kernel_lets_it() {
    let node = TestNode::bare();
    // The first setting is per network namespace, so it is the node's own; the other belongs to the host's kernel.
    let tasks = role(
        "  - {name: Own, sysctl: {name: net.ipv4.tcp_keepalive_time, value: \"1234\", sysctl_file: /etc/sysctl.d/60-toy.conf}}
  - {name: Host's, sysctl: {name: vm.overcommit_memory, value: 2, sysctl_file: /etc/sysctl.d/60-toy.conf}}
",
    );
    let project = Project::toy(&[("node", &node)], &tasks);
    project.converges(&tasks);
    assert_eq!(node.sh("cat /etc/sysctl.d/60-toy.conf"), "net.ipv4.tcp_keepalive_time = 1234\nvm.overcommit_memory = 2");
    let again = project.json(&["deploy"]);
    let summary = |name: &str| again.tasks("node").into_iter().find(|task| task.id == format!("toy/{name}")).unwrap().summary;
    assert!(summary("Host's").contains("cannot be set from here; the file has it for the next boot"), "{}", again.stdout);
    assert_eq!((summary("Own").as_str(), node.sh("cat /proc/sys/net/ipv4/tcp_keepalive_time").as_str()), ("", "1234"));
    let gone = role(
        "  - {name: Own, sysctl: {name: net.ipv4.tcp_keepalive_time, state: absent, sysctl_file: /etc/sysctl.d/60-toy.conf}}\n",
    );
    project.converges(&gone);
    assert_eq!(node.sh("cat /etc/sysctl.d/60-toy.conf"), "vm.overcommit_memory = 2");
}

#[test]
fn a_command_runs_only_while_its_guard_says_that_it_is_not_done() {
    let node = TestNode::bare();
    let tasks = role(
        "  - {name: Creates, command: {cmd: \"echo x >>/srv/log; touch /srv/made\", creates: /srv/made}}
  - {name: Removes, command: {cmd: rm /srv/made2, removes: /srv/made2}}
  - {name: Unless, command: {cmd: echo done >/srv/state, unless: grep -q done /srv/state}}
  - {name: Only if, command: {cmd: rm /srv/flag, only_if: test -e /srv/flag}}
  - {name: As somebody, command: {cmd: id -un >who, creates: /home/autobot/who, chdir: /home/autobot}, become_user: autobot}
  - {name: Words, command: {argv: [cp, /dev/stdin, \"/srv/$(id) 'x'\"], stdin: \"a\\n$(id)\\n\", creates: \"/srv/$(id) 'x'\"}}
  - {name: Reads, command: {cmd: cat /srv/flag2, reads: true, ok_rc: [0, 1]}, register: flag}
  - {name: Registered, copy: {dest: /srv/copy, content: \"{{ flag.stdout }}{{ flag.rc }}\"}}
",
    );
    node.sh("touch /srv/made2 /srv/flag; echo seen >/srv/flag2");
    let project = Project::toy(&[("node", &node)], &tasks);
    let deploy = project.converges(&tasks);
    assert_eq!(deploy.ids("node", "changed").len(), 7, "{}", deploy.stdout);
    let seen = node.sh("cat /srv/log /srv/state /home/autobot/who; stat -c %U /home/autobot/who; cat '/srv/$(id) '\\''x'\\'''; cat /srv/copy; test ! -e /srv/flag");
    assert_eq!(seen, "x\ndone\nautobot\nautobot\na\n$(id)\nseen0");

    // A command that succeeds without making its guard true has not done its work.
    let error = project.fails(&role("  - {name: Nothing, command: {cmd: 'true', creates: /srv/never}}\n")).failure("node");
    assert!(error.contains("applied without an error, but still not as declared"), "{error}");
    let error = project
        .fails(&role("  - {name: Fails, command: {cmd: 'echo no such row >&2; exit 3', creates: /srv/never}}\n"))
        .failure("node");
    assert!(error.contains("no such row") && error.contains("exit status 3"), "{error}");
    let words = project.is_refused(&role("  - {name: Reads, command: {cmd: cat /srv/absent, reads: true}}\n"));
    assert!(words.contains("No such file"), "{words}");
    let words = project.is_refused(&role("  - {name: Whom, command: {cmd: id, unless: 'false'}, become_user: nobody-here}\n"));
    assert_eq!(words, "user `nobody-here` does not exist, and no earlier task creates it");
}

#[test]
fn ports_and_claims_are_judged_before_the_first_change() {
    let node = TestNode::bare();
    node.sh(
        "printf '[Service]\\nWorkingDirectory=/var/tmp\\nExecStart=/usr/sbin/sshd -D -p 7777\\n' >/etc/systemd/system/squatter.service; mkdir -p /run/sshd
        systemctl start squatter",
    );
    eventually("the squatter listens", 20, || node.try_sh("ss -Hltn sport = :7777 | grep -q .").status.success());
    let project = Project::toy(&[("node", &node)], EMPTY);
    let change = "  - {name: Change, file: {path: /srv/changed, state: touch}}\n";
    let owner = |unit: &str| role(&format!("{change}  - {{name: Port, port_owner: {{port: 7777, unit: {unit}}}}}\n"));
    let words = project.is_refused(&owner("ours"));
    let pid = node.sh("systemctl show -p MainPID --value squatter");
    assert_eq!(
        words,
        format!("7777 is taken by `sshd` (pid {pid}, unit squatter.service, directory /): stop it, or give another port")
    );
    assert!(!node.upper.join("srv/changed").exists());
    project.converges(&owner("squatter"));
    project.converges(&role("  - {name: Free, port_owner: {port: 7778, unit: ours}}\n"));

    project
        .converges(&role("  - {name: Wait, wait_for: {port: 7777}}\n  - {name: Gone, wait_for: {port: 7778, state: stopped}}\n"));
    let began = Instant::now();
    let late = "  - {name: Start, command: {cmd: \"systemd-run -q sh -c 'sleep 1; touch /srv/late'; touch /srv/begun\", creates: /srv/begun}}\n";
    project.converges(&role(&format!("{late}  - {{name: Late, wait_for: {{path: /srv/late, timeout: 30}}}}\n")));
    assert!(began.elapsed().as_secs() < 25, "it goes on as soon as it is there");
    let error = project.fails(&role("  - {name: Never, wait_for: {port: 7779, timeout: 1}}\n")).failure("node");
    assert!(error.contains("127.0.0.1:7779"), "{error}");

    let claims =
        role(&format!("{change}  - {{name: Claim, assert: {{that: [\"1 == 1\", \"inventory_hostname == 'other'\"]}}}}\n"));
    assert_eq!(project.is_refused(&claims), "assertion `inventory_hostname == 'other'` does not hold");
}

#[test]
fn a_task_is_tried_again_ended_at_its_limit_and_kept_quiet_as_its_keywords_say() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    // Each try is one line.
    let tries = "echo try >>/srv/tries; [ $(wc -l </srv/tries) -ge 3 ] || { echo not yet >&2; exit 1; }; touch /srv/third";
    let retried = |retries: u32| {
        role(&format!(
            "  - {{name: Third time, command: {{cmd: {}, creates: /srv/third}}, retries: {retries}, delay: 1s}}\n",
            serde_json::to_string(tries).unwrap()
        ))
    };
    let error = project.fails(&retried(1)).failure("node");
    assert!(error.contains("not yet"), "{error}");
    assert_eq!(node.sh("wc -l </srv/tries; rm /srv/tries"), "2");
    project.converges(&retried(2));
    assert_eq!(node.sh("wc -l </srv/tries"), "3");

    // At its time limit, every process that it started is ended, including those in the background.
    let hangs = "sleep 987654 & echo downloading; echo waiting for the moon >&2; sleep 987654";
    let tasks = role(&format!(
        "  - {{name: Hangs, command: {{cmd: {}, creates: /srv/never}}, timeout: 2s}}\n",
        serde_json::to_string(hangs).unwrap()
    ));
    let began = Instant::now();
    let error = project.fails(&tasks).failure("node");
    assert!(began.elapsed().as_secs() < 20);
    assert!(error.contains("time limit") && error.contains("waiting for the moon"), "{error}");
    assert_eq!(node.sh("pgrep -fc '[s]leep 987654' || :"), "0");

    // Nothing of a `no_log` task is shown: neither its diff nor its output.
    for (word, deploys) in [("canary-in-a-file", true), ("canary-on-stderr", false)] {
        let task = if deploys {
            format!("  - {{name: Quiet, copy: {{dest: /srv/quiet, content: {word}}}, no_log: true}}\n")
        } else {
            format!(
                "  - {{name: Quiet, command: {{cmd: 'echo {word} >&2; exit 1', creates: /srv/never}}, no_log: true, retries: 1, delay: 0s}}\n"
            )
        };
        project.write("roles/toy/role.yml", &role(&task));
        for arguments in [
            ["deploy", "--check", "--diff", "-vvv"],
            ["deploy", "--diff", "-vvv", "--output=text"],
            ["deploy", "--diff", "-vvv", "--output=json"],
        ] {
            let ran = project.run(&arguments);
            ran.assert_code(i32::from(!deploys && !arguments.contains(&"--check")));
            assert!(!ran.said().contains(word), "{:?}\n{}", ran.arguments, ran.said());
        }
    }
}

#[test]
fn what_ansible_writes_is_done_as_written() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], EMPTY);
    node.sh("mkdir -p '/srv/tree/a b/-rf' && touch '/srv/tree/a b/-rf/$(id)' /srv/kept && ln -s /srv/kept /srv/tree/link && chmod 0600 /srv/kept");
    let text = r#"description: t
defaults: {on: true}
tasks:
  - name: Together
    when: "on"
    become: true
    environment: {APP_VALUE: "a 'b' $(touch /srv/pwned) \"c\""}
    block:
      - name: Tree
        ansible.builtin.file: {path: /srv/tree, state: directory, recurse: true, owner: autobot, mode: "0750", group: "{{ omit }}"}
      - name: Say
        ansible.builtin.shell: printf %s "$APP_VALUE" >/srv/said
        args: {creates: /srv/said}
      - name: Unit
        ansible.builtin.copy: {dest: /etc/systemd/system/toy.service, content: "[Service]\nExecStart=/bin/sleep 1000\n"}
        notify: [read units, restart toy]
handlers:
  - name: read units
    ansible.builtin.systemd: {daemon_reload: true}
  - name: restart toy
    service: {name: toy.service, state: restarted, daemon_reload: true}
"#;
    project.converges(text);
    assert_eq!(node.sh("cat /srv/said; ls /srv"), "a 'b' $(touch /srv/pwned) \"c\"kept\nsaid\ntree");
    assert_eq!(
        node.sh("find /srv/tree ! -type l -printf '%u %m\\n' | sort -u; stat -c '%U %a' /srv/kept"),
        "autobot 750\nroot 600"
    );
    assert_eq!(node.sh("systemctl is-active toy"), "active");

    // One file that drifts is one entry, and the only change.
    node.sh("touch '/srv/tree/a b/new\nline'");
    let deploy = project.converges(text);
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Tree"]);
}
