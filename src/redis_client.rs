//! A client for the part of Redis's protocol RESP2 (redis.io, "Redis serialization protocol specification") that this program needs.

use std::{future::Future, io, pin::Pin};

use tokio::io::{
    AsyncBufRead as _, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use zeroize::Zeroizing;

/// The longest line in bytes, and the most items of an array. No command of this program has a longer reply.
const LONGEST: usize = 1 << 20;
/// The longest value that Redis stores (`proto-max-bulk-len`).
const LONGEST_VALUE: usize = 512 << 20;
const DEEPEST: usize = 8;
/// How much is read at once.
const BUFFER: usize = 64 << 10;

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$5` and bytes; `None` for a missing value.
    Bulk(Option<Vec<u8>>),
    /// `$2000000`: a value of so many bytes, which was discarded because it is longer than the client's limit.
    TooLong(usize),
    /// `*2` and replies; `None` for a missing value.
    Array(Option<Vec<Reply>>),
}

impl Reply {
    /// Formats the reply for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Error(text) => format!("the error `{text}`"),
            Self::Integer(number) => number.to_string(),
            Self::Bulk(None) | Self::Array(None) => "nothing".to_owned(),
            Self::Bulk(Some(bytes)) => format!("`{}`", String::from_utf8_lossy(bytes)),
            Self::TooLong(length) => format!("{length} bytes"),
            Self::Array(Some(items)) => format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Returns whether the reply is this text, as a simple string, a bulk string or an integer.
    pub(crate) fn is(&self, text: &str) -> bool {
        match self {
            Self::Simple(simple) => simple == text,
            Self::Bulk(bytes) => bytes.as_deref() == Some(text.as_bytes()),
            Self::Integer(number) => number.to_string() == text,
            Self::Error(_) | Self::TooLong(_) | Self::Array(_) => false,
        }
    }
}

/// Commands in the form in which they are sent. They may include AUTH with a password.
#[derive(Default)]
pub(crate) struct Commands {
    bytes: Zeroizing<Vec<u8>>,
    count: usize,
}

impl Commands {
    /// Adds a command.
    pub(crate) fn add<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        self.header(b'*', words.len());
        for word in words.iter().map(AsRef::as_ref) {
            self.header(b'$', word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.count += 1;
    }

    /// How many there are: the server sends so many replies.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn header(&mut self, kind: u8, length: usize) {
        let mut digits = [0; 20];
        let (mut at, mut left) = (digits.len(), length);
        loop {
            at -= 1;
            // A digit.
            digits[at] = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// A connection.
pub(crate) struct Client<S> {
    stream: BufReader<S>,
    longest: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream: BufReader::with_capacity(BUFFER, stream), longest: LONGEST }
    }

    /// Sets the limit in bytes above which a string of a reply is discarded.
    pub(crate) fn keeping(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// Sends a command and returns its reply.
    ///
    /// # Errors
    /// Returns an error when the connection ends or the reply is not RESP2.
    pub(crate) async fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        let mut command = Commands::default();
        command.add(words);
        self.send(&command).await?;
        self.next_reply().await
    }

    /// Sends several commands at once and returns one reply for each.
    ///
    /// # Errors
    /// Returns an error when the connection ends or the reply is not RESP2.
    pub(crate) async fn pipeline<W: AsRef<[u8]>>(&mut self, commands: &[Vec<W>]) -> io::Result<Vec<Reply>> {
        let mut all = Commands::default();
        for words in commands {
            all.add(words);
        }
        self.send(&all).await?;
        self.replies(all.count()).await
    }

    /// Sends commands, and does not wait for their replies.
    ///
    /// # Errors
    /// Returns an error when the connection ends.
    pub(crate) async fn send(&mut self, commands: &Commands) -> io::Result<()> {
        self.stream.write_all(&commands.bytes).await?;
        self.stream.flush().await
    }

    /// Returns the reply to the next command that was sent.
    ///
    /// # Errors
    /// Returns an error when the connection ends or the reply is not RESP2.
    pub(crate) async fn next_reply(&mut self) -> io::Result<Reply> {
        match self.at_hand() {
            Some(reply) => Ok(reply),
            None => self.reply(DEEPEST).await,
        }
    }

    /// Returns the replies to the next commands that were sent.
    ///
    /// # Errors
    /// Returns an error when the connection ends or a reply is not RESP2.
    pub(crate) async fn replies(&mut self, count: usize) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(self.next_reply().await?);
        }
        Ok(replies)
    }

    /// Takes a number or a text that was read already as a whole: of these there are very many. Anything else takes the long way.
    fn at_hand(&mut self) -> Option<Reply> {
        let buffer = self.stream.buffer();
        let kind = *buffer.first()?;
        if kind != b':' && kind != b'$' {
            return None;
        }
        let end = memchr::memchr(b'\n', buffer)?;
        let number = std::str::from_utf8(buffer[1..end].strip_suffix(b"\r")?).ok()?;
        let (reply, used) = if kind == b':' {
            (Reply::Integer(number.parse().ok()?), end + 1)
        } else {
            let length = length(number, self.longest).ok()??;
            let value = buffer.get(end + 1..end + 1 + length)?;
            (Reply::Bulk(Some(value.to_vec())), end + length + 3)
        };
        if used > buffer.len() {
            return None;
        }
        Pin::new(&mut self.stream).consume(used);
        Some(reply)
    }

    fn reply(&mut self, depth: usize) -> Pin<Box<dyn Future<Output = io::Result<Reply>> + Send + '_>> {
        Box::pin(async move {
            let line = self.line().await?;
            let (kind, rest) = line.split_at_checked(1).ok_or_else(|| malformed("an empty line"))?;
            Ok(match kind {
                "+" => Reply::Simple(rest.to_owned()),
                "-" => Reply::Error(rest.to_owned()),
                ":" => Reply::Integer(rest.parse().map_err(|_| malformed("an invalid number"))?),
                "$" => match length(rest, LONGEST_VALUE)? {
                    Some(length) if length > self.longest => {
                        self.skip(length).await?;
                        Reply::TooLong(length)
                    }
                    Some(length) => Reply::Bulk(Some(self.bytes(length).await?)),
                    None => Reply::Bulk(None),
                },
                "*" if depth == 0 => return Err(malformed("arrays that are nested too deeply")),
                "*" => Reply::Array(match length(rest, LONGEST)? {
                    Some(length) => {
                        let mut items = Vec::new();
                        for _ in 0..length {
                            let item = match self.at_hand() {
                                Some(item) => item,
                                None => self.reply(depth - 1).await?,
                            };
                            items.push(item);
                        }
                        Some(items)
                    }
                    None => None,
                }),
                _ => return Err(malformed("data that is not RESP2")),
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

    async fn skip(&mut self, length: usize) -> io::Result<()> {
        let wanted = length as u64 + 2;
        let skipped = tokio::io::copy(&mut (&mut self.stream).take(wanted), &mut tokio::io::sink()).await?;
        if skipped == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn length(text: &str, most: usize) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    text.parse().ok().filter(|length| *length <= most).map(Some).ok_or_else(|| malformed("an invalid length"))
}

fn malformed(what: &str) -> io::Error {
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
    async fn malformed_replies_and_broken_connections_are_errors() {
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
    async fn a_value_over_the_limit_is_skipped() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 22);
        let long = format!("${}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
        theirs.write_all(format!("*2\r\n{long}$1\r\nk\r\n:7\r\n$9\r\ncut").as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut client = Client::new(ours).keeping(8);
        let kept = Reply::Array(Some(vec![Reply::TooLong(1 << 20), Reply::Bulk(Some(b"k".to_vec()))]));
        assert_eq!(client.pipeline(&[vec!["A"], vec!["B"]]).await.unwrap(), [kept, Reply::Integer(7)]);
        assert!(client.reply(DEEPEST).await.is_err());
    }

    /// A reply that arrives in any two pieces is the same.
    #[tokio::test]
    async fn replies_may_be_cut_anywhere() {
        let bytes = b":-12\r\n$4\r\na\r\nb\r\n$-1\r\n*3\r\n$1\r\nx\r\n:7\r\n$0\r\n\r\n$3\r\n";
        let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
        let wanted = [
            Reply::Integer(-12),
            bulk("a\r\nb"),
            Reply::Bulk(None),
            Reply::Array(Some(vec![bulk("x"), Reply::Integer(7), bulk("")])),
        ];
        for cut in 0..bytes.len() {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let mut client = Client::new(ours);
            let mut begun = std::pin::pin!(client.replies(4));
            let (first, rest) = bytes.split_at(cut);
            theirs.write_all(first).await.unwrap();
            let early = tokio::time::timeout(std::time::Duration::ZERO, &mut begun).await;
            theirs.write_all(rest).await.unwrap();
            let replies = match early {
                Ok(replies) => replies,
                Err(_) => begun.await,
            };
            assert_eq!(replies.unwrap(), wanted, "cut at {cut}");
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
