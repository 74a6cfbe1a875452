//! Long jobs: programs that a node runs in a systemd unit of its own, so that a lost link, a closed laptop or a killed run does not end them.
//!
//! A job is a directory of root's below [`RUN_DIRECTORY`], 0700, which no reboot survives: its script, input and environment as files, then its outputs and
//! its exit status. The unit's arguments are constant (`/bin/sh …/jobs/ID/run`), its standard streams lead nowhere: nothing of it is in `systemctl show`, the
//! journal or `/proc/PID/cmdline`. A job holds a second lock of the node, `jobs/lock`, from before its first write to its end; the loop of
//! `transport` takes a node only when both locks are free.
//!
//! The outputs may not hold secrets: a run that follows a job of another one does not know what it would have to mask.
//!
//! The unit's properties are those that were tried out with dpkg: with `KillMode=mixed`, `KillSignal=SIGINT` and `SendSIGKILL=no` a `systemctl stop` or a
//! shutdown in the middle of an unpacking waits until it is done, where systemd's defaults leave the package half installed
//! ([systemd.kill(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.kill.html)). `OOMPolicy=continue`: the end of one process of the job is
//! no reason to end the others ([systemd.service(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html)).
//!
//! Everything here is pure: scripts, and the reading of what they print.

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::script::{Carrier, RUN_DIRECTORY, Script, condensed};

/// The shell functions of all scripts here.
const FUNCTIONS: &str = include_str!("job.sh");
/// The main process of a job's unit.
const PROGRAM: &str = include_str!("run.sh");

/// How much of each of a job's two outputs is kept, in the blocks of 512 bytes of `ulimit -f`: 8 MiB. They are in memory, as all of /run.
const BLOCKS: u32 = 16384;

/// How long the follower of a job outlives the job's own limit: the job needs up to 10 seconds to end all that it has started.
const GRACE: Duration = Duration::from_secs(20);

/// The status of a job that was cancelled: as if it had been interrupted.
pub const CANCELLED: i32 = 130;

/// How long a job may take to end when it is cancelled: five minutes for a program that is spared, and what is left to end then.
const CANCEL_LIMIT: Duration = Duration::from_mins(6);

/// How long the state of a job takes to read.
const LIMIT: Duration = Duration::from_mins(1);

/// The name of a job, which is unique on its node. It is part of paths and of a unit's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobId(String);

impl JobId {
    /// Takes a text of lowercase letters, digits and inner hyphens, with at most 64 characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_name(text, 64).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a text is a word that needs no quotes anywhere: in a path, a unit's name, the line of a lock.
fn is_name(text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= longest && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// What a job is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPurpose {
    /// What the job does, as one word: shown to the run that finds the node held.
    pub phase: &'static str,
    /// The name of a program, at most 15 bytes, that is not interrupted when the job's limit has passed: it has five more minutes. Empty: there is none.
    pub spared: &'static str,
}

impl JobPurpose {
    /// The installation and removal of packages. dpkg leaves a package half installed if it is killed while it unpacks.
    pub const APT: Self = Self { phase: "apt", spared: "dpkg" };
}

/// Returns a script that runs `script` as a job, follows its outputs, removes the job and returns its status.
///
/// A lost link ends the follower only. The run that takes the node next, when the job has ended, removes it and reports its status. On a node without systemd as
/// its process 1, the script runs as it is, with a warning.
#[must_use]
pub fn run_and_follow(script: Script, purpose: JobPurpose) -> Script {
    script.carried_by(carrier("", purpose, "no", include_str!("run_and_follow.sh")))
}

/// Returns a script that starts `script` as the job `id`, and returns when the job holds the node. It stays until [`remove`].
///
/// `script` itself must not use the directory `work` of [`RUN_DIRECTORY`], which is removed with the session.
#[must_use]
pub fn start(id: &JobId, script: Script, purpose: JobPurpose) -> Script {
    script.carried_by(carrier(&id.0, purpose, "keep", "job_start \"$6\" \"$3\" \"$4\" \"$5\" \"$7\" \"$8\" \"$9\""))
}

/// `$1`: the run directory; `$2`: the job's id or nothing; `$3`, `$4`: phase and spared program; `$5`: whether the job waits for its collection; `$6`: the
/// job's program; `$7`: the bound of its outputs; then its limit and its script.
fn carrier(id: &str, purpose: JobPurpose, keep: &str, text: &str) -> Carrier {
    debug_assert!(is_name(purpose.phase, 15) && (purpose.spared.is_empty() || is_name(purpose.spared, 15)));
    let arguments =
        [RUN_DIRECTORY, id, purpose.phase, purpose.spared, keep, &condensed(PROGRAM), &BLOCKS.to_string()].map(str::to_owned);
    Carrier { text: condensed(&format!("run=$1 id=$2\n{FUNCTIONS}\n{text}")), arguments: arguments.into(), grace: GRACE }
}

/// Returns a script that copies a job's outputs from these offsets, its standard error as it comes, and returns with the job's status.
///
/// 75 means that there is no such job.
#[must_use]
pub fn follow(id: &JobId, from: Offsets, limit: Duration) -> Script {
    query(id, "job_exists || exit 75\njob_follow \"$3\" \"$4\"")
        .args([from.out, from.err].map(|offset| offset.to_string()))
        .limit(limit)
}

/// Returns a script that reports all jobs of the node, for [`read_jobs`].
#[must_use]
pub fn list() -> Script {
    const LIST: &str = r#"
for job in "$run"/jobs/*; do
  id=${job##*/}
  { IFS= read -r _; IFS= read -r words; } 2>/dev/null <"$job/about" && job_exists || continue
  sizes=$(stat -c %s "$job/out" "$job/err" 2>/dev/null | tr '\n' ' ')
  if job_runs; then state='running -'
  elif { IFS= read -r status <"$job/status"; } 2>/dev/null; then state="ended $status"
  else state='killed -'
  fi
  echo "$state ${sizes:-0 0 } $words"
done"#;
    Script::new(LIST).using(FUNCTIONS).using("run=$1").arg(RUN_DIRECTORY).limit(LIMIT)
}

/// Returns a script that asks a job to end, follows its standard error from now on, and returns with its status: [`CANCELLED`] if it was still under way.
///
/// A program that must not be interrupted ([`JobPurpose::spared`]) finishes what it has begun, for at most five minutes. 75 means that there is no such job.
#[must_use]
pub fn cancel(id: &JobId) -> Script {
    const CANCEL: &str = r#"
job_exists || exit 75
set -- $(stat -c %s "$job/out" "$job/err")
if job_runs; then
  : >"$job/cancelled"
  # Again and again: a signal is lost if it comes just before the job waits.
  while job_runs; do
    kill -USR1 "$pid" 2>/dev/null
    sleep 1
  done >/dev/null 2>&1 &
fi
job_follow "$1" "$2""#;
    query(id, CANCEL).limit(CANCEL_LIMIT)
}

/// Returns a script that removes a job that is not under way, after its result was collected.
#[must_use]
pub fn remove(id: &JobId) -> Script {
    const REMOVE: &str = r#"
job_exists || exit 0
! job_runs || { echo "the job $id is still under way" >&2; exit 1; }
job_remove"#;
    query(id, REMOVE).limit(LIMIT)
}

fn query(id: &JobId, text: &'static str) -> Script {
    Script::new(text).using(FUNCTIONS).using("run=$1 id=$2").arg(RUN_DIRECTORY).arg(&id.0)
}

/// How many bytes of a job's outputs were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Of its standard output.
    pub out: u64,
    /// Of its standard error.
    pub err: u64,
}

/// What has become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It is under way.
    Running,
    /// It has ended by itself, at its limit or because it was cancelled.
    Ended {
        /// The exit status: 124 at its limit, [`CANCELLED`], 128 + n when signal n ended it.
        status: i32,
    },
    /// Its main process was killed: how far it came is not known.
    Killed,
}

/// A job of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The run that has started it.
    pub run_id: String,
    /// Who has started that run, as `user@controller`.
    pub who: String,
    /// When that run began, by its controller's clock.
    pub since: Timestamp,
    /// What it does, in a word.
    pub phase: String,
    /// What has become of it.
    pub state: JobState,
    /// What it has written.
    pub written: Offsets,
}

/// Reads what [`list`] prints. Lines that are not whole are left out: their jobs are just beginning, or just removed.
#[must_use]
pub fn read_jobs(output: &str) -> Vec<Job> {
    output.lines().filter_map(read_job).collect()
}

/// Reads `STATE DETAIL OUT ERR SECONDS RUN WHO ID PHASE`.
fn read_job(line: &str) -> Option<Job> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [state, detail, out, err, seconds, run_id, who, id, phase] = words[..] else { return None };
    let state = match (state, detail) {
        ("running", _) => JobState::Running,
        ("ended", status) => JobState::Ended { status: status.parse().ok()? },
        ("killed", _) => JobState::Killed,
        _ => return None,
    };
    Some(Job {
        id: JobId::parse(id)?,
        run_id: run_id.to_owned(),
        who: who.to_owned(),
        since: Timestamp::from_second(seconds.parse().ok()?).ok()?,
        phase: phase.to_owned(),
        state,
        written: Offsets { out: out.parse().ok()?, err: err.parse().ok()? },
    })
}
