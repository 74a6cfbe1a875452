//! `sysctl`: a kernel setting, in a file and live.

use std::path::Path;

use serde_json::Value;

use super::{
    Change, Contradiction, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, RemotePath, Resource, State, Verdict,
    decode, put::with_put_file, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        path::{PathQuery, PathState},
        sysctl::{Sysctl, path},
        sysctl_files::{DIRECTORIES, SysctlFiles, parse_setting},
    },
    script::Script,
    secret::Sealed,
};

pub(super) const KIND: Kind = Kind {
    name: "sysctl",
    about: "Sets a parameter of the kernel, now and at boot",
    example: "sysctl: {name: vm.overcommit_memory, value: 1}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// Its name, such as `vm.swappiness`.
        name: String,
        /// Its value.
        value: Option<Value>,
        /// Whether the file sets it.
        state: State = "present",
        /// The file.
        sysctl_file: RemotePath = "/etc/sysctl.d/99-sysctl.conf",
        /// Whether the running kernel gets it, too.
        reload: Flag = true,
    }
}

#[derive(Debug)]
struct Setting {
    name: String,
    /// `None`: the file does not set it.
    value: Option<String>,
    file: RemotePath,
    live: bool,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let Parameters { name, value, state, sysctl_file, reload } = decode(parameters)?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    if name.is_empty() || !name.bytes().all(valid) || name.starts_with(['.', '/', '-']) || name.contains("..") {
        return Err(ParamError::parameter(
            "name",
            format!("`{name}` is not the name of a kernel setting, such as `vm.swappiness`"),
        ));
    }
    let value = match value {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(flag)) => Some(u8::from(flag).to_string()),
        Some(Value::String(text)) => Some(text.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty()),
        Some(Value::Array(_) | Value::Object(_)) => return Err(ParamError::parameter("value", "give a number or a text")),
    };
    if value.is_some() != (state == State::Present) {
        let message = if state == State::Present { "is missing" } else { "has no meaning when the setting is to be absent" };
        return Err(ParamError::parameter("value", message));
    }
    if value.as_deref().is_some_and(|value| value.contains('\0')) {
        return Err(ParamError::parameter("value", "cannot hold a NUL byte"));
    }
    Ok(Box::new(Setting { name, value, file: sysctl_file, live: reload.0 }))
}

impl Resource for Setting {
    fn reach(&self) -> Reach<'_> {
        Reach::Setting(&self.name)
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PathState>(self.look());
        if self.value.is_some() {
            if self.live {
                ask.ask::<Sysctl>(self.name.clone());
            }
            if self.place_at_boot().is_some() {
                ask.ask::<SysctlFiles>(self.name.clone());
            }
        }
    }

    fn path(&self) -> Option<&RemotePath> {
        Some(&self.file)
    }

    fn contradicted(&self, node: &NodeState<'_>) -> Result<Option<Contradiction>, Unanswered> {
        let (Some(value), Some(place)) = (&self.value, self.place_at_boot()) else { return Ok(None) };
        let lines = node.answers.get::<SysctlFiles>(&self.name)?;
        // The last line wins. One in the declared file is made as declared by the task itself.
        Ok(lines.last().filter(|last| last.sorted_by() > place && last.value != *value).map(|last| {
            let (name, file) = (&self.name, &self.file);
            let reason = format!(
                "`{name}` is set again in `{}:{}` (`{}`), which is read after `{file}` at boot and wins: remove that line, or choose a \
                 name that sorts later with `sysctl_file`",
                last.file, last.line, last.value,
            );
            Contradiction { file: last.file.clone(), reason }
        }))
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let file = node.answers.get::<PathState>(&self.look())?.file(&self.file)?;
        let too_large = || Unanswered(format!("`{}` is too large for kernel settings", self.file));
        let before = file.map(|file| file.content.as_deref().ok_or_else(too_large)).transpose()?;
        let after = self.rewritten(before.unwrap_or_default());
        let file_differs = before.unwrap_or_default() != after;
        let mut diff = Diff::none();
        if file_differs {
            let wanted = Sealed::from(after.clone());
            diff = Diff::of_text(before, &wanted, node.secrets).titled(self.file.as_str());
        }
        let mut remark = None;
        let mut missing = None;
        let mut set_live = "";
        if let Some(value) = self.value.as_deref().filter(|_| self.live) {
            match node.answers.get::<Sysctl>(&self.name)? {
                None => missing = Some(Missing::Other(format!("kernel setting `{}`", self.name))),
                Some(Sysctl { live: Some(live), .. }) if live == value => {}
                Some(Sysctl { live: Some(live), .. }) if misread(live, value) => {
                    return Ok(Verdict::Refused(format!(
                        "the kernel holds numbers in `{}` (now {live}) and does not read `{value}` as it is written: use decimal \
                         numbers, without leading zeros, `0x` or words",
                        self.name
                    )));
                }
                Some(Sysctl { live, writable: true }) => {
                    diff.attribute(&format!("live {}", self.name), live.as_deref().unwrap_or("(unreadable)"), value);
                    set_live = value;
                }
                Some(Sysctl { live, writable: false }) => {
                    let live = live.as_deref().unwrap_or("unreadable");
                    remark = Some(format!(
                        "this kernel's `{}` is {live} and cannot be set from here; the file has it for the next boot",
                        self.name
                    ));
                }
            }
        }
        let summary = match (file_differs, set_live.is_empty()) {
            (true, true) => "file",
            (false, false) => "live value",
            _ => "file and live value",
        };
        let script = with_put_file(Script::new(APPLY))
            .arg(self.file.as_str())
            .arg(if file_differs { "write" } else { "keep" })
            .arg(path(&self.name))
            .arg(set_live)
            .arg(after.len().to_string())
            .input(if file_differs { Sealed::from(after) } else { Sealed::default() });
        let change = || Change::new(summary, script).diff(diff).replacing(before.is_some());
        Ok(match missing {
            Some(missing) => Verdict::Blocked { missing: vec![missing], change: change() },
            None if !file_differs && set_live.is_empty() => Verdict::Converged { note: remark },
            None => Verdict::Change(change()),
        })
    }
}

/// Whether the kernel would hold another text than the one that is written: its numbers are read as C reads them (`010` is 8).
fn misread(live: &str, value: &str) -> bool {
    let is_number = |word: &str| word.strip_prefix('-').unwrap_or(word).bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = |word: &str| word.parse::<i128>().is_ok_and(|number| number.to_string() == word);
    !live.is_empty() && live.split(' ').all(is_number) && !value.split(' ').all(is_plain)
}

impl Setting {
    /// Returns the name by which the file is sorted among those that are read at boot; `None` if it is not read then.
    fn place_at_boot(&self) -> Option<&str> {
        let (directory, name) = self.file.as_str().rsplit_once('/')?;
        match self.file.as_str() {
            // Debian's link to it has this name.
            "/etc/sysctl.conf" => Some("99-sysctl.conf"),
            _ => {
                (DIRECTORIES.contains(&directory) && Path::new(name).extension().is_some_and(|end| end == "conf")).then_some(name)
            }
        }
    }

    fn look(&self) -> PathQuery {
        PathQuery::content(&self.file).following(true)
    }

    /// Returns the declared file: one line for the setting, where the first one was or at the end; all other lines stay the same.
    fn rewritten(&self, before: &[u8]) -> Vec<u8> {
        let mut after = Vec::with_capacity(before.len() + 64);
        let mut wanted = self.value.as_ref().map(|value| format!("{} = {value}\n", self.name));
        for line in before.split_inclusive(|byte| *byte == b'\n') {
            match std::str::from_utf8(line).ok().and_then(parse_setting) {
                Some((name, value)) if path(name) == path(&self.name) => {
                    let Some(new) = wanted.take() else { continue };
                    // A line with the same meaning stays as its author wrote it.
                    let same = self.value.as_deref() == Some(value.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
                    after.extend_from_slice(if same { line } else { new.as_bytes() });
                }
                Some(_) | None => after.extend_from_slice(line),
            }
        }
        if let Some(new) = wanted {
            if !after.is_empty() && !after.ends_with(b"\n") {
                after.push(b'\n');
            }
            after.extend_from_slice(new.as_bytes());
        }
        after
    }
}

/// `$1`: the file; `$2`: `write` (from the input) or `keep`; `$3`: the file below /proc/sys; `$4`: its new value, if any; `$5`: the input's size.
///
/// The kernel is asked first: a value that it does not take is in no file at the next boot. Links are followed: Debian's 99-sysctl.conf is one.
const APPLY: &str = r#"set -eu
if [ "$2" = write ]; then
  [ -d "${1%/*}/" ] || { echo "the directory of \`$1\` does not exist" >&2; exit 1; }
fi
if [ -n "$4" ]; then
  was=$(cat -- "$3" 2>/dev/null) || was='what it was'
  printf '%s\n' "$4" >"$3" || { echo "the kernel refuses the value $4 for \`$3\`, which stays $was" >&2; exit 1; }
  # Some settings can only be written.
  holds=$(cat -- "$3" 2>/dev/null) || holds=$4
  holds=$(set -f; set -- $holds; echo "$*")
  [ "$holds" = "$4" ] || {
    printf '%s\n' "$was" >"$3" || :
    echo "the kernel makes $holds of the value $4 for \`$3\`, so that it was set back to $was" >&2
    exit 1
  }
fi
if [ "$2" = write ]; then put_file "$1" '' '' '' follow '' '' "$5"; fi
"#;

#[cfg(test)]
mod tests {
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
            let attributes =
                Attributes { mode: Mode(0o644), owner: "root".into(), group: "root".into(), uid: 0, gid: 0, changed: 0 };
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
        let parameters = json!({"name": "vm.overcommit_memory", "value": 1, "sysctl_file": file});
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
        let Verdict::Converged { note: Some(note) } = compare(Some("vm.overcommit_memory=1\n"), Some(("0", false))) else {
            panic!()
        };
        assert_eq!(
            note,
            "this kernel's `vm.overcommit_memory` is 0 and cannot be set from here; the file has it for the next boot"
        );
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
}
