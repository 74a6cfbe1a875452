//! Units on a real systemd: "started" means that it stays up, and a restart is done when the service answers.

use crate::harness::{Project, TestNode};
use autobot_provision::{resource::unit_functions, script::Script};
use std::time::Duration;

/// A task that writes a unit.
fn unit(name: &str, text: &str) -> String {
    let text = text.replace('\n', "\n        ");
    format!(
        "  - name: Unit {name}\n    copy:\n      dest: /etc/systemd/system/{name}.service\n      content: |\n        {text}\n"
    )
}

fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n{tasks}")
}

/// Runs a handler's script; returns whether it succeeded and what it printed.
fn run(node: &TestNode, script: &Script) -> (bool, String) {
    let output = node.try_sh(&format!("exec 2>&1\n{}", script.render().unwrap()));
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn started_means_that_it_stays_up() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let start = |name: &str| format!("  - {{name: Start, systemd: {{name: {name}, state: started}}}}\n");

    let dies = unit("dies", "[Service]\nExecStart=/bin/sh -c 'seq 101 140; echo cannot open the vault; sleep 1; exit 3'");
    let error = project.fails(&role(&format!("{dies}{}", start("dies")))).failure("node");
    assert!(error.contains("`dies.service` does not stay up") && error.contains("exit status 3"), "{error}");
    assert!(error.contains("cannot open the vault") && !error.contains("101"), "the end of its journal: {error}");

    // systemd restarts it again and again: it is active most of the time, but does not stay up.
    let again = unit("again", "[Service]\nRestart=always\nRestartSec=100ms\nExecStart=/bin/sh -c 'echo round; sleep 1'");
    let error = project.fails(&role(&format!("{again}{}", start("again")))).failure("node");
    assert!(error.contains("`again.service` does not stay up") && error.contains("round"), "{error}");

    let cannot = unit("cannot", "[Service]\nExecStart=/no/such/program");
    let error = project.fails(&role(&format!("{cannot}{}", start("cannot")))).failure("node");
    assert!(error.contains("`cannot.service` did not start") || error.contains("`cannot.service` does not stay up"), "{error}");
    assert!(error.contains("/no/such/program"), "{error}");

    let broken = unit("broken", "[Service]\nType=simple");
    let error = project.fails(&role(&format!("{broken}{}", start("broken")))).failure("node");
    assert!(error.contains("systemd-analyze verify broken.service"), "{error}");
    // The next run finds this out before the first change.
    assert!(project.is_refused(&role(&format!("{broken}{}", start("broken")))).contains("systemd-analyze verify broken.service"));

    let nothing = project.is_refused(&role(&start("nothing")));
    assert_eq!(nothing, "unit `nothing.service` does not exist, and no earlier task creates it");
    let once = unit("once", "[Service]\nType=oneshot\nExecStart=/bin/true");
    let error = project.fails(&role(&format!("{once}{}", start("once")))).failure("node");
    assert!(error.contains("runs once and ends"), "{error}");

    let fine = unit("fine", "[Service]\nExecStart=/bin/sleep infinity");
    project.converges(&role(&format!("{fine}{}", start("fine"))));
    assert_eq!(node.sh("systemctl is-active fine"), "active");
    // A unit that has stopped since is drift.
    node.sh("systemctl kill -s KILL fine; until systemctl is-failed -q fine; do sleep 0.05; done");
    let deploy = project.converges(&role(&format!("{fine}{}", start("fine"))));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Start"]);
}

#[test]
fn a_restart_is_done_when_the_service_answers_and_fails_at_its_limit_with_the_last_words() {
    let node = TestNode::bare();
    let role = |ready: &str| {
        format!(
            "description: t
tasks:
{}  - {{name: Configure, copy: {{dest: /etc/slow.conf, content: x}}, notify: restart slow}}
handlers:
  - name: restart slow
    systemd: {{name: slow.service, state: restarted}}
    ready: {{command: \"{ready}\", timeout: 3s}}
",
            unit(
                "slow",
                "[Service]\nExecStart=/bin/sh -c 'rm -f /run/answers; sleep 1; date +%%s >/run/answers; exec sleep infinity'"
            )
        )
    };
    let never = "echo still loading row 7 >&2; exit 1";
    let project = Project::toy(&[("node", &node)], &role(never));
    let failed = project.fails(&role(never));
    assert!(failed.failure("node").contains("not ready within 3 s: still loading row 7"), "{}", failed.stdout);
    let took = failed.tasks("node");
    assert_eq!(took.last().unwrap().kind, "handler");
    // The handler is still pending; it is done only when a run finds the service ready.
    let deploy = project.converges(&role("test -s /run/answers"));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/restart slow"]);

    // A restart that fails shows why.
    let broken = role("true").replace("exec sleep infinity", "echo out of memory; exit 4").replace("content: x", "content: y");
    let error = project.fails(&broken).failure("node");
    assert!(error.contains("out of memory"), "{error}");
}

#[test]
fn a_handler_may_leave_a_unit_alone_that_does_not_run() {
    let node = TestNode::bare();
    let role = |content: &str, program: &str| {
        let unit = unit("backend", &format!("[Service]\nExecStart={program}"));
        let unit = if program.is_empty() { String::new() } else { unit };
        format!(
            "description: t\ntasks:\n{unit}  - {{name: Configure, copy: {{dest: /etc/backend.conf, content: {content}}}, notify: restart}}\n\
             handlers:\n  - {{name: restart, systemd: {{name: backend, state: restarted, if_running: true}}}}\n"
        )
    };
    let project = Project::toy(&[("node", &node)], &role("a", ""));
    let state = |property: &str| node.sh(&format!("systemctl show -P {property} backend"));
    let sleeps = "/bin/sleep infinity";
    // There is no unit; then it is stopped, and systemd reads what changed for its next start.
    project.converges(&role("a", ""));
    project.converges(&role("b", sleeps));
    assert_eq!(state("ActiveState"), "inactive");
    node.sh("systemctl start backend");
    let pid = state("MainPID");
    project.converges(&role("c", sleeps));
    assert!(!["0".to_owned(), pid].contains(&state("MainPID")));
    // A server that ends right after its restart is an error, with its last words.
    let error = project.fails(&role("d", "/bin/sh -c 'echo out of memory; exit 4'")).failure("node");
    assert!(error.contains("`backend.service` does not stay up") && error.contains("out of memory"), "{error}");
}

#[test]
fn a_restart_reads_the_first_drop_in_of_a_unit() {
    let node = TestNode::bare();
    let role = |drop_in: &str| {
        format!(
            "description: t\ntasks:\n{}{drop_in}{}handlers:\n  - {{name: restart, systemd: {{name: app, state: restarted}}}}\n",
            unit("app", "[Service]\nExecStart=/bin/sleep infinity"),
            "  - {name: Start, systemd: {name: app, state: started}}\n",
        )
    };
    let project = Project::toy(&[("node", &node)], &role(""));
    project.converges(&role(""));
    let drop_in = "  - {name: Directory, file: {path: /etc/systemd/system/app.service.d, state: directory}}
  - {name: Drop-in, copy: {dest: /etc/systemd/system/app.service.d/a.conf, content: \"[Service]\\nEnvironment=A=b\\n\"}, notify: restart}
";
    project.converges(&role(drop_in));
    assert_eq!(node.sh("tr '\\0' '\\n' </proc/$(systemctl show -P MainPID app)/environ | grep ^A="), "A=b");
}

#[test]
fn the_last_words_of_a_unit_are_shown_where_the_journal_reads_them_after_its_end() {
    let node = TestNode::bare();
    // Journald is stopped before the unit speaks, and goes on when the unit has failed: it finds no invocation for these words.
    let journald = "$(systemctl show -p MainPID --value systemd-journald)";
    let dies = unit(
        "dies",
        &format!(
            "[Unit]\nOnFailure=listen.service\n[Service]\nExecStartPre=/bin/sh -c 'kill -STOP {journald}'\nExecStart=/bin/sh -c 'echo out of memory; exit 4'"
        )
        .replace('$', "$$"),
    );
    let listen =
        unit("listen", &format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'kill -CONT {journald}'").replace('$', "$$"));
    let role = role(&format!("{listen}{dies}  - {{name: Start, systemd: {{name: dies, state: started}}}}\n"));
    let project = Project::toy(&[("node", &node)], &role);
    let error = project.fails(&role).failure("node");
    assert!(error.contains("out of memory"), "{error}");
}

#[test]
fn enabling_disabling_masking_and_aliases_are_states_that_a_check_foretells() {
    let node = TestNode::bare();
    let install = "\n[Install]\nWantedBy=multi-user.target\nAlias=other-name.service";
    let app = unit("app", &format!("[Service]\nExecStart=/bin/sleep infinity\n{install}"));
    let systemd = |parameters: &str| role(&format!("{app}  - {{name: App, systemd: {{name: app, {parameters}}}}}\n"));
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let systemctl =
        |arguments: &str| String::from_utf8_lossy(&node.try_sh(&format!("systemctl {arguments}")).stdout).trim().to_owned();

    project.converges(&systemd("state: started, enabled: true"));
    assert_eq!((systemctl("is-active app"), systemctl("is-enabled app")), ("active".to_owned(), "enabled".to_owned()));
    // The alias is the same unit.
    project.converges(&role("  - {name: Alias, systemd: {name: other-name, state: started, enabled: true}}\n"));
    project.converges(&role("  - {name: Alias, systemd: {name: other-name, state: stopped}}\n"));
    assert_eq!(systemctl("is-active app"), "inactive");
    project.converges(&systemd("enabled: false"));
    assert_eq!((systemctl("is-active app"), systemctl("is-enabled app")), ("inactive".to_owned(), "disabled".to_owned()));
    project.converges(&systemd("state: started"));
    project.converges(&systemd("state: stopped, enabled: false"));
    assert_eq!(systemctl("is-active app"), "inactive");

    let masked = |parameters: &str| role(&format!("  - {{name: Masked, systemd: {{name: cron-like, {parameters}}}}}\n"));
    project.converges(&masked("masked: true"));
    assert_eq!(systemctl("is-enabled cron-like"), "masked");
    let words = project.is_refused(&masked("state: started"));
    assert_eq!(words, "`cron-like.service` is masked; `masked: false` unmasks it");
    node.sh("printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/lib/systemd/system/cron-like.service");
    project.converges(&masked("masked: false, state: started"));
    assert_eq!(systemctl("is-active cron-like"), "active");
}

#[test]
fn a_unit_that_does_not_come_up_is_named_with_the_job_that_waits() {
    let node = TestNode::bare();
    let gate = unit(
        "gate",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStartPre=/bin/sh -c 'read -r word </run/gate'\nExecStart=/bin/true",
    );
    let hangs = unit("hangs", "[Service]\nType=notify\nExecStart=/bin/sh -c 'echo loading row 7; exec sleep infinity'");
    let behind = unit("behind", "[Unit]\nAfter=gate.service\n[Service]\nExecStart=/bin/sleep infinity");
    let start = |name: &str| format!("  - {{name: Start, timeout: 5s, systemd: {{name: {name}, state: started}}}}\n");
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let is_active = |name: &str| node.sh(&format!("systemctl is-active {name} || :"));

    // Its own program hangs. The job is left: another run finds the unit up once it is.
    let error = project.fails(&role(&format!("{hangs}{}", start("hangs")))).failure("node");
    assert!(
        error.contains("`hangs.service` did not start within ") && error.contains(" s: it is still activating (start); job "),
        "{error}"
    );
    assert!(error.contains(" start running (left to systemd)") && error.contains("loading row 7"), "{error}");
    assert_eq!(is_active("hangs"), "activating");
    node.sh("systemctl stop hangs");

    // It waits for a unit that another process started and that hangs before its program.
    node.sh("mkfifo /run/gate");
    project.converges(&role(&format!("{gate}{behind}")));
    node.sh("systemctl daemon-reload; systemctl start --no-block gate");
    let error = project.fails(&role(&format!("{gate}{behind}{}", start("behind")))).failure("node");
    let job = node.sh("systemctl show -p Job --value gate");
    assert!(
        error.contains(&format!(" start waiting for `gate.service` (job {job} start, running) (left to systemd)")),
        "{error}"
    );
    assert!(
        error.contains("`behind.service` did not start within ") && error.contains(" s: it is still inactive (dead); job "),
        "{error}"
    );
    node.sh("echo go >/run/gate; systemctl start behind");
    project.converges(&role(&format!("{gate}{behind}{}", start("behind"))));

    // A restart and a reload, with the scripts of handlers.
    let fails = |script: &Script| {
        let (done, error) = run(&node, script);
        assert!(!done);
        error
    };
    node.sh("systemctl start --no-block gate; systemctl restart --no-block gate");
    let error = fails(&unit_functions::restart("behind.service", Duration::from_secs(5)));
    assert!(
        error.contains("`behind.service` did not restart within 4 s: it is still ") && error.contains("`gate.service`"),
        "{error}"
    );
    node.sh("echo go >/run/gate; systemctl start behind");
    node.sh("mkdir -p /run/systemd/system/behind.service.d; printf '[Service]\\nExecReload=/bin/sh -c \"read -r word </run/gate\"\\n' >/run/systemd/system/behind.service.d/reload.conf; systemctl daemon-reload");
    let error = fails(&unit_functions::reload("behind.service").limit(Duration::from_secs(5)));
    assert!(
        error.contains("`behind.service` did not reload within ") && error.contains(" s: it is still reloading (reload); job "),
        "{error}"
    );
    node.sh("echo go >/run/gate");
}

#[test]
fn jobs_that_run_nothing_and_failures_that_systemd_finds_are_told_apart() {
    let node = TestNode::bare();
    let write = |name: &str, text: &str| {
        node.sh(&format!("cat >/run/systemd/system/{name}.service <<'END'\n{text}\nEND\nsystemctl daemon-reload"));
    };
    let restart = |name: &str| run(&node, &unit_functions::restart(&format!("{name}.service"), Duration::from_mins(1)));
    write("once", "[Service]\nType=oneshot\nExecStart=/bin/true");
    assert_eq!(restart("once"), (true, String::new()));
    write("skipped", "[Unit]\nConditionPathExists=/nothing\n[Service]\nType=oneshot\nExecStart=/bin/false");
    assert_eq!(restart("skipped"), (true, String::new()));
    write("bad", "[Service]\nType=oneshot\nExecStart=/bin/false");
    write("needy", "[Unit]\nRequires=bad.service\nAfter=bad.service\n[Service]\nType=oneshot\nExecStart=/bin/true");
    let (done, error) = restart("needy");
    assert!(!done && error.contains("`needy.service` did not restart, because a unit that it requires did not start"), "{error}");
    write("asserts", "[Unit]\nAssertPathExists=/nothing\n[Service]\nType=oneshot\nExecStart=/bin/true");
    let (done, error) = restart("asserts");
    assert!(!done && error.contains("did not restart (assert)"), "{error}");
    // The unit's own limit is shorter: systemd itself makes it fail.
    write("slow", "[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity");
    let (done, error) = restart("slow");
    assert!(!done && error.starts_with("`slow.service` did not restart: it is failed (failed, timeout"), "{error}");
    write("reloads", "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/false");
    assert_eq!(restart("reloads"), (true, String::new()));
    let (done, error) = run(&node, &unit_functions::reload("reloads.service"));
    assert!(!done && error.starts_with("`reloads.service` did not reload (exit-code): it is active (running"), "{error}");
}

#[test]
fn a_unit_is_as_its_files_say_and_not_as_systemd_has_read_them_before() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let role = |calendar: &str, wanted_by: &str, drop_in: &str| {
        format!(
            "description: t
tasks:
{}  - {{name: Timer, copy: {{dest: /etc/systemd/system/job.timer, content: \"[Timer]\\nOnCalendar={calendar}\\n[Install]\\nWantedBy=timers.target\\n\"}}}}
  - {{name: Run the timer, systemd: {{name: job.timer, enabled: true, state: started}}}}
  - {{name: Drop-in, file: {{path: /etc/systemd/system/fine.service.d, state: directory}}}}
  - {{name: Drop-in file, copy: {{dest: /etc/systemd/system/fine.service.d/x.conf, content: \"{drop_in}\"}}}}
{}  - {{name: Run, systemd: {{name: fine.service, enabled: true, state: started}}}}
",
            unit("job", "[Service]\nType=oneshot\nExecStart=/bin/true"),
            unit("fine", &format!("[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy={wanted_by}")),
        )
    };
    let next = || node.sh("systemctl show -p TimersCalendar --value job.timer");
    let shown = |property: &str| node.sh(&format!("systemctl show -p {property} --value fine.service"));
    let links = || node.sh("cd /etc/systemd/system; ls -d *.wants/fine.service");
    project.converges(&role("*-*-* 03:00:00", "multi-user.target", ""));
    assert!(next().contains("03:00:00"), "{}", next());

    // The first drop-in of a unit is in a new directory, which systemd 252 does not notice by itself.
    let deploy = project.converges(&role("*-*-* 05:30:00", "graphical.target", "[Service]\\nEnvironment=A=b\\n"));
    let changed = deploy.ids("node", "changed");
    // systemd reads the timer's file right after the task that writes it; its links are those that the new file wants.
    assert!(changed.contains("toy/Run") && !changed.contains("toy/Run the timer"), "{changed:?}");
    assert!(next().contains("05:30:00"), "{}", next());
    assert_eq!(
        (shown("Environment"), shown("NeedDaemonReload"), links()),
        ("A=b".into(), "no".into(), "graphical.target.wants/fine.service".into())
    );

    // What was done by hand.
    node.sh("systemctl mask --runtime ssh.socket; sed -i s/05:30/06:30/ /etc/systemd/system/job.timer; rm /etc/systemd/system/*.wants/fine.service; ln -s ../fine.service /etc/systemd/system/graphical.target.wants/other.service");
    let last = role("*-*-* 06:30:00", "graphical.target", "[Service]\\nEnvironment=A=b\\n");
    let masked = "  - {name: Mask, systemd: {name: ssh.socket, masked: true}}\n";
    let deploy = project.converges(&format!("{last}{masked}"));
    assert_eq!(deploy.ids("node", "changed").into_iter().collect::<Vec<_>>(), ["toy/Mask", "toy/Run", "toy/Run the timer"]);
    assert!(next().contains("06:30:00"), "{}", next());
    assert_eq!(node.sh("readlink /etc/systemd/system/ssh.socket"), "/dev/null");

    let unmasked = project.converges("description: t\ntasks:\n  - {name: Unmask, systemd: {name: ssh.socket, masked: false}}\n");
    assert_eq!(unmasked.ids("node", "changed").len(), 1);

    node.sh(
        "printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/nowhere.service; systemctl daemon-reload",
    );
    let enable = "  - {name: Enable, systemd: {name: nowhere.service, enabled: true}}\n";
    let why = project.is_refused(&format!("description: t\ntasks:\n{enable}"));
    assert!(why.contains("`nowhere.service` cannot start at boot"), "{why}");
    let install = unit("nowhere", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target");
    project.converges(&format!("description: t\ntasks:\n{install}{enable}"));
}

#[test]
fn a_drop_in_may_have_a_blank_in_its_name() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let drop_in = "/etc/systemd/system/app.service.d/10 my.conf";
    node.sh(&format!("mkdir -p /etc/systemd/system/app.service.d; printf '[Service]\\nEnvironment=A=b\\n' >'{drop_in}'"));
    let app = unit("app", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target");
    let run = "  - {name: Run, systemd: {name: app, state: started, enabled: true}}\n";
    let health = "health:\n  - {name: App, read: {unit: {name: app}}}\n";
    project.converges(&format!("{}{health}", role(&format!("{app}{run}"))));
    project.run(&["health"]).assert_code(0);
    // What systemd has not read is named, and hurts no client; that the unit does not start at boot will.
    node.sh(&format!("printf '[Service]\\nEnvironment=A=c\\n' >'{drop_in}'"));
    let well = project.run(&["health"]);
    assert!(well.assert_code(0).said().contains("changed since systemd read them"), "{}", well.said());
    node.sh("systemctl disable -q app; systemctl daemon-reload");
    let sick = project.run(&["health"]);
    assert!(sick.assert_code(1).said().contains("`app.service` does not start at boot"), "{}", sick.said());
    project.json(&["deploy"]).assert_code(0);
    project.run(&["health"]).assert_code(0);
}

#[test]
fn a_kernel_setting_is_what_it_will_be_after_the_next_boot() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "description: t\ntasks: []\n");
    let role = |before: &str, value: &str| {
        let set = format!("sysctl: {{name: net.ipv4.tcp_fin_timeout, value: {value}, sysctl_file: /etc/sysctl.d/60-app.conf}}");
        format!("description: t\ntasks:\n{before}  - {{name: Set, {set}}}\n")
    };
    node.sh("printf '# x\\nnet.ipv4.tcp_fin_timeout = 30\\n' >/etc/sysctl.d/99-other.conf");
    let why = project.is_refused(&role("", "\"20\""));
    assert!(why.contains("`/etc/sysctl.d/99-other.conf:2` (`30`)") && why.contains("at boot and wins"), "{why}");
    // A task that takes the other line away is a way out.
    let away = "  - {name: Away, lineinfile: {path: /etc/sysctl.d/99-other.conf, regexp: tcp_fin_timeout, state: absent}}\n";
    project.converges(&role(away, "\"20\""));
    assert_eq!(node.sh("cat /proc/sys/net/ipv4/tcp_fin_timeout"), "20");
    node.sh("echo net/ipv4/tcp_fin_timeout=30 >/run/sysctl.d/61.conf || { mkdir -p /run/sysctl.d; echo net/ipv4/tcp_fin_timeout=30 >/run/sysctl.d/61.conf; }");
    let why = project.is_refused(&role("", "\"20\""));
    assert!(why.contains("`/run/sysctl.d/61.conf:1`"), "converged by its own file and the kernel, but not for long: {why}");
    node.sh("rm /run/sysctl.d/61.conf");

    let why = project.is_refused(&role("", "\"010\""));
    assert!(why.contains("does not read `010` as it is written"), "{why}");
    let why = project.fails(&role("", "\"99999999999999\"")).failure("node");
    assert!(why.contains("the kernel refuses the value 99999999999999"), "{why}");
    assert_eq!(node.sh("cat /etc/sysctl.d/60-app.conf"), "net.ipv4.tcp_fin_timeout = 20", "nothing of it at the next boot");
}
