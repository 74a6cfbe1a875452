//! A client for Redis's protocol, RESP2 (redis.io, "Redis serialization protocol specification"), as much of it as an exercise needs.

use std::{future::Future, io, pin::Pin};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

/// Longer replies, and arrays with more items, are no answer to anything that is asked here.
const LONGEST: usize = 1 << 20;
const DEEPEST: usize = 8;

/// What the server replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$5`, bytes; `None` is "nothing there".
    Bulk(Option<Vec<u8>>),
    /// `*2`, replies; `None` is "nothing there".
    Array(Option<Vec<Reply>>),
}

impl Reply {
    /// The reply for people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Error(text) => format!("the error `{text}`"),
            Self::Integer(number) => number.to_string(),
            Self::Bulk(None) | Self::Array(None) => "nothing".to_owned(),
            Self::Bulk(Some(bytes)) => format!("`{}`", String::from_utf8_lossy(bytes)),
            Self::Array(Some(items)) => format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Whether it is this text, in whichever form.
    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Simple(simple) => simple == text,
            Self::Bulk(bytes) => bytes.as_deref() == Some(text.as_bytes()),
            Self::Integer(number) => number.to_string() == text,
            Self::Error(_) | Self::Array(_) => false,
        }
    }
}

/// A connection.
pub(super) struct Client<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// When the connection ends or what comes is not RESP2.
    pub(super) async fn call(&mut self, words: &[&str]) -> io::Result<Reply> {
        let mut command = zeroize::Zeroizing::new(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word.as_bytes());
            command.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&command).await?;
        self.stream.flush().await?;
        self.reply(DEEPEST).await
    }

    fn reply(&mut self, depth: usize) -> Pin<Box<dyn Future<Output = io::Result<Reply>> + Send + '_>> {
        Box::pin(async move {
            let line = self.line().await?;
            let (kind, rest) = line.split_at_checked(1).ok_or_else(|| broken("an empty line"))?;
            Ok(match kind {
                "+" => Reply::Simple(rest.to_owned()),
                "-" => Reply::Error(rest.to_owned()),
                ":" => Reply::Integer(rest.parse().map_err(|_| broken("a number that is none"))?),
                "$" => Reply::Bulk(match length(rest)? {
                    Some(length) => Some(self.bytes(length).await?),
                    None => None,
                }),
                "*" if depth == 0 => return Err(broken("arrays in arrays without end")),
                "*" => Reply::Array(match length(rest)? {
                    Some(length) => {
                        let mut items = Vec::new();
                        for _ in 0..length {
                            items.push(self.reply(depth - 1).await?);
                        }
                        Some(items)
                    }
                    None => None,
                }),
                _ => return Err(broken("something else than RESP2")),
            })
        })
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(LONGEST as u64).read_until(b'\n', &mut line).await?;
        let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    async fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).await?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn length(text: &str) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    text.parse().ok().filter(|length| *length <= LONGEST).map(Some).ok_or_else(|| broken("a length that makes no sense"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reply(bytes: &[u8]) -> io::Result<Reply> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(bytes).await?;
        theirs.shutdown().await?;
        Client::new(ours).reply(DEEPEST).await
    }

    #[tokio::test]
    async fn reads_every_kind_of_reply() {
        let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
        assert_eq!(reply(b"+OK\r\n").await.unwrap(), Reply::Simple("OK".into()));
        assert_eq!(reply(b"-NOAUTH no\r\n").await.unwrap(), Reply::Error("NOAUTH no".into()));
        assert_eq!(reply(b"$5\r\na\r\nb\0\r\n").await.unwrap(), bulk("a\r\nb\0"));
        let nested = reply(b"*3\r\n:-1\r\n*-1\r\n*2\r\n$0\r\n\r\n$-1\r\n").await.unwrap();
        let inner = Reply::Array(Some(vec![bulk(""), Reply::Bulk(None)]));
        assert_eq!(nested, Reply::Array(Some(vec![Reply::Integer(-1), Reply::Array(None), inner])));
        assert_eq!(nested.shown(), "[-1, nothing, [``, nothing]]");
    }

    #[tokio::test]
    async fn nonsense_and_broken_connections_are_errors() {
        let endless = b"*1\r\n".repeat(100);
        for bytes in [
            b"".as_slice(),
            b"+OK",
            b"?\r\n",
            b"\r\n",
            b"$99999999999\r\n",
            b"$5\r\nab",
            b"*-2\r\n",
            b":x\r\n",
            b"HTTP/1.1 400\r\n",
            &endless,
        ] {
            assert!(reply(bytes).await.is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[tokio::test]
    async fn a_command_is_an_array_of_its_words() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(b"+OK\r\n").await.unwrap();
        assert!(Client::new(ours).call(&["SET", "k\r\n", ""]).await.unwrap().is("OK"));
        let mut sent = String::new();
        theirs.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    }
}
