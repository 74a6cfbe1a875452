//! Live kernel settings, and whether the kernel would take another value.

use super::{Kind, Output, Turn, Unanswered};
use crate::script::{NulByte, Script, quote};

/// A kernel setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// The live value, with each run of blanks as a single space; `None` when it cannot be read.
    pub live: Option<String>,
    /// Whether it can be set on this node. In containers /proc/sys is usually mounted read-only.
    pub writable: bool,
}

/// Returns the file below /proc/sys that holds a setting. Names are written `vm.swappiness`, or `net/ipv4/conf/eth0.5/forwarding` when a part of
/// the name contains a dot.
#[must_use]
pub fn path(name: &str) -> String {
    let first = name.find(['.', '/']).map_or('.', |at| char::from(name.as_bytes()[at]));
    if first == '/' { format!("/proc/sys/{name}") } else { format!("/proc/sys/{}", swapped(name)) }
}

/// Exchanges dots and slashes, as sysctl.d(5) reads names whose first separator is a dot.
fn swapped(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

impl Kind for Sysctl {
    type Key = String;
    /// `None` when the kernel has no such setting.
    type Answer = Option<Self>;
    const NAME: &'static str = "sysctl";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn reads(names: &[&String]) -> Result<String, NulByte> {
        let files = names.iter().map(|name| quote(&path(name))).collect::<Result<Vec<_>, _>>()?;
        Ok(format!("set -- \"$@\" {} /proc/self/mountinfo\n", files.join(" ")))
    }

    fn script(names: &[&String]) -> Script {
        // These files give their value to the first read(2) only, and the shell's `read` reads byte by byte. One `head` therefore reads all of them.
        // In some shells `[ -w ]` is true for root on a read-only mount. The mount options decide instead, so that nothing is written as a test.
        Script::new(
            "newline='
'
text=${files-$(head -v -c 1048576 -- \"$@\" /proc/self/mountinfo 2>/dev/null)}
set -f
IFS=$newline
file=
for line in $text; do
  case $line in '==> '*' <==') file=${line#'==> '} file=${file%' <=='}; continue;; esac
  case $file$line in /proc/self/mountinfo*' /proc '*|/proc/self/mountinfo*' /proc/sys '*|/proc/self/mountinfo*' /proc/sys/'*) ;; *) continue;; esac
  words=$*; IFS=' '; set -- $line
  shift 4; mount=$1 options=$2; while [ $# -gt 1 ]; do shift; done
  case $mount in /proc|/proc/sys|/proc/sys/*) printf 'mount %s %s %s\\n' \"$options\" \"$1\" \"$mount\";; esac
  IFS=$newline; set -- $words
done
for path do
  if [ ! -f \"$path\" ]; then echo none; continue; fi
  may=no value= read=no file=
  if [ -w \"$path\" ]; then may=yes; fi
  for line in $text; do
    case $file$line in
      *'==> '*' <==')
        [ \"$read\" = no ] || break
        file=${line#'==> '} file=${file%' <=='}
        if [ \"$file\" = \"$path\" ]; then read=yes; else file=; fi;;
      \"$path\"*) value=$line; break;;
    esac
  done
  printf '%s %s %s\\n' \"$read\" \"$may\" \"$value\"
done",
        )
        .args(names.iter().map(|name| path(name)))
    }

    fn read(names: &[&String], output: &Output) -> Vec<Result<Option<Self>, Unanswered>> {
        let text = String::from_utf8_lossy(&output.stdout);
        let (mounts, values): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("mount "));
        if output.status != 0 || values.len() != names.len() {
            return output.unanswered("kernel settings", names.len());
        }
        names.iter().zip(values).map(|(name, value)| Ok(parse(&path(name), value, &mounts))).collect()
    }
}

fn parse(file: &str, answer: &str, mounts: &[&str]) -> Option<Sysctl> {
    let mut fields = answer.splitn(3, ' ');
    let (read, may, value) = (fields.next()?, fields.next()?, fields.next()?);
    let live = (read == "yes").then(|| value.split_whitespace().collect::<Vec<_>>().join(" "));
    Some(Sysctl { live, writable: may == "yes" && !read_only(file, mounts) })
}

/// Returns whether the innermost mount that contains the path is read-only. Of several mounts on one point, the last one counts.
fn read_only(path: &str, mounts: &[&str]) -> bool {
    let mut best = (0, false);
    for mount in mounts {
        let mut fields = mount.splitn(4, ' ').skip(1);
        let (Some(options), Some(of_the_file_system), Some(point)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let inside = path == point || path.strip_prefix(point).is_some_and(|rest| rest.starts_with('/'));
        if inside && point.len() >= best.0 {
            best = (point.len(), [options, of_the_file_system].iter().any(|list| list.split(',').any(|option| option == "ro")));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial;

    #[test]
    fn names_are_files_below_proc_sys() {
        assert_eq!(path("vm.overcommit_memory"), "/proc/sys/vm/overcommit_memory");
        assert_eq!(path("net/ipv4/conf/eth0.5/forwarding"), "/proc/sys/net/ipv4/conf/eth0.5/forwarding");
        assert_eq!(path("net.ipv4.conf.eth0/5.forwarding"), "/proc/sys/net/ipv4/conf/eth0.5/forwarding");
    }

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = ["mount rw,relatime rw /proc", "mount ro,nosuid rw /proc/sys", "mount rw,nosuid rw /proc/sys/net"];
        assert!(!read_only("/proc/sys/net/core/somaxconn", &mounts));
        assert!(read_only("/proc/sys/vm/overcommit_memory", &mounts));
        assert!(!read_only("/proc/sysrq", &mounts));
        assert!(read_only("/proc/sys/vm/x", &["mount rw,relatime ro /proc"]));
    }

    #[test]
    fn the_running_kernel_answers() {
        let names = ["vm.overcommit_memory".to_owned(), "no.such_setting".to_owned(), "net.ipv4.ip_local_port_range".to_owned()];
        let names: Vec<&String> = names.iter().collect();
        let done = trial::run(&Sysctl::script(&names), std::path::Path::new("/nonexistent"));
        let answers = Sysctl::read(&names, &Output { status: done.status, stdout: done.stdout });
        let live = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap();
        assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap().live.as_deref(), Some(live.trim()));
        assert_eq!(answers[1], Ok(None));
        assert_eq!(answers[2].as_ref().unwrap().as_ref().unwrap().live.as_ref().unwrap().split(' ').count(), 2);
    }

    #[test]
    fn a_short_output_is_a_failure() {
        let name = "a.b".to_owned();
        assert!(Sysctl::read(&[&name], &Output { status: 0, stdout: b"mount rw rw /proc\n".to_vec() })[0].is_err());
    }
}
