//! Guards: what a read-only command says. All run in one script, each under its own limit.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Kind, Lane, Output, Unanswered};
use crate::{
    script::{Script, quote},
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
/// each costs about a millisecond: all guards have one limit, that of the whole question, and a guard of the kind `here` runs in a subshell of this
/// shell. Once that limit has struck, `only` is set, and each guard has a shell and a limit of its own. The guards' standard output goes to
/// descriptor 4 unchanged. The end of each guard's standard error is marked too.
const FRAMES: &str = r#"
limited() { run_as "$1" "$2" ${only+timeout -k 5 "$limit"} /bin/sh -c "$3" </dev/null; }
answer() { printf '\n%s %s\n' "$mark" "$1" >&4; }
ask() {
  while [ $# -ge 4 ]; do
    if [ -n "$2" ] && ! id -u -- "$2" >/dev/null 2>&1; then answer 'missing user'
    elif [ -n "$3" ] && ! [ -d "$3" ]; then answer 'missing directory'
    else case ${only+each-}$1 in
      here)
        (unset -f _asked _mark run_as limited answer ask; unset mark limit most; shift 3; eval "set --;$1") </dev/null >/dev/null 2>&1 4>&-
        answer "status $?";;
      *read)
        status=$({ { limited "$2" "$3" "$4" 3>&- 4>&-; echo "$?" >&3; } | head -c "$most" >&4 3>&-; } 3>&1)
        answer "status $status";;
      *) (limited "$2" "$3" "$4") >/dev/null 2>&1 4>&-; answer "status $?";;
    esac; fi
    printf '\n%s\n' "$mark" >&2
    shift 4
  done
}
"#;

/// Asks guards whose output is not needed.
const ASK: &str = r#"limit=$1 most=$2; shift 2
umask 022
IFS= read -r mark </proc/sys/kernel/random/uuid
echo "$mark"
ask "$@" 4>&1 2>/dev/null
echo
"#;

/// Asks guards of which one's output is needed: the errors of all follow in base64. What is too much of them is read all the same, as this shell
/// writes there too; `read` detects whether there is more, without a process.
const ASK_AND_KEEP_ERRORS: &str = r#"limit=$1 most=$2; shift 2
umask 022
IFS= read -r mark </proc/sys/kernel/random/uuid
echo "$mark"
exec 4>&1
errors=$(ask "$@" 2>&1 >&4 | { head -c "$most"; if IFS= read -r more; then cat >/dev/null; fi; } | base64 -w 0)
printf '%s\n' "$errors"
"#;

/// Whether a shell that has read other text before runs this text just as a new `/bin/sh -c` would, as far as its exit status tells. When in doubt, it
/// does not: for what names the shell, its process or its options, signals, leaves something running, or means something else within a function.
fn runs_anywhere(text: &str) -> bool {
    const DOUBTFUL: [&str; 20] = [
        "$$", "${$", "$0", "${0", "$-", "${-", "$_", "${_", "PPID", "LINENO", "kill", "trap", "wait", "set -", "set +", "return",
        "break", "continue", "local", "alias",
    ];
    let in_background = text.replace("&&", "").replace(">&", "").replace("<&", "").contains('&');
    !in_background && !DOUBTFUL.iter().any(|doubtful| text.contains(doubtful))
}

/// Returns a command that sets the arguments of `exec /bin/sh -c TEXT NAME ARGUMENT…`, and that text: the words of an `argv` that is a shell itself.
/// Only words that [`quote`] wrote are understood.
fn unwrapped(text: &str) -> Option<(String, String)> {
    let mut words = Vec::new();
    let mut rest = text.strip_prefix("exec /bin/sh -c ")?;
    loop {
        // A quoted word may hold spaces; the shortest text that is what `quote` makes of some word is the word.
        let mut ends = rest.match_indices(' ').map(|(at, _)| at).chain([rest.len()]);
        let (word, end) = ends.find_map(|end| Some((unquoted(&rest[..end])?, end)))?;
        words.push((word, &rest[..end]));
        match rest.get(end + 1..) {
            Some(after) => rest = after,
            None => break,
        }
    }
    let ((text, _), arguments) = words.split_first()?;
    let arguments: String = arguments.iter().skip(1).flat_map(|(_, written)| [" ", *written]).collect();
    Some((format!("set --{arguments};"), text.clone()))
}

/// Returns the word that [`quote`] wrote as this text.
fn unquoted(text: &str) -> Option<String> {
    let word = match text.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'')?.replace("'\\''", "'"),
        None => text.to_owned(),
    };
    (quote(&word).ok()? == text).then_some(word)
}

impl Shell {
    /// Returns how it is asked, and the text for that.
    fn way(&self) -> (&'static str, String) {
        let (arguments, text) = unwrapped(&self.text).unwrap_or_else(|| (String::new(), self.text.clone()));
        if self.output {
            ("read", self.text.clone())
        } else if self.user.is_none() && self.chdir.is_none() && runs_anywhere(&text) {
            ("here", arguments + &text)
        } else {
            ("test", self.text.clone())
        }
    }
}

impl Kind for Guard {
    type Key = Shell;
    type Answer = GuardAnswer;
    const NAME: &'static str = "guard";
    const LIMIT: Duration = Duration::from_mins(5);
    const LANE: Lane = Lane::Guards;
    const MAY_LEAVE: bool = true;

    fn runs_what_a_role_says(_: &Shell) -> bool {
        true
    }

    fn script(keys: &[&Shell]) -> Script {
        let words = keys.iter().flat_map(|shell| {
            let (way, text) = shell.way();
            [
                way.to_owned(),
                shell.user.clone().unwrap_or_default(),
                shell.chdir.as_ref().map(|path| path.as_str().to_owned()).unwrap_or_default(),
                text,
            ]
        });
        let script = if keys.iter().any(|shell| shell.output) { ASK_AND_KEEP_ERRORS } else { ASK };
        Script::new(script)
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

    /// What the guards answer under one limit, and one by one.
    fn both(keys: &[Shell]) -> [String; 2] {
        let keys: Vec<&Shell> = keys.iter().collect();
        ["", "only=guard\n"].map(|before| {
            let text = before.to_owned() + &Guard::script(&keys).render().unwrap();
            let done = trial::run(&Script::new("eval \"$1\"").arg(text), std::path::Path::new("/nonexistent"));
            format!("{:?}", Guard::read(&keys, &Output { status: done.status, stdout: done.stdout }))
        })
    }

    #[test]
    fn a_guard_answers_alike_in_a_subshell_and_in_a_shell_of_its_own() {
        let texts = [
            "exit 3",
            "false",
            "exec test -e /nonexistent",
            "if; then",
            "no-such-tool",
            ": </nonexistent",
            "[ $# = 0 ]",
            "[ -z \"${limit-}${mark-}${most-}\" ]",
            "answer 'status 9'; ask; run_as; limited",
            "exec 4>&1; echo x >&4",
            "cd /usr; x=1; umask 077; exec >/dev/null; true",
            "[ \"$(umask)\" = 0022 ]",
            "cat; exit 5",
            "[ -z \"${x-}\" ] && ! [ \"$PWD\" = /usr ]",
            "exec /bin/sh -c '[ \"$1\" = \"it'\\''s\" ] && [ $# = 2 ] && exit 6' sh 'it'\\''s' 'a b'",
            "true; #",
        ];
        let keys: Vec<Shell> = texts.iter().map(|text| shell(text, false)).collect();
        assert!(keys.iter().all(|key| key.way().0 == "here"), "{keys:?}");
        let [together, each] = both(&keys);
        assert_eq!(together, each);
        let statuses: Vec<i32> = ask(&keys).into_iter().map(|answer| answer.unwrap().status).collect();
        assert_eq!(statuses[..2], [3, 1]);
        assert_eq!(statuses[6..8], [0, 0]);
        assert_eq!((statuses[12], statuses[14], statuses[15]), (5, 6, 0));
        let mixed = [shell("echo a; echo b >&2", true), shell("exit 4", false), shell("exec printf '\\000'", true)];
        let [together, each] = both(&mixed);
        assert_eq!(together, each);
    }

    #[test]
    fn what_could_tell_the_difference_has_a_shell_of_its_own() {
        for text in [
            "kill $$",
            "echo $0",
            "sleep 9 & exit",
            "set -u; echo $x",
            "return 3",
            "local x=1",
            "trap : EXIT",
            "[ -n \"$PPID\" ]",
        ] {
            assert_eq!(shell(text, false).way(), ("test", text.to_owned()), "{text}");
        }
        for text in ["a && b", "a >&2 2>&1 || b"] {
            assert_eq!(shell(text, false).way().0, "here", "{text}");
        }
        assert_eq!(shell("exec /bin/sh -c 'exit 3' sh a", false).way().1, "set -- a;exit 3");
        for text in ["exec /bin/sh -c 'echo $0' x", "exec /bin/sh -c 'kill $$' sh"] {
            assert_eq!(shell(text, false).way().0, "test", "{text}");
        }
        assert_eq!(unwrapped("exec /bin/sh -c a\"b\" sh"), None);
        assert_eq!(unwrapped("exec /bin/sh -c 'a' 'b' $(reboot)"), None);
        let [together, each] = both(&[shell("kill -KILL $$", false), shell("exit 7", false)]);
        assert!(together == each && together.contains("took longer") && together.contains("status: 7"), "{together}");
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
