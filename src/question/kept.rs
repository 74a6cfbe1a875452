//! Copies of what a run changes and a service reads, so that it goes back together if the service does not work with it.
//!
//! Each handler has a directory, named like its mark: `run` names the run that began it, and each entry is a pair of files. `ID.path` has
//! three lines: the attributes of the old file (`MODE UID:GID`, empty if there was none), a key, `>` (a link at the path is followed) or nothing, and the
//! path; it is written last.
//! `ID.copy` is the old file, or the old line of that key. Everything belongs to root and has mode 0600 below a directory with mode 0700.

use sha2::{Digest as _, Sha256};

use super::way::WAY;
use crate::{
    script::Script,
    values::{RemotePath, hex},
};

/// The directory of the copies: a directory for each handler.
pub const DIRECTORY: &str = "/var/lib/autobot-provision/kept";

/// Something that is kept before it is changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kept {
    /// A whole file or link.
    File(RemotePath),
    /// The file to which a link leads.
    Target(RemotePath),
    /// The line of a key in a secrets file, whose other lines may change meanwhile.
    Line {
        /// The file.
        file: RemotePath,
        /// The key: letters, digits and `_`.
        key: String,
    },
}

impl Kept {
    fn arguments(&self) -> [String; 3] {
        let (path, key) = match self {
            Self::File(path) => (path, ""),
            Self::Target(path) => (path, ">"),
            Self::Line { file, key } => (file, key.as_str()),
        };
        let digest = hex(&Sha256::digest(format!("{key}\0{path}")));
        [digest[..16].to_owned(), path.to_string(), key.to_owned()]
    }
}

/// When the copies of a handler begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// With this run: what an earlier one left is of a change that has proved itself.
    ThisRun,
    /// With the interrupted run that has left some, if there are any.
    AnInterruptedRun,
}

/// Keeps what the copies of a handler do not have yet, durably. `run` names this run.
#[must_use]
pub fn keep(mark: &str, run: &str, since: Since, what: &[Kept]) -> Script {
    let anew = if since == Since::ThisRun { "anew" } else { "" };
    Script::new(KEEP).using(WAY).args([DIRECTORY, mark, run, anew]).args(what.iter().flat_map(Kept::arguments))
}

/// Puts everything back that was kept for a handler, and prints what, a line each. The copies stay.
#[must_use]
pub fn put_back(mark: &str) -> Script {
    Script::new(PUT_BACK).using(WAY).args([DIRECTORY, mark])
}

/// Removes the copies of these handlers.
#[must_use]
pub fn forget<'a>(marks: impl IntoIterator<Item = &'a str>) -> Script {
    Script::new("directory=$1\nshift\nfor mark do rm -rf -- \"${directory:?}/$mark\"; done")
        .arg(DIRECTORY)
        .args(marks.into_iter().map(str::to_owned))
}

/// Arguments: the directory, the mark, the run, `anew` or nothing, then `ID PATH KEY` for each.
pub(super) const KEEP: &str = r#"set -eu
umask 077
base=$1 mark=$2 run=$3 anew=$4; shift 4
kept=$base/$mark
mkdir -p -m 0700 -- "${base%/*}" "$base"
if [ -n "$anew" ] && [ -d "$kept" ]; then
  by=; read -r by <"$kept/run" || :
  [ "$by" = "$run" ] || rm -rf -- "$kept"
fi
# Not without its `run`, and no part of an entry: what is not whole is removed, also when a signal ends this.
trap 'trap "" HUP INT TERM; rm -rf -- "$base/.$mark.new"' EXIT
trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
if [ ! -d "$kept" ]; then
  rm -rf -- "$base/.$mark.new"
  mkdir -- "$base/.$mark.new"
  printf '%s\n' "$run" >"$base/.$mark.new/run"
  mv -T -- "$base/.$mark.new" "$kept"
fi
trap - EXIT
open() { exec 3<"$file"; check '*' "$path"; }
keep_one() (
  entry=$1 path=$2 key=$3 attributes= follow=
  trap 'trap "" HUP INT TERM; rm -f -- "$entry.new"' EXIT
  trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
  rm -f -- "$entry.copy"
  [ "$key" != '>' ] || follow=yes
  reach '*' "$path" "$follow" || { [ "$?" = 2 ] || { untrusted "$path" >&2; exit 1; }; name=; }
  file=./$name
  if [ -z "$name" ]; then
    :
  elif [ -n "${key#>}" ]; then
    if [ -f "$file" ]; then open; sed -n "/^[[:space:]]*$key[[:space:]]*=/p" <&3 >"$entry.copy"; fi
  elif [ -L "$file" ]; then
    cp -a -- "$file" "$entry.copy"
  elif [ -f "$file" ]; then
    open
    attributes=$(stat -L -c '%a %u:%g' /proc/self/fd/3)
    cat <&3 >"$entry.copy"
    cp --attributes-only --preserve=mode -- /proc/self/fd/3 "$entry.copy"
    chmod 0600 -- "$entry.copy"
    sync -- "$entry.copy"
  fi
  printf '%s\n%s\n%s\n' "$attributes" "$key" "$path" >"$entry.new"
  sync -- "$entry.new"
  mv -T -- "$entry.new" "$entry.path"
  trap - EXIT
)
while [ $# -gt 0 ]; do
  [ -e "$kept/$1.path" ] || keep_one "$kept/$1" "$2" "$3"
  shift 3
done
sync -- "$kept" "$base"
"#;

/// Arguments: the directory, the mark.
pub(super) const PUT_BACK: &str = r#"set -eu
umask 077
kept=$1/$2
# The new file is held open, so that in the directory of another user nothing that takes its place is given to him.
begin() { set -C; exec 4>"$new"; set +C; }
# finish LIKE ATTRIBUTES: LIKE has the access control list.
finish() {
  cp --attributes-only --preserve=mode -- "$1" /proc/self/fd/4
  chown -- "${2#* }" /proc/self/fd/4
  chmod -- "${2% *}" /proc/self/fd/4
  sync -- /proc/self/fd/4
  exec 4>&-
  mv -T -f -- "$new" "$file"
}
put_one_back() (
  { read -r attributes; read -r key; IFS= read -r path; } <"$1"
  copy=${1%.path}.copy follow=
  [ "$key" != '>' ] || follow=yes
  reach '*' "$path" "$follow" || { [ "$?" != 2 ] || exit 0; untrusted "$path" >&2; exit 1; }
  file=./$name
  new=$(mktemp -u -- ./.autobot-provision-XXXXXXXXXX)
  trap 'trap "" HUP INT TERM; rm -f -- "$new"' EXIT
  trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
  if [ -n "${key#>}" ]; then
    [ -f "$file" ] || exit 0
    exec 3<"$file"
    check '*' "$path"
    begin
    awk -v key="$key" -v copy="$copy" '
      function old() { if (!done) while ((getline line <copy) > 0) print line; done = 1 }
      $0 ~ "^[[:space:]]*" key "[[:space:]]*=" { old(); next }
      { print }
      END { old() }' <&3 >&4
    finish /proc/self/fd/3 "$(stat -L -c '%a %u:%g' /proc/self/fd/3)"
    printf '%s in %s\n' "$key" "$path"
    exit 0
  fi
  if [ -L "$copy" ]; then
    cp -a -- "$copy" "$new"
    mv -T -f -- "$new" "$file"
  elif [ -e "$copy" ]; then
    begin
    cat -- "$copy" >&4
    finish "$copy" "$attributes"
  elif [ -f "$file" ] || [ -L "$file" ]; then
    rm -f -- "$file"
  fi
  sync -- .
  printf '%s\n' "$path"
)
for entry in "$kept"/*.path; do
  [ ! -f "$entry" ] || put_one_back "$entry"
done
"#;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

    use super::*;

    const MARK: &str = "redis.restart-redis";

    struct Node(tempfile::TempDir);

    impl Node {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> RemotePath {
            RemotePath::new(self.0.path().join(name).to_str().unwrap()).unwrap()
        }

        fn write(&self, name: &str, text: &str, mode: u32) {
            fs::write(self.0.path().join(name), text).unwrap();
            fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn read(&self, name: &str) -> Option<(String, u32)> {
            let path = self.0.path().join(name);
            let text = fs::read_to_string(&path).ok()?;
            Some((text, fs::metadata(path).unwrap().permissions().mode() & 0o7777))
        }

        fn run(&self, script: &Script) -> Output {
            let text = script.render().unwrap().replace(DIRECTORY, self.kept().to_str().unwrap());
            let output = std::process::Command::new("sh").arg("-c").arg(text).env("LC_ALL", "C").output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output
        }

        fn kept(&self) -> std::path::PathBuf {
            self.0.path().join("state/kept")
        }

        fn put_back(&self) -> String {
            let output = self.run(&put_back(MARK));
            String::from_utf8(output.stdout).unwrap().replace(self.0.path().to_str().unwrap(), "")
        }
    }

    fn modes(directory: &Path) -> Vec<u32> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| entry.metadata().unwrap().permissions().mode() & 0o7777).collect()
    }

    #[test]
    fn files_go_back_with_their_modes_and_new_ones_go_away() {
        let node = Node::new();
        node.write("old file", "before\n", 0o640);
        let mut what = ["old file", "new", " odd name "].map(|name| Kept::File(node.path(name))).to_vec();
        node.write("target", "before\n", 0o600);
        std::os::unix::fs::symlink("target", node.0.path().join("followed")).unwrap();
        what.push(Kept::Target(node.path("followed")));
        std::os::unix::fs::symlink("somewhere", node.0.path().join("link")).unwrap();
        node.run(&keep(MARK, "1", Since::ThisRun, &what));
        node.run(&keep(MARK, "1", Since::ThisRun, &[Kept::File(node.path("link"))]));
        assert!(modes(&node.kept().join(MARK)).iter().all(|mode| [0o600, 0o777].contains(mode)), "{:?}", modes(&node.kept()));
        assert_eq!(modes(&node.kept()), [0o700]);

        node.write("old file", "after\n", 0o600);
        node.write("new", "after\n", 0o600);
        node.write(" odd name ", "after\n", 0o600);
        node.write("target", "after\n", 0o600);
        fs::remove_file(node.0.path().join("link")).unwrap();
        node.write("link", "after\n", 0o600);
        // A second change of the same run finds its copy there.
        node.run(&keep(MARK, "1", Since::ThisRun, &what));
        node.put_back();
        assert_eq!(node.read("old file"), Some(("before\n".into(), 0o640)));
        assert_eq!((node.read("new"), node.read(" odd name ")), (None, None));
        assert_eq!(node.read("followed"), Some(("before\n".into(), 0o600)));
        assert_eq!(fs::read_link(node.0.path().join("followed")).unwrap(), Path::new("target"));
        assert_eq!(fs::read_link(node.0.path().join("link")).unwrap(), Path::new("somewhere"));
        node.run(&forget([MARK]));
        assert_eq!(fs::read_dir(node.kept()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_goes_back_and_the_others_stay_as_they_are_now() {
        let node = Node::new();
        node.write("env", "A=1\n B = 'old & \\1'\nC=3\n", 0o600);
        let lines = ["B", "D"].map(|key| Kept::Line { file: node.path("env"), key: key.into() });
        node.run(&keep(MARK, "1", Since::ThisRun, &lines));
        node.write("env", "A=1\nB=new\nC=4\nD=new\n", 0o640);
        assert_eq!(node.put_back().lines().count(), 2);
        assert_eq!(node.read("env"), Some(("A=1\n B = 'old & \\1'\nC=4\n".into(), 0o640)));
    }

    #[test]
    fn copies_of_an_interrupted_run_stay_and_those_of_a_proved_one_do_not() {
        let node = Node::new();
        node.write("file", "1", 0o600);
        let what = [Kept::File(node.path("file"))];
        node.run(&keep(MARK, "first", Since::ThisRun, &what));
        node.write("file", "2", 0o600);
        node.run(&keep(MARK, "second", Since::AnInterruptedRun, &what));
        node.put_back();
        assert_eq!(node.read("file").unwrap().0, "1");
        node.write("file", "2", 0o600);
        node.run(&keep(MARK, "third", Since::ThisRun, &what));
        node.write("file", "3", 0o600);
        node.put_back();
        assert_eq!(node.read("file").unwrap().0, "2");
    }

    #[test]
    fn a_copy_that_is_incomplete_is_made_again() {
        let node = Node::new();
        node.write("file", "1", 0o600);
        let what = [Kept::File(node.path("file"))];
        node.run(&keep(MARK, "first", Since::ThisRun, &what));
        let directory = node.kept().join(MARK);
        let entry = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let entry = entry.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "path")).unwrap();
        fs::remove_file(&entry).unwrap();
        fs::write(entry.with_extension("copy"), "hal").unwrap();
        node.run(&keep(MARK, "first", Since::ThisRun, &what));
        node.write("file", "2", 0o600);
        node.put_back();
        assert_eq!(node.read("file").unwrap().0, "1");
    }
}
