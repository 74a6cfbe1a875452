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
    let setting = Setting { name, value, file: sysctl_file, live: reload.0 };
    if setting.live && setting.value.is_some() && setting.place_at_boot().is_none() {
        let message = format!(
            "`{}` is not read at boot, so that the setting would be lost then: name a file in /etc/sysctl.d that ends in `.conf`",
            setting.file
        );
        return Err(ParamError::parameter("sysctl_file", message));
    }
    Ok(Box::new(setting))
}

impl Resource for Setting {
    fn reach(&self) -> Reach<'_> {
        Reach::Setting(&self.name, &self.file)
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

    fn contradicted(&self, node: &NodeState<'_>) -> Result<Option<Contradiction>, Unanswered> {
        let (Some(value), Some(place)) = (&self.value, self.place_at_boot()) else { return Ok(None) };
        let lines = node.answers.get::<SysctlFiles>(&self.name)?;
        // The last line wins. One in the declared file is made as declared by the task itself.
        Ok(lines.last().filter(|last| last.sorted_by() > place && last.value != *value).map(|last| {
            let (name, file) = (&self.name, &self.file);
            let ways = if last.is_ufws() {
                "which ufw applies after the other files whenever it starts, and wins: change or remove that line".to_owned()
            } else {
                format!(
                    "which is read after `{file}` at boot and wins: remove that line, or choose a name that sorts later with `sysctl_file`"
                )
            };
            let reason = format!(
                "`{name}` is set again in `{}:{}` (`{}`), {ways}",
                last.file, last.line, last.value,
            );
            Contradiction { file: last.file.clone(), setting: None, reason }
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
mod tests;
