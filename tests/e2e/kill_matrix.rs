//! Promise 6, as a matrix: a deploy is killed at every place at which it starts a program on the node, which is at every boundary between items and
//! several times within every item that writes. The places are found by a deploy that is not killed.
//!
//! `KILLS` says how many random places are tried (or `all`), `SEED` repeats a run, and `PLACE` tries one place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::{
    harness::{Project, RunResult, TestNode, eventually, say},
    interruptions::processes,
};

/// Every kind of change that leaves a file, a link or a directory behind, a secret, and handlers.
const ROLE: &str = r#"
description: Everything that writes
defaults:
  v: {type: string, default: v000, help: What all files hold}
  mode: {type: string, default: "0750", help: The mode of a directory}
secrets:
  TOY_PASSWORD: {file: /etc/toy.env, length: 32}
tasks:
  - name: Make the directory
    file: {path: /srv/toy/deep/er, state: directory, mode: "{{ mode }}"}
  - name: Write A
    copy: {content: "{{ v }}\n", dest: /srv/toy/a, mode: "0640"}
  - name: Write a large file
    copy: {src: large, dest: /srv/toy/large, backup: true}
  - name: Write the template
    template: {src: t.tera, dest: /srv/toy/t}
    notify: restart toy
  - name: Edit a line
    lineinfile: {path: /etc/toy.conf, regexp: "^v=", line: "v={{ v }}", create: true}
    notify: count
  - name: Edit a block
    blockinfile: {path: /etc/toy.block, block: "{{ v }}\n{{ v }}", create: true}
  - name: Make the link
    file: {path: /srv/toy/link, state: link, src: "/srv/{{ v }}", force: true}
    notify: count
  - name: Remove a file
    file: {path: /srv/toy/gone, state: absent}
  - name: Use the secret
    copy: {content: "p={{ secrets.TOY_PASSWORD }}\n", dest: /etc/toy.secret, mode: "0600"}
  - name: Write the unit
    copy:
      content: |
        [Service]
        Environment=V={{ v }}
        ExecStart=/bin/sleep infinity
        [Install]
        WantedBy=multi-user.target
      dest: /etc/systemd/system/toy.service
    notify: restart toy
  - name: Start the toy
    systemd: {name: toy.service, state: started, enabled: true}
  - name: Run a command
    command: {cmd: "cp /srv/toy/a /srv/toy/.c && mv /srv/toy/.c /srv/toy/c", unless: cmp -s /srv/toy/a /srv/toy/c}
handlers:
  - name: restart toy
    systemd: {name: toy.service, state: restarted}
  - name: count
    command: {cmd: echo count >>/var/toy.counts}
"#;

/// What the role writes.
const PATHS: &str = "/srv/toy /srv/toy/deep /srv/toy/deep/er /srv/toy/a /srv/toy/large /srv/toy/t /srv/toy/c /srv/toy/link /srv/toy/gone \
    /etc/toy.conf /etc/toy.block /etc/toy.env /etc/toy.secret /etc/systemd/system/toy.service";

/// The programs that scripts and the loop start in order to write, to hold the node, or to begin a step.
const PROGRAMS: &str = "cat chmod chown cp flock ln mkdir mktemp mv rm sync systemctl timeout";

/// A program of the node that counts calls while `/run/kill.at` exists. The call with that number waits to be killed; a `cat` into a file has then
/// written a part of it.
const COUNTED: &str = r#"#!/bin/sh
name=${0##*/} newline='
'
[ -e /run/kill.at ] || exec "/usr/bin/$name" "$@"
IFS=' '
words=$*
printf '%.100s\n' "$name ${words%%"$newline"*}" >>/run/kill.calls
# Without other processes, as that would take long. Two calls at the same time may count as one.
{ read -r at && read -r count; } </run/kill.at
printf '%s\n%s\n' "$at" "$((count + 1))" >/run/kill.at
if [ "$((count + 1))" -ge "$at" ] && /usr/bin/mkdir /run/kill.reached 2>/dev/null; then
  [ "$name" != cat ] || ! [ -f /proc/self/fd/1 ] || /usr/bin/head -c 3
  while [ -e /run/kill.at ]; do /usr/bin/sleep 0.05; done
fi
exec "/usr/bin/$name" "$@"
"#;

/// What the loop itself starts to take the lock and to clean up. It waits for these, so they go on; and while it cleans up, its watcher has ended, so
/// that only the next run can clean up after it.
const OF_THE_LOOP: [&str; 4] = ["mkdir -p -m 700 /run/", "flock ", "cat /proc/", "rm -fd -- /run/"];

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Controller,
    /// The shell that runs everything on the node.
    Loop,
}

/// A node and a project whose role is deployed and killed over and over.
struct Trials {
    node: TestNode,
    project: Project,
    /// The processes of the node at rest.
    rest: BTreeSet<String>,
    count: usize,
}

impl Trials {
    fn new() -> Self {
        let node = TestNode::bare();
        node.sh(&format!("cat >/root/counted <<'END'\n{COUNTED}END"));
        let project = Project::toy(&[("host", &node)], ROLE);
        project.write("templates/toy/t.tera", "{% for i in range(end=200) %}{{ v }} {{ i }}\n{% endfor %}");
        let mut trials = Self { node, project, rest: BTreeSet::new(), count: 0 };
        trials.prepare();
        trials.deploy().assert_code(0);
        eventually("the toy runs", 10, || {
            trials.rest = processes(&trials.node);
            trials.rest.iter().any(|line| line.starts_with("/bin/sleep infinity"))
        });
        // From here on, a run's scripts find these programs first.
        trials.node.sh(&format!("cd /usr/local/bin; for name in {PROGRAMS}; do cp /root/counted $name; chmod 755 $name; done"));
        trials
    }

    /// Makes another version of everything, and what the role removes.
    fn prepare(&mut self) {
        self.count += 1;
        self.project.write("roles/toy/files/large", &format!("{}\n", self.version()).repeat(100_000));
        self.node.sh("rm -f /etc/toy.env /etc/toy.secret; mkdir -p /srv/toy; echo old >/srv/toy/gone");
    }

    fn version(&self) -> String {
        format!("v{:03}", self.count)
    }

    fn arguments(&self) -> [String; 5] {
        let mode = if self.count.is_multiple_of(2) { "0700" } else { "0750" };
        ["deploy", "-e", &format!("v={}", self.version()), "-e", &format!("mode={mode}")].map(str::to_owned)
    }

    fn deploy(&self) -> RunResult {
        self.project.json(&self.arguments().each_ref().map(String::as_str))
    }

    /// Lets the call with this number of counted programs wait for its death.
    fn arm(&self, at: usize) {
        self.node.sh(&format!("rm -rf /run/kill.calls /run/kill.reached; printf '{at}\\n0\\n' >/run/kill.at"));
    }

    /// The calls of counted programs since then.
    fn calls(&self) -> Vec<String> {
        self.node
            .sh("/usr/bin/rm -f /run/kill.at; /usr/bin/cat /run/kill.calls 2>/dev/null || :")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// A deploy that is not killed: the places.
    fn places(&mut self) -> Vec<String> {
        self.prepare();
        self.arm(1_000_000);
        self.deploy().assert_code(0);
        self.calls()
    }

    /// Each path, and what is there.
    fn state(&self) -> BTreeMap<String, String> {
        let script = format!(
            "for path in {PATHS}; do
               if [ -L $path ]; then echo \"$path -> $(readlink $path)\"
               elif [ -f $path ]; then echo \"$path $(stat -c '%a %U:%G %s' $path) $(sha256sum <$path)\"
               elif [ -d $path ]; then echo \"$path $(stat -c '%a %U:%G' $path)\"
               else echo \"$path absent\"; fi
             done"
        );
        let lines = self.node.sh(&script);
        lines.lines().map(|line| line.split_once(' ').unwrap()).map(|(path, what)| (path.to_owned(), what.to_owned())).collect()
    }

    /// What a run has left on the node, or has not removed yet: processes, its directory, temporary files.
    fn left(&self) -> Vec<String> {
        let files = self.node.sh("find /run /tmp /var/tmp -name '*autobot-provision*' -not -name '*.service'
             find /etc /srv /root /var/lib/autobot-provision /usr/local -name '*.autobot-provision-*'
             find /var/lib/autobot-provision -mindepth 2 -name '.*'; find /var/lib/autobot-provision -name '*.new'");
        let processes = processes(&self.node);
        processes.difference(&self.rest).cloned().chain(files.lines().map(str::to_owned)).collect()
    }

    /// Kills a deploy at a place, and asserts that it leaves nothing behind and that the next one does the rest.
    fn kill(&mut self, victim: Victim, place: usize) {
        self.prepare();
        let before = self.state();
        self.arm(place);
        let mut run = self.project.start(&self.arguments().each_ref().map(String::as_str));
        let reached = || self.node.try_sh("test -e /run/kill.reached").status.success();
        eventually("the place is reached", 60, || reached() || !run.is_running());
        if !reached() {
            // The number of calls is not always the same.
            run.end().assert_code(0);
            self.calls();
            return;
        }
        let call = self.node.sh("tail -n 1 /run/kill.calls");
        let place_shown = format!("{victim:?} killed at call {place}, `{call}`");
        let is_of_the_loop = OF_THE_LOOP.iter().any(|own| call.starts_with(own));
        let began = Instant::now();
        let kill_loop = "{ read -r loop rest </run/autobot-provision/lock; } 2>/dev/null && kill -9 \"$loop\"";
        if victim == Victim::Loop && !is_of_the_loop && self.node.try_sh(kill_loop).status.success() {
            run.end().assert_code(3);
        } else {
            run.kill();
        }
        if is_of_the_loop {
            self.calls();
        }
        // The watcher acts after 6 to 8 s without a beat, which it gets from the loop.
        let limit = Duration::from_secs(if victim == Victim::Loop { 15 } else { 10 });
        eventually(&format!("{place_shown}: nothing of the run is left in /run"), limit.as_secs(), || {
            self.node.try_sh("test ! -e /run/autobot-provision").status.success()
        });
        loop {
            let left = self.left();
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < limit, "{place_shown}: left behind: {left:#?}");
        }
        let cleaned = began.elapsed();
        self.calls();
        let between = self.state();

        self.deploy().assert_code(0);
        let after = self.state();
        for (path, what) in &between {
            assert!(*what == before[path] || *what == after[path], "{place_shown}: {path} is neither old nor new: {what}");
        }
        let again = self.deploy();
        again.assert_code(0);
        assert_eq!(again.ids("host", "changed"), BTreeSet::new(), "{place_shown}: {}", again.stdout);
        assert_eq!(self.left(), Vec::<String>::new(), "{place_shown}, after the next deploy");
        assert_eq!(self.state(), after);
        self.is_the_new_version(&place_shown);
        say(&format!("{place_shown}: clean after {cleaned:?}"));
    }

    fn is_the_new_version(&self, place: &str) {
        let version = self.version();
        let texts = self.node.sh("cat /srv/toy/a /srv/toy/c; head -n 1 /srv/toy/large; head -c 4 /srv/toy/t; echo; readlink /srv/toy/link; cat /etc/toy.conf");
        let expected = format!("{version}\n{version}\n{version}\n{version}\n/srv/{version}\nv={version}");
        assert_eq!(texts, expected, "{place}");
        // A restart that was owed was made.
        assert_eq!(self.node.sh("systemctl show -p Environment --value toy"), format!("V={version}"), "{place}");
        assert_eq!(self.node.sh(". /etc/toy.env; [ ${#TOY_PASSWORD} = 32 ]; echo p=$TOY_PASSWORD | cmp - /etc/toy.secret"), "");
        let kept = self.node.sh("find /var/lib/autobot-provision/kept -mindepth 1 2>/dev/null || :");
        assert_eq!(kept, "", "{place}: copies that no run needs");
    }
}

/// Kills deploys at `sample` random places, or as `KILLS` says.
fn matrix(victim: Victim, sample: usize) {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let seed = variable("SEED").map_or_else(|| u64::from(std::process::id()), |text| text.parse().unwrap());
    let mut trials = Trials::new();
    let places = trials.places();
    assert!(places.len() > 200, "{places:#?}");
    let (all, place) = (variable("KILLS").as_deref() == Some("all"), variable("PLACE").map(|text| text.parse().unwrap()));
    let wanted: Vec<usize> = match (place, all) {
        (Some(place), _) => vec![place],
        (None, true) => (1..=places.len()).collect(),
        (None, false) => {
            let count = variable("KILLS").map_or(sample, |number| number.parse::<usize>().unwrap() * sample / SAMPLE);
            let mut random = seed ^ (victim as u64);
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(random >> 33).unwrap() % places.len() + 1
            };
            (0..count).map(|_| next()).collect()
        }
    };
    say(&format!("{victim:?}: {} of {} places, SEED={seed}", wanted.len(), places.len()));
    if place.is_some() {
        say(&places.iter().enumerate().map(|(at, call)| format!("{:4} {call}\n", at + 1)).collect::<Vec<_>>().concat());
    }
    // All of them take long, and a node whose loop was killed mostly waits.
    let nodes = match (all, victim) {
        (true, Victim::Controller) => 2,
        (true, Victim::Loop) => 4,
        (false, _) => 1,
    };
    let next = AtomicUsize::new(0);
    let work = |mut trials: Trials| {
        while let Some(place) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            trials.kill(victim, *place);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..nodes {
            scope.spawn(|| work(Trials::new()));
        }
        work(trials);
    });
}

/// How many places are tried in all.
const SAMPLE: usize = 20;

#[test]
fn killed_at_random_places_a_controller_leaves_nothing_and_the_next_deploy_converges() {
    matrix(Victim::Controller, 14);
}

#[test]
fn killed_at_random_places_a_nodes_loop_leaves_nothing_and_the_next_deploy_converges() {
    matrix(Victim::Loop, 6);
}
