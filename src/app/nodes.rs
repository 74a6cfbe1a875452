//! Does the same on several nodes at once.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    controller::Controller,
    transport::{CONNECTING_AT_ONCE, Target, Transport},
};

/// Nodes, and how they are reached.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// How each of them is reached.
    pub targets: Vec<Target>,
    /// The number of nodes worked on at once.
    pub forks: usize,
    /// The machine that they are reached from.
    pub controller: Arc<Controller>,
}

impl Nodes {
    /// Does the work on each node, and returns the answers in the order of the targets. `None`: the work has panicked, which was printed where it happened.
    ///
    /// The work gets the index of its node; `answered` is called with the index of each node that is done. Dropping the future ends all work.
    pub async fn each<T, F>(
        &self,
        work: impl Fn(usize, Arc<Transport>, Target) -> F,
        mut answered: impl FnMut(usize),
    ) -> Vec<Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let transport = Arc::new(Transport::new(CONNECTING_AT_ONCE, Arc::clone(&self.controller)));
        let forks = Arc::new(Semaphore::new(self.forks.max(1)));
        let mut running = JoinSet::new();
        for (index, target) in self.targets.iter().enumerate() {
            let forks = Arc::clone(&forks);
            let work = work(index, Arc::clone(&transport), target.clone());
            running.spawn(async move {
                // The semaphore is never closed, so a permit always comes.
                let _permit = forks.acquire().await;
                (index, work.await)
            });
        }
        let mut answers: Vec<Option<T>> = self.targets.iter().map(|_| None).collect();
        while let Some(ended) = running.join_next().await {
            if let Ok((index, answer)) = ended {
                answers[index] = Some(answer);
                answered(index);
            }
        }
        answers
    }
}
