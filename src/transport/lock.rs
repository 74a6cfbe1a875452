//! One deploy per node at a time: who asks for the lock, and who holds it.

use std::{fmt, time::Duration};

use jiff::Timestamp;

/// What a session does about the node's lock when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Only reads who holds it (check mode). The first frame runs in any case.
    Observe,
    /// Takes it. While another run holds it, the first frame does not run.
    Take(LockRequest),
}

/// Who asks for the lock. Written on the node, so that a second run can say who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// `user@controller`.
    pub who: String,
    /// The run's id.
    pub run_id: String,
    /// When the run began.
    pub since: Timestamp,
    /// How long to wait for another run to end. Zero: not at all.
    pub wait: Duration,
}

/// Who holds a node's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `user@controller`.
    pub who: String,
    /// The id of the run that holds it.
    pub run_id: String,
    /// When that run began, by its controller's clock. None at the moment when the holder is writing it.
    pub since: Option<Timestamp>,
    /// The job of that run that holds the node, though the run itself does not any more.
    pub job: Option<Box<HoldingJob>>,
}

/// A long job that holds a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingJob {
    /// Its id.
    pub id: String,
    /// What it does, in a word.
    pub phase: String,
    /// The last line that it has written to its standard error: the node's words.
    pub says: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.job.as_deref(), self.since) {
            (Some(HoldingJob { id, phase, .. }), Some(since)) => {
                write!(formatter, "held by the job {id}, phase {phase}, of {} since {since} (run {})", self.who, self.run_id)
            }
            (None, Some(since)) => write!(formatter, "held by {} since {since} (run {})", self.who, self.run_id),
            (_, None) => write!(formatter, "held by a run that is just beginning"),
        }
    }
}

/// The node's answer about its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is free.
    Free,
    /// This run holds it now.
    Taken(Vec<EndedJob>),
    /// Another run holds it.
    Held(Holder),
    /// It cannot be taken.
    Failed(String),
}

/// A job that has ended after its run was lost, and was removed when the lock was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndedJob {
    id: String,
    /// Its exit status, or `killed`.
    status: String,
}

impl fmt::Display for EndedJob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status.as_str() {
            "killed" => write!(formatter, "the job {}, whose run was lost, was killed before it ended", self.id),
            "0" => write!(formatter, "the job {}, whose run was lost, has ended well", self.id),
            status => write!(formatter, "the job {}, whose run was lost, has ended with exit status {status}", self.id),
        }
    }
}

/// Returns the request as one line: `SECONDS RUN_ID WHO`. The node adds the process ID and start time of its loop in front, and the time of the last
/// heartbeat in a second line.
pub(super) fn format_request(request: &LockRequest) -> String {
    format!("{} {} {}", request.since.as_second(), word(&request.run_id), word(&request.who))
}

/// Returns the text as one word: the node's shell splits the line into words.
pub(super) fn word(text: &str) -> String {
    let keep = |character: char| if character.is_ascii_alphanumeric() || "._@:+-".contains(character) { character } else { '_' };
    if text.is_empty() { "-".to_owned() } else { text.chars().take(100).map(keep).collect() }
}

/// Reads the words of the node's answer to `look` or `lock`.
pub(super) fn parse_answer(words: &str) -> Option<Answer> {
    let (kind, rest) = words.strip_prefix("lock ")?.split_once(' ').unwrap_or((words.get(5..)?, ""));
    match kind {
        "free" => Some(Answer::Free),
        "taken" => Some(Answer::Taken(parse_ended(rest))),
        "held" => Some(Answer::Held(parse_holder(rest))),
        "failed" => Some(Answer::Failed(rest.to_owned())),
        _ => None,
    }
}

/// Reads `ID STATUS`, any number of times.
fn parse_ended(words: &str) -> Vec<EndedJob> {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    words.chunks_exact(2).map(|pair| EndedJob { id: pair[0].to_owned(), status: pair[1].to_owned() }).collect()
}

/// Reads `PID BIRTH SECONDS RUN_ID WHO`, and ` JOB PHASE LAST LINE` after it if a job holds the node. While its holder writes it, the line can be incomplete.
///
/// The line may only grow at its end: the released 0.1.0 reads the first five words.
pub(super) fn parse_holder(line: &str) -> Holder {
    let mut words = line.split_ascii_whitespace().skip(2);
    let since = words.next().and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok());
    let mut word = || words.next().unwrap_or("?").to_owned();
    let (run_id, who) = (word(), word());
    let job = words.next().map(|id| {
        let phase = words.next().unwrap_or("?").to_owned();
        Box::new(HoldingJob { id: id.to_owned(), phase, says: words.collect::<Vec<_>>().join(" ") })
    });
    Holder { who, run_id, since, job }
}

/// Reads the line of a lock that is not this run's any more: that of its new holder, or `?` if the lock was removed.
pub(super) fn parse_new_holder(line: &str) -> Option<Holder> {
    (line.trim() != "?").then(|| parse_holder(line))
}

/// Finds what a run that took the node over has written to the standard error of the one that it ended, and returns the new holder.
///
/// Scripts write there, too, but this only explains why a session has ended.
pub(super) fn parse_takeover(errors: &str, run_id: &str) -> Option<Holder> {
    let line = |line: &str| {
        line.strip_prefix("autobot-provision-taken-over ")?
            .split_once(' ')
            .filter(|(run, _)| *run == run_id)
            .map(|(_, line)| parse_holder(line))
    };
    errors.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_back_as_it_was_written() {
        let since = Timestamp::from_second(1_700_000_000).unwrap();
        let request = LockRequest { who: "ann@ci $(x)\n".into(), run_id: "r-1".into(), since, wait: Duration::ZERO };
        assert_eq!(
            parse_answer(&format!("lock held 12 345 {}", format_request(&request))),
            Some(Answer::Held(Holder { who: "ann@ci___x__".into(), run_id: "r-1".into(), since: Some(since), job: None }))
        );
    }

    #[test]
    fn a_job_that_holds_the_node_is_named_with_its_run_and_phase() {
        let Some(Answer::Held(holder)) = parse_answer("lock held 12 345 1700000000 r-1 ann@ci 4f-1 apt Unpacking  toy (1)")
        else {
            panic!()
        };
        assert_eq!(holder.to_string(), "held by the job 4f-1, phase apt, of ann@ci since 2023-11-14T22:13:20Z (run r-1)");
        assert_eq!(holder.job.unwrap().says, "Unpacking toy (1)");
    }

    #[test]
    fn a_run_that_was_taken_over_reads_by_whom() {
        let errors = "some words\nautobot-provision-taken-over run-2 7 8 1700000000 run-3 eve\n\nautobot-provision-taken-over run-1 7 8 1700000000 run-9 bob@ci\n";
        let holder = parse_takeover(errors, "run-1").unwrap();
        assert_eq!(holder.to_string(), "held by bob@ci since 2023-11-14T22:13:20Z (run run-9)");
        assert_eq!(parse_takeover(errors, "run"), None);
        assert_eq!((parse_new_holder(" ?"), parse_new_holder(" 7 8 1700000000 run-9 bob@ci")), (None, Some(holder)));
    }

    #[test]
    fn the_ends_of_lost_jobs_are_told() {
        let Some(Answer::Taken(ended)) = parse_answer("lock taken 4f-1 0 4f-2 100 4f-3 killed") else { panic!() };
        assert_eq!(
            ended.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "the job 4f-1, whose run was lost, has ended well",
                "the job 4f-2, whose run was lost, has ended with exit status 100",
                "the job 4f-3, whose run was lost, was killed before it ended"
            ]
        );
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        assert_eq!(parse_answer("lock taken"), Some(Answer::Taken(Vec::new())));
        assert_eq!(parse_answer("lock free"), Some(Answer::Free));
        assert_eq!(parse_answer("lock failed cannot make /run/x"), Some(Answer::Failed("cannot make /run/x".into())));
        assert_eq!([parse_answer("0"), parse_answer("lock"), parse_answer("lock whatever")], [None, None, None]);
    }
}
