use super::*;
use crate::{
    question::Answers,
    resource::{
        trial::{NoFiles, run, shown as lines},
        unit_functions::tests::{calls, fake_systemd},
    },
    secret::SecretValues,
};
use serde_json::json;

fn systemd(parameters: Value) -> Result<Box<dyn Resource>, String> {
    from_parameters(parameters, &mut NoFiles).map_err(|error| match error {
        ParamError::Parameter { message, .. } => message,
        ParamError::Word { word, .. } => word.to_string(),
        ParamError::File(_) => unreachable!(),
    })
}

fn unit(load: &str, active: &str, file_state: &str) -> Unit {
    Unit {
        id: "redis.service".into(),
        load: load.into(),
        active: active.into(),
        file_state: file_state.into(),
        ..Unit::default()
    }
}

fn compare(parameters: Value, unit: Unit) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<Unit>("redis.service".into(), Ok(unit));
    answers.set::<UnitFiles>("redis.service".into(), Ok(UnitFiles::default()));
    systemd(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn compare_files(parameters: Value, unit: Unit, files: UnitFiles) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<Unit>("redis.service".into(), Ok(unit));
    answers.set::<UnitFiles>("redis.service".into(), Ok(files));
    systemd(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn change(parameters: Value, unit: Unit) -> Change {
    crate::resource::trial::change(compare(parameters, unit))
}

#[test]
fn a_running_and_enabled_unit_is_converged() {
    let wanted = json!({"name": "redis", "state": "started", "enabled": true, "masked": false});
    assert!(matches!(compare(wanted, unit("loaded", "active", "enabled")), Verdict::Converged { .. }));
}

#[test]
fn every_drift_is_a_step() {
    let change = change(json!({"name": "redis", "state": "started", "enabled": "yes"}), unit("loaded", "failed", "disabled"));
    assert_eq!(change.summary, "enable, start");
    insta::assert_snapshot!(lines(&change.diff), @r"
        - enabled disabled
        + enabled enabled
        - state failed
        + state active
        ");
}

#[test]
fn stopped_and_disabled_are_states_too() {
    let wanted = json!({"name": "redis", "state": "stopped", "enabled": false});
    assert_eq!(change(wanted.clone(), unit("loaded", "activating", "enabled")).summary, "disable, stop");
    assert!(matches!(compare(wanted.clone(), unit("loaded", "failed", "static")), Verdict::Converged { .. }));
    assert!(matches!(compare(wanted, unit("masked", "inactive", "masked")), Verdict::Converged { .. }));
}

#[test]
fn units_that_systemd_enables_by_other_means_count_as_enabled() {
    for state in ["static", "generated", "alias"] {
        let wanted = json!({"name": "redis", "enabled": true});
        let unit = Unit { is_wanted: true, ..unit("loaded", "active", state) };
        assert!(matches!(compare(wanted, unit), Verdict::Converged { .. }), "{state}");
    }
    for state in ["enabled-runtime", "indirect", ""] {
        assert_eq!(change(json!({"name": "redis", "enabled": true}), unit("loaded", "active", state)).summary, "enable");
    }
}

#[test]
fn a_missing_unit_blocks_with_the_expected_change() {
    let Verdict::Blocked { missing, change } =
        compare(json!({"name": "redis", "state": "started", "enabled": true}), unit("not-found", "inactive", ""))
    else {
        panic!()
    };
    assert_eq!((missing, change.summary.as_str()), (vec![Missing::Unit("redis.service".into())], "enable, start"));
    let Verdict::Blocked { missing, .. } =
        compare(json!({"name": "redis", "state": "started"}), unit("bad-setting", "inactive", "bad"))
    else {
        panic!()
    };
    assert!(crate::resource::do_not_exist(&missing).contains("systemd-analyze verify"));
}

#[test]
fn masked_units_are_refused_unless_the_task_unmasks_them() {
    let masked = || unit("masked", "inactive", "masked");
    assert!(matches!(compare(json!({"name": "redis", "state": "started"}), masked()), Verdict::Refused(_)));
    assert_eq!(change(json!({"name": "redis", "state": "started", "masked": false}), masked()).summary, "unmask, start");
    assert_eq!(change(json!({"name": "redis", "masked": true}), unit("not-found", "inactive", "")).summary, "mask");
}

#[test]
fn a_unit_that_cannot_stay_started_is_refused() {
    let once = Unit { runs_once: true, ..unit("loaded", "inactive", "static") };
    let Verdict::Refused(why) = compare(json!({"name": "redis", "state": "started"}), once) else { panic!() };
    assert!(why.contains("runs once"));
}

/// Compares a unit with these replaced programs.
fn compare_replaced(more: &Value, unit: Unit, programs: &[&str]) -> Verdict {
    let mut parameters = json!({"name": "redis", "restart_if_replaced": true});
    parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut answers = Answers::default();
    answers.set::<Unit>("redis.service".into(), Ok(unit));
    answers.set::<UnitFiles>("redis.service".into(), Ok(UnitFiles::default()));
    answers.set::<Replaced>("redis.service".into(), Ok(programs.iter().map(ToString::to_string).collect()));
    systemd(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

#[test]
fn a_unit_that_runs_a_replaced_program_is_restarted() {
    let up = || unit("loaded", "active", "enabled");
    let alone = crate::resource::trial::change(compare_replaced(&json!({}), up(), &["/opt/redis", "/usr/bin/sh"]));
    assert_eq!((alone.summary.as_str(), alone.replaces), ("restart", true));
    assert_eq!(lines(&alone.diff), "- program /opt/redis (replaced)\n+ program /opt/redis");
    let more = json!({"state": "started", "enabled": true});
    let down = unit("loaded", "activating", "disabled");
    assert_eq!(crate::resource::trial::change(compare_replaced(&more, down, &["/opt/redis"])).summary, "enable, restart");
    assert!(matches!(compare_replaced(&more, up(), &[]), Verdict::Converged { note: None }));
    // What a stopped unit has left running.
    for state in ["inactive", "failed"] {
        let down = unit("loaded", state, "enabled");
        assert!(matches!(compare_replaced(&json!({}), down, &["/opt/redis"]), Verdict::Converged { note: None }));
    }

    let tools = tempfile::tempdir().unwrap();
    fake_systemd(
        tools.path(),
        "Id=redis.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\n",
    );
    assert_eq!(run(&alone.script, tools.path()).status, 0);
    assert_eq!(calls(tools.path()), "daemon-reload\nreset-failed redis.service\nrestart redis.service\n");
}

#[test]
fn a_unit_that_is_not_there_runs_no_replaced_program() {
    for load in ["not-found", "masked", "bad-setting", "loaded"] {
        let verdict = compare_replaced(&json!({}), unit(load, "inactive", ""), &[]);
        assert!(matches!(verdict, Verdict::Converged { note: None }), "{load}: {verdict:?}");
    }
    let why = |unit: Unit| match compare_replaced(&json!({}), unit, &["/opt/redis"]) {
        Verdict::Refused(why) => why,
        other @ (Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. }) => panic!("{other:?}"),
    };
    assert_eq!(why(unit("masked", "active", "masked")), "`redis.service` is masked; `masked: false` unmasks it");
    let real = Unit { id: "real.service".into(), ..unit("loaded", "active", "enabled") };
    assert!(why(real).starts_with("`redis.service` is another name of `real.service`: name that one"));
    let missing = compare_replaced(&json!({"enabled": true}), unit("not-found", "inactive", ""), &[]);
    assert!(matches!(missing, Verdict::Blocked { .. }), "{missing:?}");
    assert!(systemd(json!({"name": "redis", "restart_if_replaced": true, "state": "stopped"})).unwrap_err().contains("stopped"));
    assert!(systemd(json!({"name": "redis", "restart_if_replaced": true, "masked": true})).unwrap_err().contains("masked"));
    assert!(systemd(json!({"name": "redis", "restart_if_replaced": false})).unwrap_err().contains("at least one of"));
}

#[test]
fn parameters_that_declare_no_state_are_errors() {
    assert!(systemd(json!({"name": "redis", "state": "restarted"})).unwrap_err().contains("notify a handler"));
    assert!(systemd(json!({"name": "redis", "daemon_reload": true})).unwrap_err().contains("leave the task out"));
    assert!(systemd(json!({"name": "redis", "state": "started", "daemon_reload": true})).is_ok());
    assert!(systemd(json!({"name": "redis"})).unwrap_err().contains("at least one of"));
    assert!(systemd(json!({"name": "redis", "state": "started", "masked": true})).unwrap_err().contains("neither"));
    assert!(systemd(json!({"name": "re dis", "state": "started"})).unwrap_err().contains("not a valid unit name"));
}

#[test]
fn an_alias_is_enabled_by_the_name_of_its_unit_and_started_by_its_own() {
    let tools = tempfile::tempdir().unwrap();
    fake_systemd(
        tools.path(),
        "Id=real.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\n",
    );
    let change = change(json!({"name": "redis", "state": "started", "enabled": true}), unit("loaded", "inactive", "disabled"));
    let done = run(&change.script, tools.path());
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(calls(tools.path()), "daemon-reload\nenable real.service\nreset-failed redis.service\nstart redis.service\n");
}

#[test]
fn files_that_systemd_has_not_read_are_a_change() {
    let wanted = json!({"name": "redis", "state": "started"});
    let outdated = Unit { needs_reload: true, ..unit("loaded", "active", "enabled") };
    let found = change(wanted.clone(), outdated);
    assert_eq!(
        (found.summary.as_str(), lines(&found.diff).as_str()),
        ("daemon-reload", "- files changed since systemd read them\n+ files read by systemd")
    );
    let tools = tempfile::tempdir().unwrap();
    fake_systemd(tools.path(), "Id=redis.service\nLoadState=loaded\nActiveState=active\n");
    assert_eq!(run(&found.script, tools.path()).status, 0);
    assert_eq!(calls(tools.path()), "daemon-reload\n");

    let files = || UnitFiles { drop_ins: vec!["/etc/systemd/system/redis.service.d/x.conf".into()], ..UnitFiles::default() };
    let Verdict::Change(found) = compare_files(wanted.clone(), unit("loaded", "active", "enabled"), files()) else { panic!() };
    assert!(lines(&found.diff).contains("redis.service.d/x.conf` was not read"), "{}", lines(&found.diff));
    let read =
        Unit { drop_ins: vec!["/run/systemd/system/redis.service.d/x.conf".into()], ..unit("loaded", "active", "enabled") };
    assert!(matches!(compare_files(wanted.clone(), read, files()), Verdict::Converged { .. }));
    // Nothing is to be read of a masked unit.
    let masked = Unit { needs_reload: true, ..unit("masked", "inactive", "masked") };
    assert!(matches!(compare(json!({"name": "redis", "masked": true}), masked), Verdict::Converged { .. }));
}

#[test]
fn an_enabled_unit_has_the_links_that_install_wants() {
    let files = |links: &[&str]| UnitFiles {
        wanted: vec!["multi-user.target.wants/redis.service".into(), "redis-stack.service".into()],
        links: links.iter().map(ToString::to_string).collect(),
        aliases: vec!["redis-stack.service".into()],
        ..UnitFiles::default()
    };
    let enabled = || unit("loaded", "active", "enabled");
    let wanted = json!({"name": "redis", "enabled": true});
    let both = ["old.target.wants/redis.service", "multi-user.target.wants/redis.service"];
    assert!(matches!(compare_files(wanted.clone(), enabled(), files(&both)), Verdict::Converged { note: None }), "a package's");
    let own = UnitFiles { own_links: both.map(str::to_owned).into(), ..files(&both) };
    let Verdict::Converged { note: Some(note) } = compare_files(wanted.clone(), enabled(), own) else { panic!() };
    insta::assert_snapshot!(note, @"also enabled by old.target.wants/redis.service, which its `[Install]` does not want: `systemctl reenable redis.service` removes that");
    let Verdict::Change(found) = compare_files(wanted.clone(), enabled(), files(&both[..1])) else { panic!() };
    assert_eq!(found.summary, "reenable");
    insta::assert_snapshot!(lines(&found.diff), @r"
    - links old.target.wants/redis.service
    + links multi-user.target.wants/redis.service, redis-stack.service
    ");
    let other = Unit { id: "redis-server.service".into(), ..enabled() };
    assert!(matches!(compare_files(wanted, other, files(&[])), Verdict::Converged { .. }), "the links have the other name");
}

#[test]
fn a_unit_that_nothing_starts_at_boot_cannot_be_enabled() {
    let wanted = json!({"name": "redis", "enabled": true});
    let contradicted = |unit: Unit| {
        let mut answers = Answers::default();
        answers.set::<Unit>("redis.service".into(), Ok(unit));
        answers.set::<UnitFiles>("redis.service".into(), Ok(UnitFiles::default()));
        let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
        systemd(wanted.clone()).unwrap().contradicted(&node).unwrap()
    };
    let fixed = || Unit { file: "/lib/systemd/system/redis.service".into(), ..unit("loaded", "active", "static") };
    let found = contradicted(fixed()).unwrap();
    assert!(found.reason.contains("cannot start at boot") && found.reason.contains("[Install]"), "{found:?}");
    assert_eq!(found.file, "/lib/systemd/system/redis.service");
    assert_eq!(contradicted(Unit { is_wanted: true, ..fixed() }), None);
    assert_eq!(contradicted(unit("loaded", "active", "generated")), None);
    assert_eq!(contradicted(unit("not-found", "inactive", "")), None);
    let files = UnitFiles { wanted: vec!["a.target.wants/redis.service".into()], ..UnitFiles::default() };
    let Verdict::Change(found) = compare_files(wanted, unit("loaded", "active", "static"), files) else { panic!() };
    assert_eq!(found.summary, "enable", "systemd has not read the section yet");
}

#[test]
fn a_mask_that_ends_at_the_next_boot_is_not_enough() {
    let wanted = json!({"name": "redis", "masked": true});
    assert_eq!(change(wanted, unit("masked", "inactive", "masked-runtime")).summary, "mask");
}

#[test]
fn a_file_that_an_earlier_task_changes_may_have_another_install() {
    let due_with = |links: &[&str], kind: &str, path: &str, name: &str, state: serde_json::Value| {
        let kind = crate::resource::KINDS.iter().find(|known| known.name == kind).unwrap();
        let install = match kind.name {
            "copy" => json!({"dest": path, "content": "[Unit]\n[Install]\nWantedBy=multi-user.target\n"}),
            _ => json!({"path": path, "line": "Restart=always"}),
        };
        let earlier = (kind.decode)(install, &mut NoFiles).unwrap();
        let mut answers = Answers::default();
        let files = UnitFiles { links: links.iter().map(ToString::to_string).collect(), ..UnitFiles::default() };
        answers.set::<UnitFiles>(full_name(name).unwrap(), Ok(files));
        let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
        let mut parameters = json!({"name": name});
        parameters.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        systemd(parameters).unwrap().due_after(&node, &[earlier.as_ref()]).map(|change| change.summary)
    };
    let due = |path: &str, name: &str, state: serde_json::Value| due_with(&[], "copy", path, name, state);
    let (enabled, due_then) = (json!({"enabled": true}), Some("as its new file says".to_owned()));
    for (path, name) in [
        ("/etc/systemd/system/redis.service", "redis"),
        ("/etc/systemd/system/redis.service.d/x.conf", "redis"),
        ("/lib/systemd/system/a@.timer", "a@b.timer"),
        ("/run/systemd/system/a@.timer.d/x.conf", "a@b.timer"),
    ] {
        assert_eq!(due(path, name, enabled.clone()), due_then, "{path}");
        assert_eq!(due(path, name, json!({"state": "started"})), None, "systemd reads it right after the task that writes it");
    }
    // Nothing becomes due where its links exist, unless it is not known what becomes of the file.
    let (file, links) = ("/etc/systemd/system/redis.service", ["multi-user.target.wants/redis.service"]);
    assert_eq!(due_with(&links, "copy", file, "redis", enabled.clone()), None);
    assert_eq!(due_with(&links, "lineinfile", file, "redis", enabled.clone()), due_then);
    for path in ["/etc/redis.service", "/etc/systemd/system/other.service", "/etc/systemd/system/x.target.wants/redis.service"] {
        assert_eq!(due(path, "redis", enabled.clone()), None, "{path}");
    }
}
