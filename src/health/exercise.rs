//! What an exercise is: something that a client would do, done once and cleaned up after.

use std::{fmt::Debug, future::Future, path::PathBuf, pin::Pin};

use crate::{
    resource::Wrong,
    secret::{SecretRef, SecretValues},
};

/// A future of a trait object.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A way to what listens on a node.
pub trait Tunnel: Send + Sync {
    /// Forwards a Unix socket on the controller to `host`:`port` as seen from the node, and says where the socket is.
    ///
    /// The socket lies in a directory that no other user may enter, and is named `.s.PGSQL.<port>`, because PostgreSQL's clients choose the name
    /// themselves. It stays until the tunnel is dropped.
    ///
    /// # Errors
    /// Why there is no way, for the reader.
    fn open<'a>(&'a self, host: &'a str, port: u16) -> Running<'a, PathBuf>;
}

/// Something that a client of a database would do.
pub trait Exercise: Debug + Send + Sync {
    /// A few words for the reader.
    fn name(&self) -> String;

    /// Does it through the tunnel and says what worked, or what did not. Neither holds a secret.
    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, secrets: &'a SecretValues) -> Running<'a, String>;

    /// The secrets that it needs.
    fn secrets(&self) -> Vec<SecretRef>;
}

/// A kind of exercise, as the loader knows it.
#[derive(Debug)]
pub struct ExerciseKind {
    /// The word in a role file, such as `postgresql_login`.
    pub name: &'static str,
    /// Makes the exercise from its rendered parameters (JSON; secrets are tokens within strings).
    pub decode: fn(serde_json::Value) -> Result<Box<dyn Exercise>, Wrong>,
    /// The parameters' names, for did-you-mean.
    pub parameters: &'static [&'static str],
    /// The parameters that hold secrets.
    pub secret_parameters: &'static [&'static str],
}
