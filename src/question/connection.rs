//! The addresses of the connection that this run uses. The engine knows them and sets the answer; nothing is asked on the node.

use super::{Kind, Output, Unanswered};
use crate::{script::Script, values::Addresses};

/// Marker for the kind "this connection".
#[derive(Debug)]
pub struct OwnConnection;

impl Kind for OwnConnection {
    type Key = ();
    /// `None` when the run is on the node itself, so that there is no connection to cut.
    type Answer = Option<Addresses>;
    const NAME: &'static str = "connection";

    fn script(_: &[&()]) -> Script {
        Script::new(":")
    }

    /// The node cannot be asked: sudo removes `SSH_CONNECTION`, and "no connection" must never be a guess.
    fn read(keys: &[&()], _: &Output) -> Vec<Result<Self::Answer, Unanswered>> {
        keys.iter().map(|()| Err(Unanswered("this connection's addresses are not known".into()))).collect()
    }
}
