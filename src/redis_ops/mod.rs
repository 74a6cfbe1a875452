//! Operates a deployed Redis: reports what it contains and how it is doing, and deletes old keys.
//!
//! Commands go through a tunnel of the ssh connection, with our own client. The password is read from its file on the node and stays in the memory
//! of this process. Operations that only read take no lock; a cleanup takes the node's lock, as a deploy does.

mod age;
mod cleanup;
mod databases;
mod key;
mod overview;
pub mod page;
mod place;
mod progress;
mod scan;
mod schema;
mod session;
mod slowlog;

use std::time::Duration;

use tokio::{net::UnixStream, time::timeout};

pub(crate) use age::parse as parse_age;
pub use cleanup::{Cleanup, Target as CleanupTarget};
pub use databases::Sampling;
pub use page::Page;
pub use place::RedisServer;
pub use progress::ScanProgress;
pub use schema::Schema;

use crate::{
    script::Script,
    secret::{EnvFile, Secret, SecretValues},
    transport::{Channel as _, Frame, LinkError, Lock, NodeShell, Step, StepError, StepOutput, Target, Transport},
};

use session::{LONGEST_KEY, RedisSession, Stream};

/// An operation on a Redis.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Reports the state of the server.
    Info,
    /// Reports the contents of each database.
    Databases(Sampling),
    /// Reports the memory usage.
    Memory,
    /// Lists the connected clients.
    Clients,
    /// Lists the settings that match a pattern, or all of them.
    Config(Option<String>),
    /// Lists the newest slow commands, at most this many.
    Slowlog(u64),
    /// Deletes old keys, or reports which would be deleted.
    Cleanup(Cleanup),
}

impl Operation {
    /// Whether it writes and therefore needs the node's lock.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Self::Cleanup(cleanup) => !cleanup.check,
            Self::Info | Self::Databases(_) | Self::Memory | Self::Clients | Self::Config(_) | Self::Slowlog(_) => false,
        }
    }
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The node cannot be reached, or is held by another run.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Redis could not be queried, or returned an error.
    #[error("{0}")]
    Redis(String),
}

impl From<StepError> for OperationError {
    fn from(error: StepError) -> Self {
        Self::Redis(error.to_string())
    }
}

/// How long a connection through the tunnel may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the node may take to read a small file.
const READ_LIMIT: Duration = Duration::from_secs(20);
/// The longest text that is kept of a reply, in bytes. Settings, INFO and lists of clients are shorter.
const MAX_TEXT: usize = 32 << 20;

/// Runs an operation on the Redis of one node; `progress` is updated meanwhile.
///
/// # Errors
/// [`OperationError`]; nothing was changed unless the error says so.
pub async fn run(
    transport: &Transport,
    target: &Target,
    lock: Lock,
    place: &RedisServer,
    question: &Operation,
    progress: &ScanProgress,
) -> Result<Page, OperationError> {
    let script = Script::new("[ -r \"$1\" ] || exit 9\nexec head -c 1048577 -- \"$1\"")
        .arg(place.secrets_file.to_string())
        .limit(READ_LIMIT);
    let step = Step::new(&script, &SecretValues::default())?;
    let (node, welcome) = transport.connect(target, lock, Frame::from(step), &mut |_| {}).await?;
    let page = query(&node, welcome.outputs.first(), place, question, progress).await;
    node.close().await;
    page.map_err(OperationError::Redis)
}

async fn query(
    node: &NodeShell,
    read: Option<&StepOutput>,
    place: &RedisServer,
    question: &Operation,
    progress: &ScanProgress,
) -> Result<Page, String> {
    let password = password(read, place)?;
    // The tunnel must outlive the connection through it.
    let tunnel = node.tunnel();
    let socket = tunnel.open(&place.host, place.port).await?;
    let in_redis = |why: String| format!("Redis at {}:{}: {why}", place.host, place.port);
    let stream = timeout(CONNECT_LIMIT, UnixStream::connect(&socket)).await;
    let stream =
        stream.map_err(|_| in_redis("no answer".into()))?.map_err(|error| in_redis(format!("the tunnel is closed: {error}")))?;
    let longest = match question {
        Operation::Databases(_) | Operation::Cleanup(_) => LONGEST_KEY,
        Operation::Info | Operation::Memory | Operation::Clients | Operation::Config(_) | Operation::Slowlog(_) => MAX_TEXT,
    };
    let refused = |why: String| in_redis(format!("it rejected `{}` from `{}`: {why}", place.password_key, place.secrets_file));
    // A forward to a closed port accepts the connection, and then drops it.
    let no_server =
        |why: String| in_redis(tunnel.shut().unwrap_or_else(|| format!("there is no answer ({why}); is it running?")));
    let mut session = RedisSession::login(stream, password.expose(), longest).await.map_err(no_server)?.map_err(refused)?;
    dispatch(&mut session, &place.schema, question, progress).await.map_err(in_redis)
}

async fn dispatch<S: Stream>(
    session: &mut RedisSession<S>,
    schema: &Schema,
    question: &Operation,
    progress: &ScanProgress,
) -> Result<Page, String> {
    match question {
        Operation::Info => overview::info(session).await,
        Operation::Databases(sampling) => databases::run(session, schema, *sampling, progress).await,
        Operation::Memory => overview::memory(session).await,
        Operation::Clients => overview::clients(session).await,
        Operation::Config(pattern) => overview::config(session, pattern.as_deref()).await,
        Operation::Slowlog(limit) => slowlog::run(session, *limit).await,
        Operation::Cleanup(cleanup) => cleanup::run(session, schema, *cleanup, progress).await,
    }
}

/// Returns the password from the file that the node read.
fn password(read: Option<&StepOutput>, place: &RedisServer) -> Result<Secret, String> {
    let (file, key) = (&place.secrets_file, &place.password_key);
    let read = read.ok_or_else(|| format!("the node did not read `{file}`"))?;
    match read.status {
        0 => {}
        9 => {
            return Err(format!(
                "`{file}` does not exist or cannot be read: the role was not deployed yet, or the file was lost"
            ));
        }
        _ => return Err(format!("cannot read `{file}`: {}", read.stderr.text().trim())),
    }
    let whole = read.stdout.whole().map_err(|error| format!("cannot read `{file}`: {error}"))?;
    let parsed = EnvFile::parse(whole).map_err(|error| error.of_file(file))?;
    parsed
        .get(key)
        .cloned()
        .ok_or_else(|| format!("`{key}` is not in `{file}`: the role was not deployed yet, or the key was lost"))
}
