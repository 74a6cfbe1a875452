//! The lines of the files in sysctl.d that set a kernel setting at the next boot.

use super::{Kind, Output, Turn, Unanswered, sysctl::path};
use crate::script::Script;

/// The directories that systemd-sysctl reads (sysctl.d(5)). Of files with the same name, the one in the earlier directory is read.
pub const DIRECTORIES: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// Marker for the kind "what is set at boot". The key is the name of a setting.
#[derive(Debug)]
pub struct SysctlFiles;

/// A line that sets a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLine {
    /// The file.
    pub file: String,
    /// Its number, from 1.
    pub line: usize,
    /// The value, with each run of blanks as a single space.
    pub value: String,
}

impl BootLine {
    /// Returns the name by which systemd-sysctl sorts the file. What ufw applies comes after all of them.
    #[must_use]
    pub fn sorted_by(&self) -> &str {
        if self.is_ufws() { "\u{10ffff}" } else { base_name(&self.file) }
    }

    /// Whether ufw applies it, whenever it starts.
    #[must_use]
    pub fn is_ufws(&self) -> bool {
        self.file.ends_with(UFW)
    }
}

/// The settings that ufw applies when it starts and when it is enabled or reloaded, unless `/etc/default/ufw` names another file (ufw-framework(8)).
const UFW: &str = "/etc/ufw/sysctl.conf";

/// Returns the last part of a path.
#[must_use]
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `$1`: the root; `$2`: how many directories follow; then patterns for grep. One grep for all settings.
const ASK: &str = r#"
root=$1 count=$2
shift 2
files=0 seen=/
for pattern do
  shift
  [ "$count" -le 0 ] || {
    count=$((count - 1))
    for file in "$root$pattern"/*.conf; do
      [ -f "$file" ] || [ -L "$file" ] || continue
      case $seen in *"/${file##*/}/"*) continue;; esac
      seen=$seen${file##*/}/
      set -- "$@" "$file"
      files=$((files + 1))
    done
    continue
  }
  set -- "$@" "-e$pattern"
done
if [ -f "$root/etc/ufw/sysctl.conf" ] && [ -f "$root/etc/ufw/ufw.conf" ]; then
  while IFS= read -r line; do
    case $line in ENABLED=[yY][eE][sS] | ENABLED=\"[yY][eE][sS]\") set -- "$@" "$root/etc/ufw/sysctl.conf"; files=1; break;; esac
  done <"$root/etc/ufw/ufw.conf"
fi
[ "$files" -gt 0 ] || exit 0
exec grep -nHsZE "$@"
"#;

/// Returns the script for files below `root`, which is empty except in tests.
fn script_below(root: &str, names: &[&String]) -> Script {
    Script::new(ASK).arg(root).arg(DIRECTORIES.len().to_string()).args(DIRECTORIES).args(names.iter().map(|name| pattern(name)))
}

/// Returns a pattern that finds the lines of a setting, and perhaps of one whose name differs in a dot and a slash.
fn pattern(name: &str) -> String {
    let name = name.replace(['.', '/'], "[./]");
    format!("^[[:blank:]]*-?[[:blank:]]*{name}[[:blank:]]*=")
}

impl Kind for SysctlFiles {
    type Key = String;
    /// In the order in which they apply: the last one wins.
    type Answer = Vec<BootLine>;
    const NAME: &'static str = "sysctl-files";
    const TURN: Turn = Turn::Files;

    fn script(names: &[&String]) -> Script {
        script_below("", names)
    }

    fn read(names: &[&String], output: &Output) -> Vec<Result<Vec<BootLine>, Unanswered>> {
        // Of grep: 1 means that no line was found, and 2 also that one file could not be read, as a link that leads nowhere.
        if !matches!(output.status, 0..=2) {
            return output.unanswered("the files in sysctl.d", names.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        names.iter().map(|name| lines_of(name, &text)).collect()
    }
}

/// Reads grep's output: for each line `file NUL number:line`.
fn lines_of(name: &str, text: &str) -> Result<Vec<BootLine>, Unanswered> {
    let mut found = Vec::new();
    for row in text.lines().filter(|row| !row.is_empty()) {
        let parsed = row.split_once('\0').and_then(|(file, rest)| {
            let (number, line) = rest.split_once(':')?;
            let (setting, value) = parse_setting(line)?;
            Some((file, number.parse().ok()?, setting, value))
        });
        let Some((file, line, setting, value)) = parsed else {
            return Err(Unanswered(format!("the files in sysctl.d could not be read: {}", super::first_line(row.as_bytes()))));
        };
        if path(setting) == path(name) {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            found.push(BootLine { file: file.to_owned(), line, value });
        }
    }
    found.sort_by(|one, other| (one.sorted_by(), one.line).cmp(&(other.sorted_by(), other.line)));
    Ok(found)
}

/// Reads a setting and its value from a line (sysctl.d(5); a leading `-` means that errors do not matter).
#[must_use]
pub fn parse_setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.strip_prefix('-').unwrap_or(line).split_once('=')?;
    Some((name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::resource::trial;

    fn ask(root: &Path, names: &[&str]) -> Vec<Result<Vec<BootLine>, Unanswered>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let names: Vec<&String> = names.iter().collect();
        let done = trial::run(&script_below(root.to_str().unwrap(), &names), Path::new("/nonexistent"));
        SysctlFiles::read(&names, &Output { status: done.status, stdout: done.stdout })
    }

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn the_lines_come_in_the_order_of_the_boot_and_hidden_files_do_not_count() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/sysctl.conf", "# vm.swappiness = 9\nvm.swappiness = 5\n");
        write(root.path(), "usr/lib/sysctl.d/60 odd name.conf", "\n -vm/swappiness =  1\t2 \nvm.swappiness_not=3\n");
        write(root.path(), "usr/lib/sysctl.d/50-hidden.conf", "vm.swappiness=7\n");
        write(root.path(), "etc/sysctl.d/50-hidden.conf", "");
        write(root.path(), "run/sysctl.d/70-x.conf", "vm.swappiness=4");
        write(root.path(), "run/sysctl.d/70-x.txt", "vm.swappiness=8");
        std::os::unix::fs::symlink("../sysctl.conf", root.path().join("etc/sysctl.d/99-sysctl.conf")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", root.path().join("etc/sysctl.d/98-nowhere.conf")).unwrap();
        let answers = ask(root.path(), &["vm.swappiness", "net.core.somaxconn"]);
        let found: Vec<String> = answers[0]
            .as_ref()
            .unwrap()
            .iter()
            .map(|line| format!("{}:{} {}", line.sorted_by(), line.line, line.value))
            .collect();
        assert_eq!(found, ["60 odd name.conf:2 1 2", "70-x.conf:1 4", "99-sysctl.conf:2 5"]);
        assert_eq!(answers[1], Ok(Vec::new()));
    }

    #[test]
    fn what_ufw_applies_comes_last_where_ufw_is_on() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/sysctl.d/zz.conf", "net.ipv4.tcp_syncookies = 1\n");
        write(root.path(), "etc/ufw/sysctl.conf", "net/ipv4/tcp_syncookies=0\n");
        for (enabled, expected) in [("# ENABLED=yes\nENABLED=no\n", &["1"][..]), ("LOGLEVEL=low\nENABLED=yes\n", &["1", "0"])] {
            write(root.path(), "etc/ufw/ufw.conf", enabled);
            let answers = ask(root.path(), &["net.ipv4.tcp_syncookies"]);
            let values: Vec<&str> = answers[0].as_ref().unwrap().iter().map(|line| line.value.as_str()).collect();
            assert_eq!(values, expected, "{enabled}");
        }
        let last = ask(root.path(), &["net.ipv4.tcp_syncookies"])[0].as_ref().unwrap().last().unwrap().clone();
        assert!(last.is_ufws());
    }

    #[test]
    fn a_node_without_such_files_sets_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(ask(root.path(), &["vm.swappiness"]), [Ok(Vec::new())]);
    }

    #[test]
    fn a_name_with_a_dot_within_a_part_is_told_from_others() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/sysctl.d/10.conf", "net.ipv4.conf.eth0/5.forwarding=1\nnet/ipv4/conf/eth0/5/forwarding=2\n");
        let answers = ask(root.path(), &["net/ipv4/conf/eth0.5/forwarding"]);
        let values: Vec<&str> = answers[0].as_ref().unwrap().iter().map(|line| line.value.as_str()).collect();
        assert_eq!(values, ["1"]);
    }

    #[test]
    fn an_output_of_another_form_is_a_failure() {
        let name = "vm.swappiness".to_owned();
        let read = |status, stdout: &[u8]| SysctlFiles::read(&[&name], &Output { status, stdout: stdout.to_vec() }).remove(0);
        assert!(read(0, b"grep: unrecognized option\n").is_err());
        assert!(read(127, b"").is_err());
        assert_eq!(read(0, b""), Ok(Vec::new()));
    }
}
