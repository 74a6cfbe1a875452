//! Tests of the comparisons and of the real scripts, with fake tools: nothing is installed.

use super::*;
use crate::{
    question::Answers,
    resource::trial::{NoFiles, fake, run, shown},
    secret::SecretValues,
};
use serde_json::json;
use std::fs;

fn apt(parameters: Value) -> Result<Box<dyn Resource>, String> {
    from_parameters(parameters, &mut NoFiles).map_err(|error| match error {
        ParamError::Parameter { message, .. } => message,
        ParamError::Word { word, .. } => word.to_string(),
        ParamError::File(_) => unreachable!(),
    })
}

fn compare(parameters: Value, actual: &[(&str, Package)]) -> Verdict {
    let mut answers = Answers::default();
    for (name, package) in actual {
        answers.set::<Package>((*name).to_owned(), Ok(package.clone()));
    }
    apt(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn change(parameters: Value, actual: &[(&str, Package)]) -> Change {
    crate::resource::trial::change(compare(parameters, actual))
}

fn installed(version: &str) -> Package {
    Package::Installed { version: version.into(), held: false }
}

const ABSENT: Package = Package::Absent { configuration: false, held: false };

#[test]
fn installed_packages_are_converged() {
    let actual = [("redis", installed("7")), ("ufw", installed("1"))];
    assert!(matches!(compare(json!({"name": ["redis", "ufw"]}), &actual), Verdict::Converged { note: None }));
    assert!(matches!(compare(json!({"pkg": "redis=7*"}), &actual), Verdict::Converged { .. }));
    assert!(matches!(compare(json!({"name": "xx", "state": "absent"}), &[("xx", ABSENT)]), Verdict::Converged { .. }));
}

#[test]
fn missing_packages_are_installed_in_one_call() {
    let change = change(
        json!({"name": ["redis", "ufw", "postgresql=15*"]}),
        &[("redis", ABSENT), ("ufw", installed("1")), ("postgresql", installed("14+2"))],
    );
    assert_eq!(change.summary, "install redis, postgresql");
    insta::assert_snapshot!(shown(&change.diff), @r"
    + redis
    - postgresql 14+2
    + postgresql 15*
    ");
    assert_eq!(change.script.time_limit(), Duration::from_mins(30));
}

#[test]
fn left_over_configuration_counts_only_for_a_purge() {
    let left = [("xx", Package::Absent { configuration: true, held: false })];
    assert!(matches!(compare(json!({"name": "xx", "state": "absent"}), &left), Verdict::Converged { .. }));
    assert_eq!(shown(&change(json!({"name": "xx", "state": "absent", "purge": true}), &left).diff), "- xx (configuration)");
    assert_eq!(shown(&change(json!({"name": "xx"}), &left).diff), "+ xx");
}

#[test]
fn a_half_configured_package_is_not_installed() {
    let half = Package::Broken { version: "1".into(), state: "half-configured".into() };
    assert_eq!(shown(&change(json!({"name": "xx"}), &[("xx", half)]).diff), "- xx 1 (half-configured)\n+ xx");
}

#[test]
fn a_held_package_is_refused() {
    let held = Package::Installed { version: "1".into(), held: true };
    let Verdict::Refused(why) = compare(json!({"name": "xx=2"}), &[("xx", held.clone())]) else { panic!() };
    assert_eq!(why, "`xx` is held at 1; `apt-mark unhold xx` lets it change");
    assert!(matches!(compare(json!({"name": "xx"}), &[("xx", held)]), Verdict::Converged { .. }));
}

#[test]
fn a_held_package_that_is_not_installed_is_refused_too() {
    for configuration in [false, true] {
        let held = Package::Absent { configuration, held: true };
        let Verdict::Refused(why) = compare(json!({"name": "xx"}), &[("xx", held.clone())]) else { panic!() };
        assert_eq!(why, "`xx` is held, so that it is not installed; `apt-mark unhold xx` lets it be");
        assert!(matches!(compare(json!({"name": "xx", "state": "absent"}), &[("xx", held)]), Verdict::Converged { .. }));
    }
}

#[test]
fn an_unanswered_question_is_an_error() {
    let answers = Answers::default();
    let resource = apt(json!({"name": "redis"})).unwrap();
    assert!(resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
}

#[test]
fn names_that_mean_something_to_apt_are_errors() {
    for name in ["-oDir=/", "redis-", "a b", "$(reboot)", "", "x", "re*", "redis=", "redis=1 2", "redis:", "Redis", "./x.deb"] {
        assert!(apt(json!({"name": name})).is_err(), "{name}");
    }
    assert!(apt(json!({"name": []})).unwrap_err().contains("at least one"));
    assert!(apt(json!({"name": "redis", "state": "latest"})).unwrap_err().contains("latest"));
    assert!(apt(json!({"name": "redis", "purge": true})).unwrap_err().contains("state: absent"));
    for name in ["libstdc++6", "libc6:i386", "redis=6:8.2.*", "g++"] {
        assert!(apt(json!({"name": name})).is_ok(), "{name}");
    }
}

/// Runs the installation with fake tools that run the shell texts `apt_get` and `dpkg` and record their arguments.
fn run_installation(apt_get: &str, dpkg: &str) -> (super::super::trial::Done, String) {
    let tools = tempfile::tempdir().unwrap();
    let simulates = "[ \"$1\" != -s ] || { [ ! -e $TOOLS/simulated ] || cat $TOOLS/simulated; exit 0; }";
    fake(tools.path(), "apt-get", &format!("{simulates}\necho \"apt-get $*\" >>$TOOLS/calls\n{apt_get}"));
    fake(tools.path(), "dpkg", &format!("echo \"dpkg $*\" >>$TOOLS/calls\n{dpkg}"));
    fake(tools.path(), "dpkg-query", "[ ! -e $TOOLS/torn ] || printf 'ok adduser\\nreinstreq libx1:amd64\\nreinstreq ufw\\n'");
    fake(tools.path(), "sleep", "");
    // `update_cache: false`, so that the package lists of this machine are neither read nor changed.
    let change = change(
        json!({"name": ["redis", "ufw"], "update_cache": false, "install_recommends": false}),
        &[("redis", ABSENT), ("ufw", ABSENT)],
    );
    let done = run(&change.script, tools.path());
    (done, fs::read_to_string(tools.path().join("calls")).unwrap())
}

#[test]
fn apt_get_is_called_once_in_utf8_and_without_questions() {
    let (done, calls) = run_installation("echo \"$LC_ALL $LANG $DEBIAN_FRONTEND $NEEDRESTART_SUSPEND $(umask)\"", "");
    assert_eq!((done.status, done.stderr.as_str()), (0, "C.UTF-8 C.UTF-8 noninteractive 1 0022\n"));
    insta::assert_snapshot!(calls, @r"
    dpkg --audit
    apt-get -q -y -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 -o DPkg::Lock::Timeout=-1 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Get::Upgrade-By-Source-Package=false -o APT::Install-Recommends=false install -- redis ufw
    ");
}

#[test]
fn what_the_task_does_not_name_is_neither_changed_nor_removed() {
    let simulated = |lines: &str| {
        let dpkg = format!("printf '{lines}' >$TOOLS/simulated");
        run_installation("", &dpkg)
    };
    // A dependency is new, a named package is upgraded, as is one of another architecture.
    let (done, calls) = simulated(
        "NOTE: This is only a simulation!\\nInst libx1 (2.0 D:12 [amd64])\\nInst redis [1.0] (2.0 D:12 [amd64]) []\\nInst ufw:i386 [1] (2 D:12 [i386])\\nConf redis (2.0 D:12 [amd64])\\n",
    );
    assert_eq!((done.status, calls.matches("install --").count()), (0, 1), "{done:?}");
    let (done, calls) = simulated(
        "Remv vsftpd [3.0.3-13]\\nInst libpq5 [15.18-0] (15.20-0 D:12 [amd64])\\nInst libpq-dev (15.20-0 D:12 [amd64])\\n",
    );
    assert_eq!(done.status, 1);
    insta::assert_snapshot!(done.stderr, @"apt-get would also remove vsftpd, change libpq5 from 15.18-0 to 15.20-0; nothing was changed: name in the task what may change, too, or change it by hand before");
    assert!(!calls.contains("apt-get"), "{calls}");
}

#[test]
fn an_unknown_package_is_explained() {
    let (done, _) = run_installation("echo 'E: Unable to locate package redis'; exit 100", "");
    assert_eq!(done.status, 1);
    assert!(
        done.stderr
            .starts_with("E: Unable to locate package redis\nno package source of this node has what was asked for: redis ufw;"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_held_lock_is_waited_for_and_named() {
    let (done, calls) = run_installation(
        "[ -e $TOOLS/tried ] && exit 0; : >$TOOLS/tried
         echo 'E: Could not get lock /var/cache/apt/archives/lock. It is held by process 812 (apt-get)' >&2; exit 100",
        "",
    );
    assert_eq!(done.status, 0, "{done:?}");
    assert!(
        done.stderr.contains("waiting: Could not get lock /var/cache/apt/archives/lock. It is held by process 812 (apt-get)\n")
    );
    assert_eq!(calls.matches("install").count(), 2);
}

#[test]
fn an_interrupted_dpkg_is_repaired_first() {
    let (done, calls) =
        run_installation("", "case $* in --audit) [ -e $TOOLS/repaired ] || echo broken;; *) : >$TOOLS/repaired;; esac");
    assert_eq!(done.status, 0, "{done:?}");
    let lines: Vec<&str> = calls.lines().collect();
    assert_eq!(lines[..2], ["dpkg --audit", "dpkg --force-confdef --force-confold --configure -a"]);
    assert!(lines[2].ends_with("install -- redis ufw"));
}

#[test]
fn a_package_whose_unpacking_was_interrupted_is_unpacked_again() {
    let (done, calls) = run_installation("", ": >$TOOLS/torn");
    assert_eq!(done.status, 0, "{done:?}");
    assert!(calls.ends_with("install --reinstall -- redis ufw libx1:amd64 ufw\n"), "{calls}");
}

#[test]
fn a_dpkg_that_cannot_be_repaired_is_a_failure() {
    let (done, calls) =
        run_installation("", "case $* in --audit) echo broken;; *) echo 'dpkg: error processing package x'; exit 1;; esac");
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("could not finish it"), "{}", done.stderr);
    assert!(!calls.contains("apt-get"));
}

#[test]
fn a_removal_names_every_package() {
    let tools = tempfile::tempdir().unwrap();
    fake(tools.path(), "apt-get", "echo \"$*\" >>$TOOLS/calls");
    fake(tools.path(), "dpkg", "");
    let change = change(
        json!({"name": ["x1", "y1"], "state": "absent", "purge": true}),
        &[("x1", installed("1")), ("y1", installed("2"))],
    );
    assert_eq!(run(&change.script, tools.path()).status, 0);
    assert!(fs::read_to_string(tools.path().join("calls")).unwrap().contains("purge -- x1 y1"));
}

/// Returns whether lists are stale after `change` was applied to a node with fresh lists.
fn stale(seconds: &str, change: impl Fn(&std::path::Path)) -> bool {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("etc/sources.list.d")).unwrap();
    fs::create_dir_all(at("lists")).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_mins(10);
    for path in ["etc/sources.list", "etc/sources.list.d/a.sources", "lists/deb_InRelease", "stamp"] {
        fs::write(at(path), "").unwrap();
    }
    for path in ["etc/sources.list", "etc/sources.list.d/a.sources", "etc/sources.list.d", "stamp"] {
        fs::File::open(at(path)).unwrap().set_modified(old).unwrap();
    }
    change(root.path());
    let script = Script::new("set -eu\nif stale \"$@\"; then echo stale; else echo fresh; fi").using(STALE).arg(seconds);
    let done = run(&script.args(["stamp", "lists", "etc"].map(|path| at(path).to_str().unwrap().to_owned())), root.path());
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    done.stdout == b"stale\n"
}

#[test]
fn lists_are_fetched_when_old_absent_or_older_than_their_sources() {
    assert!(!stale("3600", |_| {}));
    assert!(stale("300", |_| {}));
    assert!(stale("0", |_| {}));
    assert!(stale("3600", |root| fs::remove_file(root.join("stamp")).unwrap()));
    assert!(stale("3600", |root| fs::remove_file(root.join("lists/deb_InRelease")).unwrap()));
    assert!(stale("3600", |root| fs::write(root.join("etc/sources.list"), "deb").unwrap()));
    assert!(stale("3600", |root| fs::write(root.join("etc/sources.list.d/new one.sources"), "").unwrap()));
    assert!(stale("3600", |root| fs::remove_file(root.join("etc/sources.list.d/a.sources")).unwrap()));
    assert!(!stale("3600", |root| fs::remove_file(root.join("etc/sources.list")).unwrap()));
}
