//! Looks for the long jobs of a node, follows one of them, and asks one to end. The node's locks are not taken.

use std::time::Duration;

use super::held::{HeldNode, step};
use crate::{
    job::{self, Job, JobState, Offsets},
    transport::{Frame, Holder, LinkError, Lock, NodeShell, Progress, StepOutput, Target, Transport, Waits},
};

/// How long a job is followed at most.
const WATCH_LIMIT: Duration = Duration::from_hours(7 * 24);

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Who holds it: a run, or the job of one.
    pub holder: Option<Holder>,
    /// All its jobs, also those that have ended and were not collected yet.
    pub jobs: Vec<Job>,
}

/// What is done about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobAction {
    /// Show all that it says, until it has ended.
    Follow,
    /// Ask it to end, and follow it until it has.
    Cancel,
}

/// A job that was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedJob {
    /// It, as it was found.
    pub job: Job,
    /// What has become of it. `None`: it was removed before its end was read, by the run that has started it or by the next one on the node.
    pub end: Option<JobState>,
}

/// What runs on a node at this moment.
///
/// # Errors
/// The node cannot be reached, or does not answer as expected.
pub async fn activity(transport: &Transport, target: &Target) -> Result<Activity, LinkError> {
    let (node, activity) = open(transport, target).await?;
    node.let_go().await;
    Ok(activity)
}

/// Follows the job of the run, or the job itself, with this id, or asks it to end. `None`: the node has no such job.
///
/// # Errors
/// The node cannot be reached, or the link is lost: the job goes on.
pub async fn act_on_job(
    transport: &Transport,
    target: &Target,
    id: &str,
    action: JobAction,
    said: Progress<'_>,
) -> Result<Option<FollowedJob>, LinkError> {
    let (mut node, activity) = open(transport, target).await?;
    let Some(job) = activity.jobs.iter().find(|job| job.run_id == id || job.id.to_string() == id).cloned() else {
        node.let_go().await;
        return Ok(None);
    };
    let script = match action {
        JobAction::Follow => job::follow(&job.id, Offsets::default(), WATCH_LIMIT),
        JobAction::Cancel => job::cancel(&job.id),
    };
    node.run(&script, said).await?;
    let left = read(&node.run(&job::list(), &mut |_| {}).await?);
    node.let_go().await;
    let end = left.into_iter().find(|left| left.id == job.id).map(|left| left.state);
    Ok(Some(FollowedJob { job, end }))
}

async fn open(transport: &Transport, target: &Target) -> Result<(HeldNode<NodeShell>, Activity), LinkError> {
    let list = Frame::from(step(&job::list())?);
    let (node, outputs) = HeldNode::open(transport, target, Lock::Observe, list, &mut |_| {}, &Waits::default()).await?;
    let activity = Activity { holder: node.holder().cloned(), jobs: read(&outputs) };
    Ok((node, activity))
}

fn read(outputs: &[StepOutput]) -> Vec<Job> {
    outputs.first().map_or_else(Vec::new, |output| job::read_jobs(&output.stdout.text()))
}
