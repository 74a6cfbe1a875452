//! All input and output to nodes: how a node is reached, and how shell is run on it.
//!
//! One connection and one long-lived root shell per node. A [`Frame`] of [`Step`]s costs one round trip; the first one travels with
//! the start of the session. [`Transport::connect`] is the way in, [`Channel`] is what the rest of the program sees.

mod apart;
mod beats;
mod bulk;
mod control;
mod errors;
mod frame;
mod gzip;
mod kept;
mod lock;
mod login;
mod login_errors;
mod node;
mod output;
mod persist;
mod session;
mod slots;
mod ssh;
mod ssh_config;
mod ssh_tunnel;
mod ssh_words;
mod staged;
mod sudo;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;
mod wire;

pub use bulk::{Bulk, Have, Moved, OnMoved, TransferError, Transferred};
pub use errors::LinkError;
pub use frame::{Frame, Step, StepError, StepOutput};
pub use kept::{Stream, TooLong};
pub use lock::{Holder, HoldingJob, Lock, LockRequest};
pub use node::{NodeShell, Times, Transport, Welcome};
pub use slots::Waits;
pub use target::{ConnectionMethod, HostKeys, SshArguments, SshArgumentsError, Target};
pub use tunnel::{Running, Tunnel};

#[cfg(test)]
pub(crate) use wire::{frame as encode_frame, take_mark};

use std::future::Future;

/// The limit of logins at once through one server: an sshd, such as a bastion's, starts to drop connections beyond ten (`MaxStartups 10:30:100`).
pub const CONNECTING_AT_ONCE: usize = 5;

/// Called with each line that a running step writes to its standard error, as it comes.
///
/// The lines are the node's: they may hold what a step printed, so reporters redact secrets first.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A node on which frames can be run, one after the other.
pub trait Channel: Send {
    /// Runs the steps of `frame` in order, in one round trip.
    ///
    /// The answer has one output per step that ran. A step whose status is not 0 is the last that ran, so the answer may be shorter
    /// than the frame.
    ///
    /// # Errors
    /// When the link is lost or the node sends an unexpected answer. The channel cannot be used after that.
    fn run(&mut self, frame: Frame, progress: Progress<'_>) -> impl Future<Output = Result<Vec<StepOutput>, LinkError>> + Send;

    /// Returns what this channel has cost so far.
    fn traffic(&self) -> Traffic;

    /// Returns the way to the ports of the node.
    fn tunnel(&self) -> Box<dyn Tunnel>;

    /// Ends the session: the remote shell first, then the connection. Bounded, a few seconds at worst.
    ///
    /// Dropping a channel instead also ends the remote side (its input closes), but does not wait for it.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized;
}

/// What a channel has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames and lock requests that were answered. The start of the session and its first frame are one; where a password for sudo is
    /// given, waiting for sudo is one more, and the password another.
    pub round_trips: u32,
    /// Bytes written to the remote shell, before ssh's encryption. Heartbeats are not counted, so that equal runs give equal numbers.
    pub bytes_sent: u64,
    /// Bytes read from the remote shell, standard output and standard error together.
    pub bytes_received: u64,
}
