//! Guards: what a read-only command says. All run in one script, each under its own limit.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Kind, Output, Unanswered};
use crate::{
    script::Script,
    secret::find,
    values::{Missing, RemotePath},
};

/// How long one guard may take, in seconds.
const LIMIT_SECONDS: &str = "30";
/// How much a command may print on each stream, in bytes: 1 MiB.
const MOST_BYTES: usize = 1 << 20;

/// Marker for the kind "guard": the exit status of a shell command, and what it prints.
#[derive(Debug)]
pub struct Guard;

/// A shell command that only reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shell {
    /// What `/bin/sh -c` runs.
    pub text: String,
    /// The user that runs it; root when `None`.
    pub user: Option<String>,
    /// The directory in which it runs.
    pub chdir: Option<RemotePath>,
    /// Whether its output is needed.
    pub output: bool,
}

/// The answer of a guard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardAnswer {
    /// The exit status.
    pub status: i32,
    /// Standard output, if it is needed.
    pub stdout: Vec<u8>,
    /// Standard error, if it is needed.
    pub stderr: Vec<u8>,
    /// The prerequisite that is missing. The command was not run then, and the status has no meaning.
    pub missing: Option<Missing>,
}

/// `run_as USER DIRECTORY COMMAND...` runs a command as root, or as another user with that user's environment.
///
/// Unlike su and runuser, setpriv (util-linux) opens no PAM session and so leaves nothing in the logs. Exit status 125 means that the user or
/// directory does not exist.
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

/// `ask ARGUMENTS` answers all guards on descriptor 4 and passes on their standard error.
///
/// Each answer ends with a mark that the script makes and no guard knows, so that no output can imitate it. The script starts few processes, as
/// each costs about a millisecond. The guards' standard output goes to descriptor 4 unchanged. The end of each guard's standard error is marked too.
const FRAMES: &str = r#"
limited() { run_as "$1" "$2" timeout -k 5 "$limit" /bin/sh -c "$3" </dev/null; }
# `read` detects whether there is more output, without a process.
clipped() { head -c "$most"; if IFS= read -r more; then cat >/dev/null; fi; }
answer() { printf '\n%s %s\n' "$mark" "$1" >&4; }
ask() {
  while [ $# -ge 4 ]; do
    if [ -n "$2" ] && ! id -u -- "$2" >/dev/null 2>&1; then answer 'missing user'
    elif [ -n "$3" ] && ! [ -d "$3" ]; then answer 'missing directory'
    else case $1 in
      test) (limited "$2" "$3" "$4") >/dev/null 2>&1 4>&-; answer "status $?";;
      read)
        status=$({ { limited "$2" "$3" "$4" 3>&- 4>&-; echo "$?" >&3; } | clipped >&4 3>&-; } 3>&1)
        answer "status $status";;
    esac; fi
    printf '\n%s\n' "$mark" >&2
    shift 4
  done
}
"#;

impl Kind for Guard {
    type Key = Shell;
    type Answer = GuardAnswer;
    const NAME: &'static str = "guard";
    const LIMIT: Duration = Duration::from_mins(5);
    const PARALLEL: bool = true;

    fn runs_what_a_role_says(_: &Shell) -> bool {
        true
    }

    fn script(keys: &[&Shell]) -> Script {
        let words = keys.iter().flat_map(|shell| {
            [
                if shell.output { "read" } else { "test" }.to_owned(),
                shell.user.clone().unwrap_or_default(),
                shell.chdir.as_ref().map(|path| path.as_str().to_owned()).unwrap_or_default(),
                shell.text.clone(),
            ]
        });
        Script::new(
            "limit=$1 most=$2; shift 2
umask 022
IFS= read -r mark </proc/sys/kernel/random/uuid
echo \"$mark\"
exec 4>&1
errors=$(ask \"$@\" 2>&1 >&4 | clipped | base64 -w 0)
printf '%s\\n' \"$errors\"",
        )
        .using(RUN_AS)
        .using(FRAMES)
        .arg(LIMIT_SECONDS)
        // One more, so that what is too long is seen to be.
        .arg((MOST_BYTES + 1).to_string())
        .args(words)
    }

    fn read(keys: &[&Shell], output: &Output) -> Vec<Result<GuardAnswer, Unanswered>> {
        let mut parts = parts(&output.stdout, keys.len()).into_iter();
        let truncated = || Unanswered(format!("the guards ended early, with exit status {}", output.status));
        keys.iter().map(|key| answer(key, &parts.next().ok_or_else(truncated)?).ok_or_else(truncated)?).collect()
    }
}

/// The raw answer of one guard.
struct RawAnswer<'a> {
    stdout: &'a [u8],
    /// `status 3`, `missing user`.
    words: String,
    /// `None` when the output was truncated before it.
    stderr: Option<Vec<u8>>,
    /// Whether the end of its standard error is missing, because there was too much from it or from the guards before it.
    is_cut: bool,
}

/// Splits the output into the mark, each guard's output and words, and the standard error of all guards in base64. Returns fewer than `count`
/// parts when the output was truncated.
fn parts(stdout: &[u8], count: usize) -> Vec<RawAnswer<'_>> {
    let mut parts = Vec::with_capacity(count);
    let Some((mark, mut rest)) = split(stdout, b"\n") else { return parts };
    let before_words = [b"\n", mark, b" "].concat();
    while parts.len() < count {
        let Some((stdout, after)) = split(rest, &before_words) else { return parts };
        let Some((words, after)) = split(after, b"\n") else { return parts };
        parts.push(RawAnswer { stdout, words: String::from_utf8_lossy(words).into_owned(), stderr: None, is_cut: false });
        rest = after;
    }
    let Some(errors) = rest.strip_suffix(b"\n").and_then(|line| STANDARD.decode(line).ok()) else { return parts };
    let mut rest = errors.as_slice();
    for part in &mut parts {
        // If there was too much standard error, the last part has no mark and the following ones are empty.
        let marked = split(rest, &[b"\n", mark, b"\n"].concat());
        part.is_cut = marked.is_none() && errors.len() > MOST_BYTES;
        let (stderr, after) = marked.unwrap_or((rest, b""));
        part.stderr = Some(stderr.to_vec());
        rest = after;
    }
    parts
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = find(bytes, at)?;
    Some((&bytes[..start], &bytes[start + at.len()..]))
}

/// Returns `None` when the answer was truncated.
fn answer(key: &Shell, part: &RawAnswer<'_>) -> Option<Result<GuardAnswer, Unanswered>> {
    let malformed = || Err(Unanswered(format!("a guard gave the malformed answer `{}`", part.words)));
    let status = match part.words.split_once(' ') {
        Some(("missing", what)) => return Some(Ok(GuardAnswer { missing: Some(missing(key, what)), ..GuardAnswer::default() })),
        Some(("status", number)) => number.parse().ok(),
        Some(_) | None => None,
    };
    let Some(status) = status else { return Some(malformed()) };
    if matches!(status, 124 | 137) {
        return Some(Err(Unanswered(format!("`{}` took longer than {LIMIT_SECONDS} s", key.text))));
    }
    if !key.output {
        return Some(Ok(GuardAnswer { status, ..GuardAnswer::default() }));
    }
    if part.stdout.len() > MOST_BYTES || part.is_cut {
        let stream = if part.is_cut { "with the commands before it, on standard error" } else { "on standard output" };
        // A part of it is not what the command says, so it is not used as its result.
        return Some(Err(Unanswered(format!("`{}` prints more than {} MiB {stream}", key.text, MOST_BYTES >> 20))));
    }
    Some(Ok(GuardAnswer { status, stdout: part.stdout.to_vec(), stderr: part.stderr.clone()?, missing: None }))
}

fn missing(key: &Shell, what: &str) -> Missing {
    match (key, what) {
        (Shell { user: Some(user), .. }, "user") => Missing::User(user.clone()),
        (Shell { chdir: Some(path), .. }, "directory") => Missing::Directory(path.clone()),
        (Shell { .. }, _) => Missing::Other(what.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial;

    fn ask(keys: &[Shell]) -> Vec<Result<GuardAnswer, Unanswered>> {
        let keys: Vec<&Shell> = keys.iter().collect();
        let done = trial::run(&Guard::script(&keys), std::path::Path::new("/nonexistent"));
        Guard::read(&keys, &Output { status: done.status, stdout: done.stdout })
    }

    fn shell(text: &str, output: bool) -> Shell {
        Shell { text: text.into(), user: None, chdir: None, output }
    }

    #[test]
    fn each_guard_has_its_own_answer() {
        let answers = ask(&[
            shell("true", false),
            shell("false", false),
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
    fn what_is_too_long_for_a_result_has_no_answer_and_blocks_nothing() {
        let words = |text: &str| {
            let answers = ask(&[shell(text, true), shell("echo x >&2", false), shell("true", true)]);
            let words =
                |answer: &Result<GuardAnswer, Unanswered>| answer.as_ref().map_or_else(|error| error.0.clone(), |_| "ok".into());
            answers.iter().map(words).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(words("head -c 1048576 /dev/zero; head -c 1048000 /dev/zero >&2"), "ok, ok, ok");
        let long = "`head -c 1048577 /dev/zero` prints more than 1 MiB on standard output, ok, ok";
        assert_eq!(words("head -c 1048577 /dev/zero"), long);
        let errors = "prints more than 1 MiB with the commands before it, on standard error";
        let both = format!("`head -c 3000000 /dev/zero >&2` {errors}, ok, `true` {errors}");
        assert_eq!(words("head -c 3000000 /dev/zero >&2"), both);
    }

    #[test]
    fn another_user_runs_the_command_in_its_directory_with_its_own_environment() {
        let key = Shell {
            text: "echo $(id -un) $PWD $HOME".into(),
            user: Some("nobody".into()),
            chdir: Some(RemotePath::new("/usr").unwrap()),
            output: true,
        };
        assert_eq!(String::from_utf8_lossy(&ask(&[key])[0].as_ref().unwrap().stdout), "nobody /usr /nonexistent\n");
    }

    #[test]
    fn a_missing_user_or_directory_is_named() {
        let shell = |user: Option<&str>, chdir: Option<&str>| Shell {
            text: "true".into(),
            user: user.map(str::to_owned),
            chdir: chdir.map(|path| RemotePath::new(path).unwrap()),
            output: false,
        };
        let answers = ask(&[shell(Some("no-such-user"), None), shell(None, Some("/no/such")), shell(None, Some("/usr"))]);
        assert_eq!(answers[0].as_ref().unwrap().missing, Some(Missing::User("no-such-user".into())));
        assert_eq!(answers[1].as_ref().unwrap().missing, Some(Missing::Directory(RemotePath::new("/no/such").unwrap())));
        assert_eq!(answers[2].as_ref().unwrap(), &GuardAnswer::default());
    }

    #[test]
    fn a_guard_that_took_too_long_has_no_answer() {
        let key = shell("hangs", false);
        let read = |status: i32, text: &str| Guard::read(&[&key, &key], &Output { status, stdout: text.into() });
        let answers = read(0, "m\n\nm status 124\n\nm status 0\n\n");
        assert_eq!(answers[0].as_ref().unwrap_err().0, "`hangs` took longer than 30 s");
        assert!(answers[1].is_ok());
        assert_eq!(read(124, "")[0].as_ref().unwrap_err().0, "the guards ended early, with exit status 124");
        let half = read(0, "m\n\nm status 0\nhalf\nm sta");
        assert!(half[0].is_ok() && half[1].is_err());
        let loud = shell("loud", true);
        let without_errors = Output { status: 124, stdout: b"m\nout\nm status 0\n".to_vec() };
        assert!(Guard::read(&[&loud], &without_errors)[0].is_err());
    }
}
