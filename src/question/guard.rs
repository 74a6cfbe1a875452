//! Guards: whether a path exists, what a command that only reads says. All run in one script, each under its own limit.

use std::time::Duration;

use base64::Engine as _;

use super::{Kind, Output, Unanswered};
use crate::{resource::RemotePath, script::Script};

/// How long one guard may take, in seconds.
const LIMIT_SECONDS: &str = "30";
/// How much of each stream is kept, in bytes.
const MOST_BYTES: &str = "1048576";

/// The kind of question.
#[derive(Debug)]
pub struct Guard;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GuardKey {
    /// Whether there is something at a path, a dangling link included.
    Exists(RemotePath),
    /// How a shell command ends, and what it prints.
    Shell(Shell),
}

/// A shell command that only reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shell {
    /// What `/bin/sh -c` runs.
    pub text: String,
    /// The user that runs it; root when there is none.
    pub user: Option<String>,
    /// The directory in which it runs.
    pub chdir: Option<RemotePath>,
    /// Whether what it prints is wanted.
    pub output: bool,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardAnswer {
    /// The exit status; 0 also when a path exists.
    pub status: i32,
    /// What it printed, if that was wanted.
    pub stdout: Vec<u8>,
    /// What it complained about, if that was wanted.
    pub stderr: Vec<u8>,
    /// What it would need to run at all, such as "user `postgres`". Then the status means nothing.
    pub missing: Option<String>,
}

/// `run_as USER DIRECTORY COMMAND...` runs a command as root does, or as another user with that user's own environment.
///
/// setpriv (util-linux) opens no PAM session as su and runuser do, so it leaves nothing in the logs. Exit status 125 with `missing_word` on
/// descriptor 4 means that the user or directory is not there.
pub(crate) const RUN_AS: &str = r#"
run_as() {
  user=$1 directory=$2
  shift 2
  if [ -n "$user" ]; then
    group=$(id -g -- "$user" 2>/dev/null) || { echo "there is no user \`$user\`" >&2; return 125; }
    set -- setpriv --reuid "$user" --regid "$group" --init-groups --reset-env env LC_ALL=C "$@"
  fi
  if [ -n "$directory" ]; then
    [ -d "$directory" ] || { echo "there is no directory \`$directory\`" >&2; return 125; }
    cd -- "$directory" || return 125
  fi
  "$@"
}
"#;

/// Every stream becomes lines of base64 behind a letter, so no output can look like a frame. One line is one write, so they do not mix.
const FRAMES: &str = r#"
lines() { head -c "$most" | base64 -w 76 | while IFS= read -r line; do printf '%s\n' "$1 $line"; done; cat >/dev/null; }
limited() { run_as "$1" "$2" timeout -k 5 "$limit" /bin/sh -c "$3" </dev/null; }
"#;

impl Kind for Guard {
    type Key = GuardKey;
    type Answer = GuardAnswer;
    const NAME: &'static str = "guard";
    const LIMIT: Duration = Duration::from_mins(5);
    const BESIDE: bool = true;

    fn script(keys: &[&GuardKey]) -> Script {
        let words = keys.iter().flat_map(|key| match key {
            GuardKey::Exists(path) => ["path".to_owned(), String::new(), String::new(), path.as_str().to_owned()],
            GuardKey::Shell(shell) => [
                if shell.output { "read" } else { "test" }.to_owned(),
                shell.user.clone().unwrap_or_default(),
                shell.chdir.as_ref().map(|path| path.as_str().to_owned()).unwrap_or_default(),
                shell.text.clone(),
            ],
        });
        Script::new(
            "limit=$1 most=$2; shift 2
umask 022
exec 4>&1
while [ $# -ge 4 ]; do
  if [ -n \"$2\" ] && ! id -u -- \"$2\" >/dev/null 2>&1; then echo 'missing user'
  elif [ -n \"$3\" ] && ! [ -d \"$3\" ]; then echo 'missing directory'
  else case $1 in
    path) if [ -e \"$4\" ] || [ -L \"$4\" ]; then echo 'status 0'; else echo 'status 1'; fi;;
    test) (limited \"$2\" \"$3\" \"$4\") >/dev/null 2>&1 4>&-; echo \"status $?\";;
    read) { { (limited \"$2\" \"$3\" \"$4\") 2>&3 3>&- 4>&-; echo \"status $?\" >&4; } | lines o >&4 3>&-; } 3>&1 | lines e >&4;;
  esac; fi
  echo end
  shift 4
done",
        )
        .using(RUN_AS)
        .using(FRAMES)
        .arg(LIMIT_SECONDS)
        .arg(MOST_BYTES)
        .args(words)
    }

    fn read(keys: &[&GuardKey], output: &Output) -> Vec<Result<GuardAnswer, Unanswered>> {
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        keys.iter().map(|key| answer(key, &mut lines, output)).collect()
    }
}

fn answer(key: &GuardKey, lines: &mut std::str::Lines<'_>, output: &Output) -> Result<GuardAnswer, Unanswered> {
    let mut answer = GuardAnswer::default();
    let mut status = None;
    let mut whole = false;
    // Every answer is read to its end, so that the next one begins where it should.
    for line in lines {
        match line.split_once(' ') {
            None if line == "end" => {
                whole = true;
                break;
            }
            Some(("o", part)) => answer.stdout.extend(bytes(part)),
            Some(("e", part)) => answer.stderr.extend(bytes(part)),
            Some(("status", number)) => status = number.parse().ok(),
            Some(("missing", what)) => answer.missing = Some(missing(key, what)),
            Some(_) | None => return Err(Unanswered(format!("a guard answered `{line}`"))),
        }
    }
    if !whole {
        return Err(Unanswered(format!("the guards ended early, with exit status {}", output.status)));
    }
    match (key, status) {
        (GuardKey::Shell(shell), Some(124 | 137)) => {
            Err(Unanswered(format!("`{}` took longer than {LIMIT_SECONDS} s", shell.text)))
        }
        (_, Some(status)) => Ok(GuardAnswer { status, ..answer }),
        (_, None) if answer.missing.is_some() => Ok(answer),
        (_, None) => Err(Unanswered("a guard gave no answer".to_owned())),
    }
}

fn missing(key: &GuardKey, what: &str) -> String {
    match (key, what) {
        (GuardKey::Shell(Shell { user: Some(user), .. }), "user") => format!("user `{user}`"),
        (GuardKey::Shell(Shell { chdir: Some(path), .. }), "directory") => format!("directory `{path}`"),
        (GuardKey::Shell(_) | GuardKey::Exists(_), _) => what.to_owned(),
    }
}

/// The frames are this program's own; a line that is not base64 was cut off with the connection, and then there is no `end` either.
fn bytes(part: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial;

    fn ask(keys: &[GuardKey]) -> Vec<Result<GuardAnswer, Unanswered>> {
        let keys: Vec<&GuardKey> = keys.iter().collect();
        let done = trial::run(&Guard::script(&keys), std::path::Path::new("/nonexistent"));
        Guard::read(&keys, &Output { status: done.status, stdout: done.stdout })
    }

    fn shell(text: &str, output: bool) -> GuardKey {
        GuardKey::Shell(Shell { text: text.into(), user: None, chdir: None, output })
    }

    #[test]
    fn each_guard_has_its_own_answer() {
        let path = |path: &str| GuardKey::Exists(RemotePath::new(path).unwrap());
        let answers = ask(&[
            path("/etc/passwd"),
            path("/no such $(path)'"),
            shell("echo out; echo err >&2; exit 3", true),
            shell("echo 'status 0'; echo end; exit 4", false),
            shell("printf 'end\\nstatus 9\\n\\000\\377'", true),
            shell("cat; no-such-tool", true),
        ]);
        let status: Vec<i32> = answers.iter().take(5).map(|answer| answer.as_ref().unwrap().status).collect();
        assert_eq!(status, [0, 1, 3, 4, 0]);
        let both = answers[2].as_ref().unwrap();
        assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(answers[4].as_ref().unwrap().stdout, b"end\nstatus 9\n\0\xff");
        assert_eq!(answers[5].as_ref().unwrap().status, 127);
        assert!(String::from_utf8_lossy(&answers[5].as_ref().unwrap().stderr).contains("no-such-tool"));
    }

    #[test]
    fn megabytes_are_cut_at_one_without_blocking() {
        let answers = ask(&[shell("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2", true), shell("true", false)]);
        let long = answers[0].as_ref().unwrap();
        assert_eq!((long.status, long.stdout.len(), long.stderr.len()), (0, 1 << 20, 1 << 20));
        assert_eq!(answers[1].as_ref().unwrap().status, 0);
    }

    #[test]
    fn another_user_runs_it_in_that_directory_with_its_own_environment() {
        let key = GuardKey::Shell(Shell {
            text: "echo $(id -un) $PWD $HOME".into(),
            user: Some("nobody".into()),
            chdir: Some(RemotePath::new("/usr").unwrap()),
            output: true,
        });
        assert_eq!(String::from_utf8_lossy(&ask(&[key])[0].as_ref().unwrap().stdout), "nobody /usr /nonexistent\n");
    }

    #[test]
    fn a_missing_user_or_directory_is_named() {
        let shell = |user: Option<&str>, chdir: Option<&str>| {
            GuardKey::Shell(Shell {
                text: "true".into(),
                user: user.map(str::to_owned),
                chdir: chdir.map(|path| RemotePath::new(path).unwrap()),
                output: false,
            })
        };
        let answers = ask(&[shell(Some("no-such-user"), None), shell(None, Some("/no/such")), shell(None, Some("/usr"))]);
        assert_eq!(answers[0].as_ref().unwrap().missing.as_deref(), Some("user `no-such-user`"));
        assert_eq!(answers[1].as_ref().unwrap().missing.as_deref(), Some("directory `/no/such`"));
        assert_eq!(answers[2].as_ref().unwrap(), &GuardAnswer::default());
    }

    #[test]
    fn a_guard_that_took_too_long_has_no_answer() {
        let key = shell("hangs", false);
        let answers = Guard::read(&[&key, &key], &Output { status: 0, stdout: b"status 124\nend\nstatus 0\nend\n".to_vec() });
        assert_eq!(answers[0].as_ref().unwrap_err().0, "`hangs` took longer than 30 s");
        assert!(answers[1].is_ok());
        let cut = Guard::read(&[&key], &Output { status: 124, stdout: b"".to_vec() });
        assert_eq!(cut[0].as_ref().unwrap_err().0, "the guards ended early, with exit status 124");
        let half = Guard::read(&[&key], &Output { status: 0, stdout: b"status 0\no aGFsZg==\n".to_vec() });
        assert!(half[0].is_err());
    }
}
