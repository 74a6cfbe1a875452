//! A session with a Redis server: commands with a time limit, and errors as text.

use std::{future::Future, io, time::Duration};

use indexmap::IndexMap;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::redis_client::{Client, Commands, Reply};

/// How long a command, or a batch of commands, may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A stream of bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is logged in.
pub(super) struct RedisSession<S> {
    client: Client<S>,
}

/// The sections of INFO, with their fields in the server's order. In the section `modules`, fields are `NAME: VERSION`.
pub(super) type Info = IndexMap<String, IndexMap<String, String>>;

impl<S: Stream> RedisSession<S> {
    /// Logs in. Strings longer than `longest` bytes in replies are discarded.
    ///
    /// # Errors
    /// There is no answer. A refusal by the server is the inner error. Neither contains the password.
    pub(super) async fn login(stream: S, password: &str, longest: usize) -> Result<Result<Self, String>, String> {
        let mut session = Self { client: Client::new(stream).keeping(longest) };
        Ok(match with_time_limit("AUTH", session.client.call(&["AUTH", password])).await? {
            Reply::Simple(text) if text == "OK" => Ok(session),
            // A server without AUTH repeats what it was sent after a comma.
            Reply::Error(text) => Err(text.split(',').next().unwrap_or_default().replace(password, "…")),
            other @ (Reply::Simple(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::TooLong(_) | Reply::Array(_)) => {
                Err(format!("AUTH returned {}, not OK", other.shown()))
            }
        })
    }

    /// Runs a command and returns its reply. An error reply is an error.
    pub(super) async fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Reply, String> {
        let name = words.first().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).unwrap_or_default();
        match with_time_limit(&name, self.client.call(words)).await? {
            Reply::Error(text) => Err(format!("{name} returned the error `{text}`")),
            reply @ (Reply::Simple(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::TooLong(_) | Reply::Array(_)) => Ok(reply),
        }
    }

    /// Sends commands at once and returns their replies; error replies are left to the caller.
    pub(super) async fn pipeline<W: AsRef<[u8]>>(&mut self, commands: &[Vec<W>]) -> Result<Vec<Reply>, String> {
        with_time_limit("a batch of commands", self.client.pipeline(commands)).await
    }

    /// Sends commands, and does not wait for their replies: the server works meanwhile.
    pub(super) async fn send(&mut self, commands: &Commands) -> Result<(), String> {
        with_time_limit("a batch of commands", self.client.send(commands)).await
    }

    /// Returns the replies to the next commands that were sent; error replies are left to the caller.
    pub(super) async fn replies(&mut self, count: usize) -> Result<Vec<Reply>, String> {
        with_time_limit("a batch of commands", self.client.replies(count)).await
    }

    /// Switches the connection to another database.
    pub(super) async fn select(&mut self, database: u32) -> Result<(), String> {
        self.call(&["SELECT", &database.to_string()]).await.map(|_| ())
    }

    /// Returns sections of INFO; the default ones if none are named.
    pub(super) async fn info(&mut self, sections: &[&str]) -> Result<Info, String> {
        let mut info = Info::new();
        // Before Redis 7, INFO accepted only one section. The command is cheap.
        let sections: &[&str] = if sections.is_empty() { &["default"] } else { sections };
        for section in sections {
            let text = self.call(&["INFO", section]).await?;
            read_info(&text_of(&text).ok_or("INFO returned no text")?, &mut info);
        }
        Ok(info)
    }

    /// Runs one step of SCAN; returns the next cursor, the keys, and how many keys were too long.
    pub(super) async fn scan(&mut self, cursor: &[u8], pattern: Option<&str>) -> Result<Step, String> {
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor];
        if let Some(pattern) = pattern {
            words.extend([b"MATCH".as_slice(), pattern.as_bytes()]);
        }
        let count = BATCH.to_string();
        words.extend([b"COUNT".as_slice(), count.as_bytes()]);
        keys_of_scan(self.call(&words).await?)
    }
}

/// Adds one step of SCAN over all keys.
pub(super) fn add_scan(commands: &mut Commands, cursor: &[u8]) {
    commands.add(&[b"SCAN", cursor, b"COUNT", BATCH.to_string().as_bytes()]);
}

/// What one step of SCAN has found: the next cursor, the keys, and how many keys were too long.
pub(super) type Step = (Vec<u8>, Vec<Vec<u8>>, u64);

/// Reads the reply to one step of SCAN.
pub(super) fn keys_of_scan(reply: Reply) -> Result<Step, String> {
    let parts = match reply {
        Reply::Array(Some(parts)) => parts,
        Reply::Error(text) => return Err(format!("SCAN returned the error `{text}`")),
        Reply::Simple(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::TooLong(_) | Reply::Array(None) => {
            return Err("SCAN returned no list".to_owned());
        }
    };
    let Ok([Reply::Bulk(Some(cursor)), Reply::Array(Some(items))]) = <[Reply; 2]>::try_from(parts) else {
        return Err("SCAN did not return a cursor and keys".to_owned());
    };
    let (mut keys, mut too_long) = (Vec::with_capacity(items.len()), 0);
    for item in items {
        match item {
            Reply::Bulk(Some(key)) => keys.push(key),
            Reply::TooLong(_) => too_long += 1,
            Reply::Simple(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Bulk(None) | Reply::Array(_) => {}
        }
    }
    Ok((cursor, keys, too_long))
}

/// How many keys SCAN examines in one step: this takes a few milliseconds of the server's time at most.
pub(super) const BATCH: u64 = 1000;
/// The cursor with which SCAN begins and ends.
pub(super) const BEGIN: &[u8] = b"0";
/// The longest key that is examined, in bytes. Longer keys are only counted, so that a batch fits into memory.
pub(super) const LONGEST_KEY: usize = 1 << 16;

/// Returns the text of a reply.
pub(super) fn text_of(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Simple(text) => Some(text.clone()),
        Reply::Bulk(Some(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Reply::Integer(number) => Some(number.to_string()),
        Reply::Error(_) | Reply::Bulk(None) | Reply::TooLong(_) | Reply::Array(_) => None,
    }
}

/// Returns the number in a reply.
pub(super) fn number_of(reply: &Reply) -> Option<i64> {
    if let Reply::Integer(number) = reply { Some(*number) } else { text_of(reply)?.parse().ok() }
}

/// Returns the pairs of a reply that lists names and values alternately.
pub(super) fn pairs_of(reply: &Reply) -> Vec<(String, &Reply)> {
    let Reply::Array(Some(items)) = reply else { return Vec::new() };
    items.chunks_exact(2).filter_map(|pair| Some((text_of(&pair[0])?, &pair[1]))).collect()
}

async fn with_time_limit<T>(what: &str, command: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(LIMIT, command).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(format!("{what}: the server closed the connection"))
        }
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {} s", LIMIT.as_secs())),
    }
}

/// Parses the output of INFO (`# Section`, then `field:value` lines) into `info`.
fn read_info(text: &str, info: &mut Info) {
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            section = name.trim().to_ascii_lowercase();
        } else if let Some((field, value)) = line.split_once(':') {
            let (field, value) = match value.strip_prefix("name=") {
                // There is one `module:name=search,ver=21005,...` for each module.
                Some(module) if field == "module" => {
                    let (name, rest) = module.split_once(',').unwrap_or((module, ""));
                    (name, rest.split(',').find_map(|part| part.strip_prefix("ver=")).unwrap_or_default())
                }
                Some(_) | None => (field, value),
            };
            info.entry(section.clone()).or_default().insert(field.to_owned(), value.to_owned());
        }
    }
}

/// Returns a field of INFO, or an empty text.
pub(super) fn field<'a>(info: &'a Info, section: &str, name: &str) -> &'a str {
    info.get(section).and_then(|fields| fields.get(name)).map_or("", String::as_str)
}

/// Returns a number from INFO's text about a database (`keys=3,expires=1,avg_ttl=0`), or 0 if it is missing.
pub(super) fn keyspace_number(text: &str, name: &str) -> u64 {
    text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or_default()
}

/// Returns the databases that contain keys, with the number of keys, from the section `keyspace` of INFO.
pub(super) fn keys_of(info: &Info) -> impl Iterator<Item = (u32, u64)> {
    let keyspace = info.get("keyspace").into_iter().flatten();
    keyspace.filter_map(|(name, text)| Some((name.strip_prefix("db")?.parse().ok()?, keyspace_number(text, "keys"))))
}

/// Returns a field of INFO as a number.
pub(super) fn number(info: &Info, section: &str, name: &str) -> Option<u64> {
    field(info, section, name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn info_is_parsed_by_sections() {
        let mut info = Info::new();
        read_info(
            "# Server\r\nredis_version:7.4.1\r\nexecutable:/a:b\r\n\r\n# Modules\r\nmodule:name=search,ver=21005,api=1\r\nmodule:name=ReJSON,ver=20803\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=9\r\n",
            &mut info,
        );
        assert_eq!((field(&info, "server", "executable"), field(&info, "modules", "ReJSON")), ("/a:b", "20803"));
        assert_eq!((field(&info, "keyspace", "db0"), field(&info, "x", "y")), ("keys=3,expires=1,avg_ttl=9", ""));
    }

    async fn login(reply: &str) -> Result<(), String> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(reply.as_bytes()).await.unwrap();
        let login = RedisSession::login(ours, "pass,word", 100).await.unwrap().map(|_| ());
        let mut sent = vec![0; 4096];
        let read = theirs.read(&mut sent).await.unwrap();
        assert!(sent[..read].ends_with(b"pass,word\r\n"));
        login
    }

    #[tokio::test]
    async fn a_refused_password_is_not_repeated() {
        assert_eq!(login("+OK\r\n").await, Ok(()));
        for reply in [
            "-WRONGPASS no\r\n",
            "-ERR unknown command 'AUTH', with args beginning with: 'pass,word'\r\n",
            "-ERR pass,word\r\n",
            ":1\r\n",
        ] {
            let error = login(reply).await.unwrap_err();
            assert!(!error.contains("word"), "{error}");
        }
    }
}
