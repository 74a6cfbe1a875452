//! Exercise `redis_exercise`: log in, write, search and read in a corner of its own that is emptied afterwards and expires by itself.

use std::time::Duration;

use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};

use super::{
    exercise::{Exercise, ExerciseKind},
    resp::{Client, Reply},
};
use crate::{
    resource::decode,
    secret::{Sealed, SecretRef, SecretValues, generate},
    transport::{Running, Tunnel},
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "redis_exercise",
    decode: |parameters| Ok(Box::new(decode::<RedisExercise>(parameters)?)),
    parameters: &["host", "port", "password", "modules"],
    secret_parameters: &["password"],
};

const LIMIT: Duration = Duration::from_secs(30);
/// How long what is written lives if this program dies before it cleans up, in seconds.
const LIFE: &str = "60";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisExercise {
    #[serde(default = "loopback")]
    host: String,
    #[serde(default = "usual_port")]
    port: u16,
    password: Sealed,
    #[serde(default = "stack")]
    modules: Vec<Module>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Module {
    #[serde(rename = "search")]
    Search,
    #[serde(rename = "ReJSON", alias = "json")]
    Json,
    #[serde(rename = "timeseries")]
    TimeSeries,
}

fn loopback() -> String {
    "127.0.0.1".into()
}

fn usual_port() -> u16 {
    6379
}

fn stack() -> Vec<Module> {
    vec![Module::Search, Module::Json, Module::TimeSeries]
}

impl Exercise for RedisExercise {
    fn name(&self) -> String {
        format!("use Redis at {}:{}", self.host, self.port)
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, secrets: &'a SecretValues) -> Running<'a, String> {
        Box::pin(async move {
            let password = self.password.reveal(secrets).map_err(|reason| reason.to_string())?;
            let password = std::str::from_utf8(&password).map_err(|_| "the password is not text".to_owned())?;
            let socket = tunnel.open(&self.host, self.port).await?;
            let use_it = async {
                let stream = UnixStream::connect(socket).await.map_err(|error| format!("nobody listens there: {error}"))?;
                self.exercise(Client::new(stream), password).await
            };
            timeout(LIMIT, use_it).await.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
        })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.password.secrets()
    }
}

/// A connection, with complaints instead of errors.
struct Session<S>(Client<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    async fn call(&mut self, words: &[&str]) -> Result<Reply, String> {
        self.0.call(words).await.map_err(|error| format!("{}: {error}", words[0]))
    }

    async fn expect(&mut self, words: &[&str], wanted: &str) -> Result<(), String> {
        let reply = self.call(words).await?;
        if reply.is(wanted) { Ok(()) } else { Err(format!("{} gave {}, not {wanted}", words[0], reply.shown())) }
    }

    /// A server without AUTH repeats what it was sent after a comma, so no more of an error than that is shown.
    async fn authenticate(&mut self, password: &str) -> Result<Result<(), String>, String> {
        Ok(match self.call(&["AUTH", password]).await? {
            Reply::Simple(text) if text == "OK" => Ok(()),
            Reply::Error(text) => Err(text.split(',').next().unwrap_or_default().to_owned()),
            Reply::Simple(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::TooLong(_) | Reply::Array(_) => {
                Err("something else than OK".to_owned())
            }
        })
    }
}

impl RedisExercise {
    async fn exercise<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        client: Client<S>,
        password: &str,
    ) -> Result<String, String> {
        let mut session = Session(client);
        let anonymous = session.call(&["PING"]).await?;
        if !matches!(&anonymous, Reply::Error(text) if text.starts_with("NOAUTH")) {
            return Err(format!("without a password PING gave {}, not NOAUTH", anonymous.shown()));
        }
        let wrong = generate(32).map_err(|error| error.to_string())?;
        match session.authenticate(wrong.expose()).await? {
            Err(text) if text.starts_with("WRONGPASS") => {}
            Err(text) => return Err(format!("a wrong password gave `{text}`, not WRONGPASS")),
            Ok(()) => return Err("a wrong password was accepted".to_owned()),
        }
        session.authenticate(password).await?.map_err(|text| format!("the password was refused: {text}"))?;
        let marker = generate(16).map_err(|error| error.to_string())?;
        let corner = format!("autobot-provision:health:{}", marker.expose());
        let done = self.write_and_read(&mut session, &corner).await;
        // Also after a failure; but the failure is what counts then.
        let cleaned = self.clean(&mut session, &corner).await;
        done?;
        cleaned?;
        let modules: Vec<&str> = self.modules.iter().map(|module| module.command()).collect();
        let also = if modules.is_empty() { String::new() } else { format!(", {} work", modules.join(", ")) };
        Ok(format!("logged in, wrote and read; a wrong password and none are refused{also}"))
    }

    async fn write_and_read<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        session: &mut Session<S>,
        corner: &str,
    ) -> Result<(), String> {
        let [text, hash, json, series, index] = keys(corner);
        session.expect(&["SET", &text, corner, "EX", LIFE], "OK").await?;
        session.expect(&["GET", &text], corner).await?;
        if self.modules.contains(&Module::Search) {
            // An index covers database 0 only, which is where a new connection is.
            let create = ["FT.CREATE", &index, "ON", "HASH", "PREFIX", "1", &hash, "TEMPORARY", LIFE, "SCHEMA", "word", "TEXT"];
            session.expect(&create, "OK").await?;
            session.expect(&["HSET", &hash, "word", "provisioned"], "1").await?;
            session.expect(&["EXPIRE", &hash, LIFE], "1").await?;
            let found = session.call(&["FT.SEARCH", &index, "provisioned", "NOCONTENT"]).await?;
            if !matches!(&found, Reply::Array(Some(items)) if items.first().is_some_and(|count| count.is("1"))) {
                return Err(format!("FT.SEARCH gave {}, not the one document that is there", found.shown()));
            }
        }
        if self.modules.contains(&Module::Json) {
            session.expect(&["JSON.SET", &json, "$", "{\"a\":[1]}"], "OK").await?;
            session.expect(&["EXPIRE", &json, LIFE], "1").await?;
            session.expect(&["JSON.GET", &json, "$.a[0]"], "[1]").await?;
        }
        if self.modules.contains(&Module::TimeSeries) {
            session.expect(&["TS.ADD", &series, "1", "2"], "1").await?;
            session.expect(&["EXPIRE", &series, LIFE], "1").await?;
        }
        Ok(())
    }

    async fn clean<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        session: &mut Session<S>,
        corner: &str,
    ) -> Result<(), String> {
        let [text, hash, json, series, index] = keys(corner);
        session.call(&["DEL", &text, &hash, &json, &series]).await?;
        session.expect(&["EXISTS", &text, &hash, &json, &series], "0").await?;
        if self.modules.contains(&Module::Search) {
            session.expect(&["FT.DROPINDEX", &index], "OK").await?;
        }
        Ok(())
    }
}

impl Module {
    fn command(self) -> &'static str {
        match self {
            Self::Search => "FT",
            Self::Json => "JSON",
            Self::TimeSeries => "TS",
        }
    }
}

fn keys(corner: &str) -> [String; 5] {
    ["text", "hash", "json", "series", "index"].map(|name| format!("{corner}:{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

    /// Answers as Redis Stack would, one command after the other, and gives back what it was sent.
    async fn serve(stream: DuplexStream, replies: Vec<&'static str>) -> Vec<String> {
        let mut stream = BufReader::new(stream);
        let mut seen = Vec::new();
        let mut replies = replies.into_iter();
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap() > 0 {
            let mut words = Vec::new();
            for _ in 0..line.trim()[1..].parse::<usize>().unwrap() {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                let mut word = vec![0; line.trim()[1..].parse::<usize>().unwrap() + 2];
                stream.read_exact(&mut word).await.unwrap();
                words.push(String::from_utf8(word).unwrap().trim_end().to_owned());
            }
            let reply = match replies.next() {
                Some("ECHO") => format!("${}\r\n{}\r\n", words[1].len() - 5, &words[1][..words[1].len() - 5]),
                Some(reply) => format!("{reply}\r\n"),
                None => "-ERR no more\r\n".to_owned(),
            };
            seen.push(words.join(" "));
            stream.write_all(reply.as_bytes()).await.unwrap();
            line.clear();
        }
        seen
    }

    async fn run(replies: Vec<&'static str>) -> (Result<String, String>, Vec<String>) {
        let exercise: RedisExercise = decode(json!({"password": "right"})).unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(serve(theirs, replies));
        let result = exercise.exercise(Client::new(ours), "right").await;
        (result, server.await.unwrap())
    }

    const REFUSED: [&str; 3] = ["-NOAUTH Authentication required.", "-WRONGPASS invalid", "+OK"];
    const USED: [&str; 15] =
        ["+OK", "ECHO", "+OK", ":1", ":1", "*2\r\n:1\r\n$1\r\nx", "+OK", ":1", "$3\r\n[1]", ":1", ":1", ":4", ":0", "+OK", ""];

    #[tokio::test]
    async fn everything_that_is_written_is_in_one_corner_and_deleted() {
        let (result, seen) = run([REFUSED.as_slice(), &USED].concat()).await;
        insta::assert_snapshot!(result.unwrap(), @"logged in, wrote and read; a wrong password and none are refused, FT, JSON, TS work");
        let corner = seen[3].split(' ').nth(2).unwrap();
        assert!(corner.starts_with("autobot-provision:health:") && corner.len() > 30);
        assert!(seen[3..].iter().all(|command| command.split(' ').nth(1).unwrap().starts_with(corner)), "{seen:?}");
        assert_eq!(seen.len(), 17);
    }

    #[tokio::test]
    async fn a_failure_is_cleaned_up_after_and_named() {
        let (result, seen) =
            run([REFUSED.as_slice(), &["+OK", "ECHO", "-ERR unknown command 'FT.CREATE'", ":1", ":0", "-ERR no"]].concat()).await;
        assert_eq!(result.unwrap_err(), "FT.CREATE gave the error `ERR unknown command 'FT.CREATE'`, not OK");
        assert!(seen.iter().any(|command| command.starts_with("DEL ")), "{seen:?}");
    }

    #[tokio::test]
    async fn an_open_door_is_a_failure() {
        for (replies, words) in [
            (vec!["+PONG"], "without a password PING gave PONG, not NOAUTH"),
            (vec!["-NOAUTH", "+OK"], "a wrong password was accepted"),
            (
                vec!["-NOAUTH", "-ERR unknown command 'AUTH', with args beginning with: 'x'"],
                "gave `ERR unknown command 'AUTH'`, not WRONGPASS",
            ),
            (vec!["-NOAUTH", "-WRONGPASS", "-WRONGPASS no, 'right'"], "the password was refused: WRONGPASS no"),
            (vec!["-NOAUTH", "-WRONGPASS", "+OK", "-OOM full"], "SET gave the error `OOM full`"),
        ] {
            let (result, _) = run(replies).await;
            let error = result.unwrap_err();
            assert!(error.contains(words) && !error.contains("right"), "{error}");
        }
    }
}
