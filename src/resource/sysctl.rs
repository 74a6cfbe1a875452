//! `sysctl`: a kernel setting, in a file and live.

use serde_json::Value;

use super::{
    Change, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, RemotePath, Resource, State, Verdict, decode,
    put::with_put_file, schema::parameters,
};
use crate::{
    question::{
        Questions, Unanswered,
        path::{PathQuery, PathState},
        sysctl::{Sysctl, path},
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
        if self.live && self.value.is_some() {
            ask.ask::<Sysctl>(self.name.clone());
        }
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

impl Setting {
    fn look(&self) -> PathQuery {
        PathQuery::content(&self.file).following(true)
    }

    /// Returns the declared file: one line for the setting, where the first one was or at the end; all other lines stay the same.
    fn rewritten(&self, before: &[u8]) -> Vec<u8> {
        let mut after = Vec::with_capacity(before.len() + 64);
        let mut wanted = self.value.as_ref().map(|value| format!("{} = {value}\n", self.name));
        for line in before.split_inclusive(|byte| *byte == b'\n') {
            match parse_setting(line) {
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

/// Reads a setting and its value from a line (sysctl.d(5); a leading `-` means that errors do not matter).
fn parse_setting(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.strip_prefix('-').unwrap_or(line).split_once('=')?;
    Some((name.trim(), value.trim()))
}

/// `$1`: the file; `$2`: `write` (from the input) or `keep`; `$3`: the file below /proc/sys; `$4`: its new value, if any; `$5`: the input's size.
///
/// Links are followed: Debian's 99-sysctl.conf is one.
const APPLY: &str = r#"set -eu
if [ "$2" = write ]; then
  [ -d "${1%/*}/" ] || { echo "the directory of \`$1\` does not exist" >&2; exit 1; }
  put_file "$1" '' '' '' follow '' '' "$5"
fi
if [ -n "$4" ]; then
  printf '%s\n' "$4" >"$3" || { echo "the kernel refuses the value $4 for \`$3\`" >&2; exit 1; }
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::{
            Answers,
            path::{Attributes, Entry, File, PathInfo},
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
