use super::*;
use crate::{
    question::{
        Answers,
        path::{Attributes, Entry, File, PathInfo},
        sysctl_files::BootLine,
    },
    resource::{
        Mode,
        trial::{NoFiles, run, shown},
    },
    secret::SecretValues,
};
use serde_json::json;

fn sysctl(parameters: Value) -> Result<Box<dyn Resource>, String> {
    from_parameters(parameters, &mut NoFiles).map_err(|error| match error {
        ParamError::Parameter { message, .. } => message,
        ParamError::Word { word, .. } => word.to_string(),
        ParamError::File(_) => unreachable!(),
    })
}

fn found(content: Option<&str>) -> PathInfo {
    let entry = content.map_or(Entry::Absent, |text| {
        let attributes = Attributes { mode: Mode(0o644), owner: "root".into(), group: "root".into(), uid: 0, gid: 0, changed: 0 };
        Entry::File(File { attributes, size: text.len() as u64, content: Some(text.into()), sha256: None })
    });
    PathInfo { entry, parent_exists: true }
}

fn compare_at(file: &str, content: Option<&str>, live: Option<(&str, bool)>) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<PathState>(PathQuery::content(&RemotePath::new(file).unwrap()).following(true), Ok(found(content)));
    answers.set::<Sysctl>(
        "vm.overcommit_memory".into(),
        Ok(live.map(|(live, writable)| Sysctl { live: Some(live.into()), writable })),
    );
    answers.set::<SysctlFiles>("vm.overcommit_memory".into(), Ok(Vec::new()));
    // A file that is not read at boot, such as one of these tests, may only be written.
    let parameters =
        json!({"name": "vm.overcommit_memory", "value": 1, "sysctl_file": file, "reload": file.starts_with("/etc/")});
    sysctl(parameters).unwrap().compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn compare(content: Option<&str>, live: Option<(&str, bool)>) -> Verdict {
    compare_at("/etc/sysctl.d/60-autobot.conf", content, live)
}

fn change(verdict: Verdict) -> Change {
    crate::resource::trial::change(verdict)
}

#[test]
fn the_state_is_the_file_and_the_live_value() {
    for line in ["vm.overcommit_memory = 1\n", "a=1\nvm/overcommit_memory=1", "-vm.overcommit_memory =  1 \n"] {
        assert!(matches!(compare(Some(line), Some(("1", true))), Verdict::Converged { note: None }), "{line}");
    }
    assert_eq!(change(compare(None, Some(("1", true)))).summary, "file");
    let live = change(compare(Some("vm.overcommit_memory=1\n"), Some(("0", true))));
    assert_eq!(
        (live.summary.as_str(), shown(&live.diff).as_str()),
        ("live value", "- live vm.overcommit_memory 0\n+ live vm.overcommit_memory 1")
    );
}

#[test]
fn other_lines_are_kept_and_duplicates_are_removed() {
    let file = "# vm.overcommit_memory = 0\nvm.overcommit_memory = 0\nvm.swappiness = 1\nvm.overcommit_memory=2\nlast=1";
    let change = change(compare(Some(file), Some(("0", true))));
    assert_eq!(change.summary, "file and live value");
    insta::assert_snapshot!(shown(&change.diff), @r"
    = /etc/sysctl.d/60-autobot.conf
      # vm.overcommit_memory = 0
    - vm.overcommit_memory = 0
    + vm.overcommit_memory = 1
      vm.swappiness = 1
    - vm.overcommit_memory=2
      last=1
    - live vm.overcommit_memory 0
    + live vm.overcommit_memory 1
    ");
}

#[test]
fn a_kernel_that_refuses_is_a_note_and_never_a_change() {
    let Verdict::Converged { note: Some(note) } = compare(Some("vm.overcommit_memory=1\n"), Some(("0", false))) else { panic!() };
    assert_eq!(note, "this kernel's `vm.overcommit_memory` is 0 and cannot be set from here; the file has it for the next boot");
    assert_eq!(
        shown(&change(compare(None, Some(("0", false)))).diff),
        "= /etc/sysctl.d/60-autobot.conf\n+ vm.overcommit_memory = 1"
    );
}

#[test]
fn a_setting_that_this_kernel_lacks_blocks() {
    assert!(
        matches!(compare(None, None), Verdict::Blocked { missing, .. } if crate::resource::do_not_exist(&missing) == "kernel setting `vm.overcommit_memory` does not exist")
    );
}

#[test]
fn the_real_shell_writes_the_file_through_a_link_and_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let (real, link) = (root.path().join("it's real"), root.path().join("link"));
    std::fs::write(&real, "a = $(reboot)").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let change = change(compare_at(link.to_str().unwrap(), Some("a = $(reboot)"), Some(("1", true))));
    assert_eq!(run(&change.script, root.path()).status, 0);
    let written = std::fs::read_to_string(&real).unwrap();
    assert_eq!(written, "a = $(reboot)\nvm.overcommit_memory = 1\n");
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    assert!(matches!(compare_at(link.to_str().unwrap(), Some(&written), Some(("1", true))), Verdict::Converged { .. }));
}

#[test]
fn partial_content_is_refused_and_files_of_a_killed_run_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let (file, leftover) = (root.path().join("60.conf"), root.path().join(".autobot-provision-0123456789"));
    std::fs::write(&file, "a = 1\n").unwrap();
    std::fs::write(&leftover, "a").unwrap();
    let change = change(compare_at(file.to_str().unwrap(), Some("a = 1\n"), Some(("1", true))));
    let cut_off = change.script.clone().input("a = 1\nvm.over");
    assert_ne!(run(&cut_off, root.path()).status, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a = 1\n");
    assert!(!leftover.exists());
    assert_eq!(run(&change.script, root.path()).status, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a = 1\nvm.overcommit_memory = 1\n");
}

#[test]
fn a_line_that_is_read_later_at_boot_contradicts() {
    let found = |sysctl_file: &str, lines: &[(&str, &str)]| {
        let mut answers = Answers::default();
        let line = |(file, value): &(&str, &str)| BootLine { file: (*file).into(), line: 3, value: (*value).into() };
        answers.set::<SysctlFiles>("net.core.somaxconn".into(), Ok(lines.iter().map(line).collect()));
        let resource = sysctl(json!({"name": "net.core.somaxconn", "value": 20, "sysctl_file": sysctl_file})).unwrap();
        let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
        resource.contradicted(&node).unwrap().map(|found| found.reason)
    };
    let ours = "/etc/sysctl.d/60-app.conf";
    let other = ("/etc/sysctl.d/99-other.conf", "30");
    insta::assert_snapshot!(found(ours, &[(ours, "20"), other]).unwrap(), @"`net.core.somaxconn` is set again in `/etc/sysctl.d/99-other.conf:3` (`30`), which is read after `/etc/sysctl.d/60-app.conf` at boot and wins: remove that line, or choose a name that sorts later with `sysctl_file`");
    assert!(found(ours, &[("/run/sysctl.d/98-x.conf", "20"), other]).is_some());
    for harmless in [
        vec![],
        vec![("/usr/lib/sysctl.d/50-default.conf", "30"), (ours, "20")],
        vec![("/etc/sysctl.d/99-other.conf", "20")],
        // What comes in between does not last.
        vec![other, ("/etc/sysctl.d/99-sysctl.conf", "20")],
    ] {
        assert_eq!(found(ours, &harmless), None, "{harmless:?}");
    }
    assert!(found("/etc/sysctl.conf", &[("/etc/sysctl.d/zz.conf", "30")]).is_some());
    insta::assert_snapshot!(found(ours, &[("/etc/ufw/sysctl.conf", "30")]).unwrap(), @"`net.core.somaxconn` is set again in `/etc/ufw/sysctl.conf:3` (`30`), which ufw applies after the other files whenever it starts, and wins: change or remove that line");
    for file in ["/etc/sysctl.d/60-app", "/etc/app.conf", "/srv/sysctl.d/x.conf"] {
        let refused = sysctl(json!({"name": "net.core.somaxconn", "value": 20, "sysctl_file": file})).unwrap_err();
        assert!(refused.contains("is not read at boot"), "{refused}");
    }
    assert_eq!(found("/etc/sysctl.conf", &[("/etc/sysctl.d/99-sysctl.conf", "30")]), None, "the task's own file");
}

#[test]
fn numbers_that_the_kernel_reads_otherwise_are_refused() {
    let verdict = |value: Value, live: &str| {
        let mut answers = Answers::default();
        let file = RemotePath::new("/etc/sysctl.d/99-sysctl.conf").unwrap();
        answers.set::<PathState>(PathQuery::content(&file).following(true), Ok(found(None)));
        answers.set::<SysctlFiles>("a.b".into(), Ok(Vec::new()));
        answers.set::<Sysctl>("a.b".into(), Ok(Some(Sysctl { live: Some(live.into()), writable: true })));
        let resource = sysctl(json!({"name": "a.b", "value": value})).unwrap();
        resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    };
    for (value, live) in [("010", "8"), ("0x1", "0"), ("yes", "0"), ("+5", "4"), ("1 010", "1 2"), ("-01", "-1")] {
        let Verdict::Refused(reason) = verdict(json!(value), live) else { panic!("{value}") };
        assert!(reason.contains(&format!("does not read `{value}`")) && reason.contains(live), "{reason}");
    }
    for (value, live) in [("10", "8"), ("-1", "0"), ("bbr", "cubic"), ("0x1", "0x0"), ("1024 2048", "1\u{a0}2")] {
        assert!(matches!(verdict(json!(value), live), Verdict::Change(_)), "{value}");
    }
}

#[test]
fn a_value_that_the_kernel_does_not_take_is_not_written_to_the_file() {
    let root = tempfile::tempdir().unwrap();
    let (file, setting) = (root.path().join("60.conf"), root.path().join("setting"));
    let apply = |value: &str| {
        let script = with_put_file(Script::new(APPLY))
            .arg(file.to_str().unwrap())
            .arg("write")
            .arg(setting.to_str().unwrap())
            .arg(value)
            .arg("4")
            .input("a=1\n");
        run(&script, root.path())
    };
    // It cannot be written to.
    std::fs::create_dir(&setting).unwrap();
    let done = apply("7");
    assert!(done.status == 1 && done.stderr.contains("the kernel refuses the value 7"), "{done:?}");
    assert!(!file.exists());
    // A full buffer, as a kernel that holds something else than what was written.
    std::fs::remove_dir(&setting).unwrap();
    std::os::unix::fs::symlink("/proc/self/comm", &setting).unwrap();
    let done = apply("a name that is longer than fifteen bytes");
    assert!(done.status == 1 && done.stderr.contains("so that it was set back to"), "{done:?}");
    assert!(!file.exists());
    std::fs::remove_file(&setting).unwrap();
    std::fs::write(&setting, "0\n").unwrap();
    assert_eq!(apply("7").status, 0);
    assert_eq!(
        (std::fs::read_to_string(&file).unwrap().as_str(), std::fs::read_to_string(&setting).unwrap().as_str()),
        ("a=1\n", "7\n")
    );
}

#[test]
fn absent_removes_the_line_and_leaves_the_kernel_alone() {
    let mut answers = Answers::default();
    let file = RemotePath::new("/etc/sysctl.d/99-sysctl.conf").unwrap();
    answers.set::<PathState>(PathQuery::content(&file).following(true), Ok(found(Some("x.y=1\nz=2\n"))));
    let resource = sysctl(json!({"name": "x.y", "state": "absent"})).unwrap();
    let verdict = resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap();
    assert_eq!(shown(&change(verdict).diff), "= /etc/sysctl.d/99-sysctl.conf\n- x.y=1\n  z=2");
}

#[test]
fn wrong_parameters_are_errors() {
    for parameters in [
        json!({"name": "../../etc/passwd", "value": 1}),
        json!({"name": "", "value": 1}),
        json!({"name": "a b", "value": 1}),
        json!({"name": "a.b"}),
        json!({"name": "a.b", "value": " "}),
        json!({"name": "a.b", "value": [1]}),
        json!({"name": "a.b", "value": "1", "state": "absent"}),
    ] {
        assert!(sysctl(parameters.clone()).is_err(), "{parameters}");
    }
}
