//! apt on a real node: one question for all packages, helpful errors, waiting for locks, and no use of Python by this program.

use std::{fs::File, process::Stdio, time::Instant};

use crate::harness::{Project, TestNode, eventually, lab, repository_url};

const EMPTY: &str = "description: t\ntasks: []\n";

fn role(tasks: &str) -> String {
    format!("description: t\ntasks:\n{tasks}")
}

/// Makes a repository on the node its only source: `thing` 1.0 and 2.0 (with a configuration file), each with `thing-dev` of the same source, which
/// needs `thing-lib` of the same version; `rival`, which conflicts with `thing`; and `slow`, whose installation ends when `/srv/go` exists.
fn publish_packages(node: &TestNode) {
    node.sh(r#"set -eu
mkdir -p /srv/repo
build() {
  tree=/srv/build/$1-$2
  mkdir -p "$tree/DEBIAN" "$tree/etc"
  echo "$1 $2" >"$tree/etc/$1.conf"
  echo "/etc/$1.conf" >"$tree/DEBIAN/conffiles"
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.invalid>\nDescription: t\n' "$1" "$2" >"$tree/DEBIAN/control"
  case $1 in
    thing | thing-lib) echo 'Source: things' ;;
    thing-dev) printf 'Source: things\nDepends: thing-lib (= %s)\n' "$2" ;;
    rival) echo 'Conflicts: thing' ;;
  esac >>"$tree/DEBIAN/control"
  if [ "$1" = slow ]; then
    printf '#!/bin/sh\nuntil [ -e /srv/go ]; do sleep 0.1; done\n' >"$tree/DEBIAN/postinst"
    chmod 755 "$tree/DEBIAN/postinst"
  fi
  dpkg-deb -b "$tree" "/srv/repo/$1_$2.deb" >/dev/null
}
for version in 1.0 2.0; do build thing $version; build thing-lib $version; build thing-dev $version; done
build slow 1.0; build rival 1.0
cd /srv/repo
for deb in *.deb; do
  dpkg-deb -f "$deb"
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >Packages
printf 'Suite: own\nSHA256:\n %s %s Packages\n' "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list.d/own.list"#);
}

fn version(node: &TestNode) -> String {
    node.sh("dpkg-query -W -f '${db:Status-Abbrev}${Version}' thing 2>/dev/null || :")
}

#[test]
fn all_packages_are_asked_for_in_one_dpkg_query() {
    let node = TestNode::bare();
    let task = |name: &&str| format!("  - {{name: \"{name}\", apt: {{name: {name}}}}}\n");
    let tasks = ["bash", "dash", "coreutils", "[sed, grep]", "sudo"].iter().map(task).collect::<Vec<_>>().concat();
    let absent = "  - {name: Absent, apt: {name: [autobot-never, telnetd], state: absent}}\n";
    let project = Project::toy(&[("node", &node)], &role(&format!("{tasks}{absent}")));
    node.sh(
        r#"mv /usr/bin/dpkg-query /usr/bin/dpkg-query.real
        printf '#!/bin/sh\necho asked >>/srv/asked\nexec /usr/bin/dpkg-query.real "$@"\n' >/usr/bin/dpkg-query; chmod 755 /usr/bin/dpkg-query"#,
    );
    let check = project.json(&["deploy", "--check", "--detailed-exitcode"]);
    check.assert_code(0);
    assert_eq!(check.host("node")["round_trips"], 1);
    let asked = || node.sh("cat /srv/asked; rm /srv/asked");
    assert_eq!(asked(), "asked");
    project.json(&["deploy", "--detailed-exitcode"]).assert_code(0);
    assert_eq!(asked(), "asked");

    // A package database that cannot be read is an error, and nothing is installed.
    node.sh("cp /var/lib/dpkg/status /srv/status; echo 'Package' >>/var/lib/dpkg/status");
    let words = project.is_refused(&role("  - {name: Thing, apt: {name: thing}}\n"));
    assert!(words.contains("/var/lib/dpkg/status"), "{words}");
}

#[test]
fn packages_reach_the_version_and_state_that_is_declared_or_say_why_not() {
    let node = TestNode::bare();
    publish_packages(&node);
    let project = Project::toy(&[("node", &node)], EMPTY);
    let apt = |parameters: &str| role(&format!("  - {{name: Thing, apt: {{{parameters}}}}}\n"));

    project.converges(&apt("name: thing=1.*"));
    assert_eq!(version(&node), "ii 1.0");
    // Without a declared version, any version is accepted.
    project.converges(&apt("name: thing"));
    assert_eq!(version(&node), "ii 1.0");
    project.converges(&apt("name: thing=2.0"));
    assert_eq!(version(&node), "ii 2.0");
    let error = project.fails(&apt("name: thing=1.0")).failure("node");
    assert!(error.contains("downgrade") && error.contains("apt-get could not install: thing=1.0"), "{error}");

    node.sh("apt-mark hold thing");
    let words = project.is_refused(&apt("name: thing=1.0"));
    assert_eq!(words, "`thing` is held at 2.0; `apt-mark unhold thing` lets it change");
    node.sh("apt-mark unhold thing");

    // A removed package leaves its configuration (dpkg's `rc`), which counts as absent unless a purge is requested.
    project.converges(&apt("name: thing, state: absent"));
    assert_eq!(version(&node), "rc 2.0");
    project.converges(&apt("name: thing, state: absent"));
    project.converges(&apt("name: thing"));
    assert_eq!(version(&node), "ii 2.0");
    project.converges(&apt("name: thing, state: absent"));
    project.converges(&apt("name: thing, state: absent, purge: true"));
    assert!(!node.root.join("etc/thing.conf").exists());

    for (name, expected) in
        [("thnig", "Unable to locate package thnig"), ("thing=7.0", "Version '7.0' for 'thing' was not found")]
    {
        let error = project.fails(&apt(&format!("name: {name}"))).failure("node");
        let words = format!("no package source of this node has what was asked for: {name}; see above which");
        assert!(error.contains(&words) && error.contains(expected), "{error}");
    }
    assert_eq!(version(&node), "");

    // An interrupted installation is finished by the next one.
    node.sh("touch /srv/go; apt-get -qq download thing 2>/dev/null; dpkg --unpack /srv/repo/thing_2.0.deb");
    project.converges(&apt("name: thing"));
    assert_eq!(version(&node), "ii 2.0");
}

#[test]
fn an_installation_leaves_alone_what_the_task_does_not_name() {
    let node = TestNode::bare();
    publish_packages(&node);
    let project = Project::toy(&[("node", &node)], EMPTY);
    let apt = |parameters: &str| role(&format!("  - {{name: Thing, apt: {{{parameters}}}}}\n"));
    let versions = || node.sh("dpkg-query -W -f '${Package} ${Version}\\n' 'thing*' rival 2>/dev/null || :");

    // A new dependency is allowed; an installed package of the same source stays as it is.
    project.converges(&apt("name: thing=1.0"));
    project.converges(&apt("name: thing-dev"));
    assert_eq!(versions(), "thing 1.0\nthing-dev 2.0\nthing-lib 2.0");
    project.converges(&apt("name: [thing-dev, thing-lib], state: absent, purge: true"));
    project.converges(&apt("name: thing-lib=1.0"));
    let error = project.fails(&apt("name: thing-dev")).failure("node");
    assert!(error.contains("apt-get would also change thing-lib from 1.0 to 2.0; nothing was changed"), "{error}");
    let error = project.fails(&apt("name: rival")).failure("node");
    assert!(error.contains("apt-get would also remove thing; nothing was changed"), "{error}");
    assert_eq!(versions(), "thing 1.0\nthing-lib 1.0");
    // What is named may change.
    project.converges(&apt("name: [thing-dev, thing-lib]"));
    let error = project.fails(&apt("name: thing-lib, state: absent")).failure("node");
    assert!(error.contains("apt-get would also remove thing-dev"), "{error}");
    assert_eq!(versions(), "thing 1.0\nthing-dev 2.0\nthing-lib 2.0");
}

#[test]
fn missing_wrong_unreadable_and_misnamed_keys_are_four_failures_and_none_leaves_a_source() {
    let node = TestNode::bare();
    let url = repository_url();
    let repository = |key: &str| {
        role(&format!(
            "  - {{name: Source, deb822_repository: {{name: toy, uris: \"{url}/deb\", suites: bookworm, components: main, signed_by: \"{key}\"}}}}\n"
        ))
    };
    let project = Project::toy(&[("node", &node)], EMPTY);
    node.sh(&format!("/usr/lib/apt/apt-helper download-file {url}/gpg /srv/key >/dev/null; mkdir -p /etc/apt/keyrings; cd /etc/apt/keyrings
        cp /srv/key secret.asc; chmod 0600 secret.asc; cp /srv/key wrong-name.gpg; chmod 0644 wrong-name.gpg; cp /srv/key fine.asc; chmod 0644 fine.asc"));
    let before = node.sh("ls -A /etc/apt/sources.list.d /etc/apt/keyrings /run; cat /etc/apt/sources.list.d/*");
    let unchanged = || {
        assert_eq!(node.sh("ls -A /etc/apt/sources.list.d /etc/apt/keyrings /run; cat /etc/apt/sources.list.d/*"), before);
    };

    let missing = project.fails(&repository(&format!("{url}/no-such-key"))).failure("node");
    assert!(
        missing.contains(&format!(
            "repository `toy`: its key could not be fetched from {url}/no-such-key, see above: check the URL in signed_by"
        )),
        "{missing}"
    );
    assert!(missing.contains("404"), "{missing}");
    unchanged();
    let wrong = project.fails(&repository("/usr/share/keyrings/debian-archive-keyring.gpg")).failure("node");
    assert!(
        wrong.contains("the key from /usr/share/keyrings/debian-archive-keyring.gpg did not sign it: it is the wrong key"),
        "{wrong}"
    );
    unchanged();
    let unreadable = project.is_refused(&repository("/etc/apt/keyrings/secret.asc"));
    assert!(
        unreadable.starts_with(
            "a key that the user `_apt` can read (`/etc/apt/keyrings/secret.asc` has mode 0600; give it 0644) does not exist"
        ),
        "{unreadable}"
    );
    unchanged();
    let misnamed = project.is_refused(&repository("/etc/apt/keyrings/wrong-name.gpg"));
    assert!(
        misnamed.starts_with(
            "a key that apt reads (`/etc/apt/keyrings/wrong-name.gpg` is armoured; only names that end in `.asc` may be)"
        ),
        "{misnamed}"
    );
    unchanged();
    let absent = project.is_refused(&repository("/etc/apt/keyrings/absent.asc"));
    assert!(absent.starts_with("key file `/etc/apt/keyrings/absent.asc` does not exist"), "{absent}");
    // A directory that `_apt` may not enter is noticed only when `_apt` tries.
    node.sh("mkdir -m 0700 /srv/closed; cp /etc/apt/keyrings/fine.asc /srv/closed/");
    let closed = project.fails(&repository("/srv/closed/fine.asc")).failure("node");
    assert!(
        closed.contains("cannot read the key /srv/closed/fine.asc: give the file mode 0644, and its directories 0755"),
        "{closed}"
    );
    unchanged();
    // Right key, wrong place.
    let nowhere =
        project.fails(&repository(&format!("{url}/gpg")).replace("suites: bookworm", "suites: nowhere")).failure("node");
    assert!(nowhere.contains("its index is not there: check uris, suites and components"), "{nowhere}");
    unchanged();

    // By URL and by path it works, and apt takes packages from it.
    project.converges(&repository("/etc/apt/keyrings/fine.asc"));
    let deploy = project.converges(&repository(&format!("{url}/gpg")));
    assert!(deploy.stdout.contains("Signed-By: /etc/apt/keyrings/toy.asc"), "{}", deploy.stdout);
    node.sh("apt-get -q update -o APT::Update::Error-Mode=any && apt-get -s -q install redis-stack-server | grep '^Inst redis-stack-server'");
    project.converges(&role("  - {name: Source, deb822_repository: {name: toy, state: absent}}\n"));
    unchanged();
}

#[test]
fn what_others_did_to_apt_is_foreseen_and_apt_stays_usable() {
    let node = TestNode::bare();
    let url = repository_url();
    publish_packages(&node);
    let project = Project::toy(&[("node", &node)], EMPTY);
    node.sh("apt-get -qq update; apt-mark hold thing");
    let why = project.is_refused(&role("  - {name: Thing, apt: {name: thing}}\n"));
    assert!(why.contains("`thing` is held") && why.contains("apt-mark unhold thing"), "{why}");

    // As the vendor's instructions say: another file, another key.
    node.sh(&format!(
        "/usr/lib/apt/apt-helper download-file {url}/gpg /srv/key >/dev/null; cp /srv/key /usr/share/keyrings/vendor.asc
        chmod 0644 /usr/share/keyrings/vendor.asc
        echo 'deb [signed-by=/usr/share/keyrings/vendor.asc] {url}/deb bookworm main' >/etc/apt/sources.list.d/vendor.list; apt-get -qq update"
    ));
    let source = format!(
        "  - {{name: Source, deb822_repository: {{name: toy, uris: \"{url}/deb/\", suites: bookworm, components: main, signed_by: \"{url}/gpg\"}}}}\n"
    );
    let why = project.is_refused(&role(&source));
    assert!(why.contains("is a source in `/etc/apt/sources.list.d/vendor.list:1`, too, with the key"), "{why}");
    node.sh("apt-get -qq update -o APT::Update::Error-Mode=any");
    let away = "  - {name: Away, file: {path: /etc/apt/sources.list.d/vendor.list, state: absent}}\n";
    project.converges(&role(&format!("{away}{source}")));
    // It comes back, for example with a package's script: apt is broken, and that is said.
    node.sh(&format!(
        "echo 'deb [signed-by=/usr/share/keyrings/vendor.asc] {url}/deb bookworm main' >/etc/apt/sources.list.d/vendor.list"
    ));
    let why = project.is_refused(&role(&source));
    assert!(why.contains("vendor.list:1`, too"), "{why}");

    let run = "  - {name: Run, command: {cmd: 'true', creates: /srv/x, become_user: no-such-user}}\n";
    let why = project.is_refused(&role(&format!("  - {{name: First, copy: {{dest: /srv/first, content: x}}}}\n{run}")));
    assert!(why.contains("user `no-such-user` does not exist"), "{why}");
}

#[test]
fn a_held_lock_is_waited_for_and_its_holder_is_shown() {
    let node = TestNode::bare();
    publish_packages(&node);
    let project = Project::toy(&[("node", &node)], &role("  - {name: Thing, apt: {name: thing}}\n"));
    let log = project.path("said");
    let logged = || std::fs::read_to_string(&log).unwrap();
    node.sh("apt-get -qq update");
    // Another program's installation: before dpkg begins (apt waits for that by itself), and while dpkg runs.
    for (options, pattern) in
        [("-o DPkg::Pre-Invoke::='until [ -e /srv/go ]; do sleep 0.1; done'", "srv/go"), ("", "slow.postinst")]
    {
        node.sh("rm -f /srv/go; apt-get -q -y purge slow thing");
        node.sh(&format!("systemd-run -q --collect --unit=other-apt apt-get -q -y {options} install slow"));
        eventually("the other installation is under way", 30, || node.try_sh(&format!("pgrep -f {pattern}")).status.success());
        let holder = node.sh("systemctl show -p MainPID --value other-apt");
        let mut deploy = project.command(&["deploy"]).stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        eventually(&format!("process {holder} is named"), 60, || {
            assert!(deploy.try_wait().unwrap().is_none(), "it waits: {}", logged());
            logged().lines().any(|line| line.contains("lock") && line.contains(&holder))
        });
        assert_eq!(version(&node), "");
        node.sh("touch /srv/go");
        assert!(deploy.wait().unwrap().success(), "{}", logged());
        assert_eq!(version(&node), "ii 2.0");
        assert_eq!(node.sh("dpkg --audit; dpkg-query -W -f '${db:Status-Abbrev}' slow"), "ii");
    }
}

#[test]
fn without_a_network_an_installation_ends_within_its_limit_and_says_what_was_out_of_reach() {
    let node = TestNode::bare();
    // All packets except those of the run's own connection are dropped.
    node.sh("iptables -A OUTPUT -o lo -j ACCEPT; iptables -A OUTPUT -p tcp --sport 22 -j ACCEPT; iptables -A OUTPUT -j DROP; rm -rf /var/lib/apt/lists/*");
    let install = role("  - {name: Hello, apt: {name: hello}, timeout: 90s}\n");
    let project = Project::toy(&[("node", &node)], &install);
    let began = Instant::now();
    let error = project.fails(&install).failure("node");
    assert!(began.elapsed().as_secs() < 100, "{error}");
    assert!(
        error.contains("`apt-get update` failed: a package source of this node cannot be fetched or verified, see above"),
        "{error}"
    );
    assert!(!error.contains("no package source of this node has"), "it goes no further with lists that are not there: {error}");
    assert_eq!(node.sh("pgrep -c apt || :"), "0");
}

#[test]
fn role_redis_without_a_firewall_needs_no_python_and_with_one_only_ufw_runs_it() {
    let node = TestNode::bare();
    let project = Project::shipped(&[("node", &node, "")]);
    project.json(&["deploy", "-e", "firewall=false"]).assert_code(0);
    assert!(!node.try_sh("command -v python3 || ls /usr/bin/python* 2>/dev/null").status.success());
    project.json(&["deploy", "-e", "firewall=false", "--detailed-exitcode"]).assert_code(0);

    // From here on, every start of Python is recorded.
    node.sh(r#"apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install ufw >/dev/null 2>&1
        python=$(readlink -f /usr/bin/python3); mv "$python" "$python.real"
        printf '#!/bin/sh\necho "$*" >>/srv/python\nexec %s.real "$@"\n' "$python" >"$python"; chmod 755 "$python""#);
    project.json(&["deploy"]).assert_code(0);
    project.json(&["deploy", "-e", "redis_maxclients=500"]).assert_code(0);
    assert!(node.sh("ufw status").starts_with("Status: active"));
    let calls = node.sh("cat /srv/python");
    let others: Vec<&str> = calls.lines().filter(|call| !call.starts_with("/usr/sbin/ufw ")).collect();
    assert_eq!(others, Vec::<&str>::new());
    assert!(calls.contains("/usr/sbin/ufw --force enable"), "{calls}");
}

/// Cuts the link, or kills the run, at a random moment of a first deploy, over and over. `CUTS` and `SEED` choose how often, and repeat a run.
#[test]
fn a_link_that_is_cut_at_a_random_moment_of_a_first_deploy_never_breaks_dpkg() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (cuts, mut seed) = (number("CUTS", 2), number("SEED", u64::from(std::process::id())));
    crate::harness::say(&format!("CUTS={cuts} SEED={seed}"));
    for _ in 0..cuts {
        let node = TestNode::bare();
        let project = Project::shipped(&[("node", &node, "")]);
        let run = project.start(&["deploy"]);
        // An installation is under way: then up to 8 s, which is longer than each of them takes.
        eventually("dpkg unpacks", 120, || node.try_sh("pgrep -x dpkg").status.success());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = std::time::Duration::from_millis((seed >> 33) % 8000);
        let cut = Instant::now() + moment;
        eventually("the moment has come", 10, || Instant::now() >= cut);
        lab().cut_link(&node.name).unwrap();
        run.end();
        lab().restore_link(&node.name).unwrap();
        let free = "test ! -e /run/autobot-provision/jobs/lock || flock -n /run/autobot-provision/jobs/lock true";
        eventually("the job has ended", 120, || node.try_sh(free).status.success());
        assert_eq!(node.sh("dpkg --audit; ls /var/lib/dpkg/updates"), "", "cut after {moment:?}");
        project.run(&["deploy", "--wait", "60s"]).assert_code(0);
        assert_eq!(project.json(&["deploy"]).assert_code(0).ids("node", "changed"), std::collections::BTreeSet::new());
    }
}
