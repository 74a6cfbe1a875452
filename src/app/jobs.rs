//! Says what runs on nodes, follows the long jobs of a run, and asks them to end.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::nodes::Nodes;
use crate::{
    engine::{self, Activity, FollowedJob, JobAction},
    transport::{LinkError, Target, Transport},
};

/// A line that a job has written to its standard error. It is the node's: it may hold control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLine {
    /// The index of the node.
    pub node: usize,
    /// The text, without the line break.
    pub text: String,
}

/// Says what runs on each node. `None`: this program failed on that node.
pub async fn status(nodes: &Nodes, answered: impl FnMut(usize)) -> Vec<Option<Result<Activity, LinkError>>> {
    nodes.each(|_, transport, target| async move { engine::activity(&transport, &target).await }, answered).await
}

/// Follows the job that the run has on each node, or asks it to end, until all have ended. `run` is the id of the run or of a job. What the jobs say is sent
/// to `lines`. `None`: this program failed on that node. `Ok(None)`: the node has no such job.
pub async fn act_on_run(
    nodes: &Nodes,
    run: &str,
    action: JobAction,
    lines: UnboundedSender<JobLine>,
) -> Vec<Option<Result<Option<FollowedJob>, LinkError>>> {
    let work = |node: usize, transport: Arc<Transport>, target: Target| {
        let (run, lines) = (run.to_owned(), lines.clone());
        async move {
            // Without a reader, the job is followed all the same.
            let mut said = |text: &str| drop(lines.send(JobLine { node, text: text.to_owned() }));
            engine::act_on_job(&transport, &target, &run, action, &mut said).await
        }
    };
    nodes.each(work, |_| {}).await
}
