//! A connected node.

use std::net::IpAddr;

use super::{Channel, Frame, Holder, LinkError, Lock, Progress, StepOutput, Target, Traffic};

/// Opens connections to nodes, not too many at once. One per run.
#[derive(Debug)]
pub struct Transport {
    connecting: tokio::sync::Semaphore,
}

impl Transport {
    /// At most `at_once` connections are being opened at any time. That does not limit how many are open.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { connecting: tokio::sync::Semaphore::new(at_once.max(1)) }
    }

    /// Connects to a node, sees to its lock, and runs the first frame, all in one round trip.
    ///
    /// `progress` also hears who holds the lock while it is waited for.
    ///
    /// # Errors
    /// When the node cannot be reached, root's shell cannot be had, or the lock is held by another run ([`LinkError::Held`]).
    pub async fn connect(
        &self,
        target: &Target,
        lock: Lock,
        first: Frame,
        progress: Progress<'_>,
    ) -> Result<(Node, Welcome), LinkError> {
        let _ = (target, lock, first, progress, self.connecting.acquire().await);
        Err(LinkError::Here { detail: "not built yet".to_owned() })
    }
}

/// What a node says when a session begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Whose shell it is; 0 is root.
    pub uid: u32,
    /// The two ends of the ssh connection as the node sees them. None over `connection: local`.
    pub ssh_connection: Option<SshConnection>,
    /// Under [`Lock::Look`]: who holds the node at present.
    pub holder: Option<Holder>,
    /// The outputs of the first frame.
    pub outputs: Vec<StepOutput>,
}

/// `$SSH_CONNECTION`: the two ends of the connection as the node sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SshConnection {
    /// Where we come from.
    pub client: IpAddr,
    /// Our port.
    pub client_port: u16,
    /// The node's own address that we reached.
    pub server: IpAddr,
    /// The port on which sshd listens.
    pub server_port: u16,
}

/// A connected node: one root shell.
#[derive(Debug)]
pub struct Node {
    traffic: Traffic,
}

impl Channel for Node {
    async fn run(&mut self, frame: Frame, progress: Progress<'_>) -> Result<Vec<StepOutput>, LinkError> {
        let _ = (frame, progress);
        Err(LinkError::Here { detail: "not built yet".to_owned() })
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    async fn close(self) {}
}
