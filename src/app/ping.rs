//! Asks whether a run could begin on each node, and what it would find there.

use super::nodes::Nodes;
use crate::{
    engine::{self, Pong},
    transport::LinkError,
};

/// Pings each node. `answered` is called with the index of each that has answered. `None`: this program failed on that node.
pub async fn ping(nodes: &Nodes, answered: impl FnMut(usize)) -> Vec<Option<Result<Pong, LinkError>>> {
    nodes.each(|_, transport, target| async move { engine::ping(&transport, &target).await }, answered).await
}
