//! Operating a Redis that is deployed: what it holds and how it fares, and the clean-up of what is old.
//!
//! Asked through the ssh connection's tunnel by our own client. The password is read from its file on the node and stays in this process's memory.
//! What only reads takes no lock; a clean-up takes the node's, as a deploy does.

mod age;
mod asking;
mod cleanup;
mod databases;
mod key;
mod overview;
mod page;
mod place;
mod progress;
mod scan;
mod schema;
mod slowlog;

use std::time::Duration;

use tokio::{net::UnixStream, time::timeout};

pub(crate) use age::parse as parse_age;
pub use cleanup::{Cleanup, Target as CleanupTarget};
pub use databases::Sampling;
pub use page::Page;
pub use place::Place;
pub use progress::Progress;
pub use schema::Schema;

use crate::{
    script::Script,
    secret::{EnvFile, Secret, SecretValues},
    transport::{Channel as _, Frame, LinkError, Lock, Node, Step, StepError, StepOutput, Target, Transport},
};

use asking::{Asking, LONGEST_KEY, Stream};

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Question {
    /// The server as a whole.
    Info,
    /// What each database holds.
    Databases(Sampling),
    /// What the memory is used for.
    Memory,
    /// Who is connected.
    Clients,
    /// The settings that fit a pattern, or all.
    Config(Option<String>),
    /// So many of the newest slow commands.
    Slowlog(u64),
    /// To delete what is old, or to say what would be.
    Cleanup(Cleanup),
}

impl Question {
    /// Whether it writes, and so needs the node's lock.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Self::Cleanup(cleanup) => !cleanup.check,
            Self::Info | Self::Databases(_) | Self::Memory | Self::Clients | Self::Config(_) | Self::Slowlog(_) => false,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The node cannot be reached, or is held by another run.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The Redis cannot be asked, or refused.
    #[error("{0}")]
    Redis(String),
}

impl From<StepError> for Trouble {
    fn from(error: StepError) -> Self {
        Self::Redis(error.to_string())
    }
}

/// How long a connection through the tunnel may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the node may take to read a small file.
const READ_LIMIT: Duration = Duration::from_secs(20);
/// Settings, INFO and lists of clients are shorter.
const LONGEST_TEXT: usize = 32 << 20;

/// Asks the Redis of one node; `progress` tells meanwhile how far that has come.
///
/// # Errors
/// [`Trouble`]; nothing was changed unless it says so.
pub async fn ask(
    transport: &Transport,
    target: &Target,
    lock: Lock,
    place: &Place,
    question: &Question,
    progress: &Progress,
) -> Result<Page, Trouble> {
    let script = Script::new("[ -r \"$1\" ] || exit 9\nexec head -c 1048577 -- \"$1\"")
        .arg(place.secrets_file.to_string())
        .limit(READ_LIMIT);
    let step = Step::new(&script, &SecretValues::default())?;
    let (node, welcome) = transport.connect(target, lock, Frame::from(step), &mut |_| {}).await?;
    let page = answered(&node, welcome.outputs.first(), place, question, progress).await;
    node.close().await;
    page.map_err(Trouble::Redis)
}

async fn answered(
    node: &Node,
    read: Option<&StepOutput>,
    place: &Place,
    question: &Question,
    progress: &Progress,
) -> Result<Page, String> {
    let password = password(read, place)?;
    // Its end may be the end of what goes through it.
    let tunnel = node.tunnel();
    let socket = tunnel.open(&place.host, place.port).await?;
    let silent = |why: String| format!("Redis at {}:{}: {why}", place.host, place.port);
    let stream = timeout(CONNECT_LIMIT, UnixStream::connect(&socket)).await;
    let stream =
        stream.map_err(|_| silent("no answer".into()))?.map_err(|error| silent(format!("the tunnel is closed: {error}")))?;
    let longest = match question {
        Question::Databases(_) | Question::Cleanup(_) => LONGEST_KEY,
        Question::Info | Question::Memory | Question::Clients | Question::Config(_) | Question::Slowlog(_) => LONGEST_TEXT,
    };
    let refused = |why: String| silent(format!("it does not take `{}` of `{}`: {why}", place.password_key, place.secrets_file));
    // What forwards to a closed port takes the connection, and then drops it.
    let nobody = |why: String| silent(format!("nobody answers there ({why}); does it run?"));
    let mut asking = Asking::login(stream, password.expose(), longest).await.map_err(nobody)?.map_err(refused)?;
    put(&mut asking, &place.schema, question, progress).await.map_err(silent)
}

async fn put<S: Stream>(
    asking: &mut Asking<S>,
    schema: &Schema,
    question: &Question,
    progress: &Progress,
) -> Result<Page, String> {
    match question {
        Question::Info => overview::info(asking).await,
        Question::Databases(sampling) => databases::run(asking, schema, *sampling, progress).await,
        Question::Memory => overview::memory(asking).await,
        Question::Clients => overview::clients(asking).await,
        Question::Config(matching) => overview::config(asking, matching.as_deref()).await,
        Question::Slowlog(most) => slowlog::run(asking, *most).await,
        Question::Cleanup(cleanup) => cleanup::run(asking, schema, *cleanup, progress).await,
    }
}

/// The password, from what the node read.
fn password(read: Option<&StepOutput>, place: &Place) -> Result<Secret, String> {
    let (file, key) = (&place.secrets_file, &place.password_key);
    let read = read.ok_or_else(|| format!("the node did not read `{file}`"))?;
    match read.status {
        0 => {}
        9 => return Err(format!("`{file}` is not there or cannot be read: nothing was deployed yet, or it was lost")),
        _ => return Err(format!("cannot read `{file}`: {}", String::from_utf8_lossy(&read.stderr).trim())),
    }
    let parsed = EnvFile::parse(&read.stdout).map_err(|error| format!("`{file}` cannot be trusted: {error}"))?;
    parsed.get(key).cloned().ok_or_else(|| format!("`{key}` is not in `{file}`: nothing was deployed yet, or it was lost"))
}
