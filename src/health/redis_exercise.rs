//! Exercise `redis_exercise`: logs in, writes, searches and reads keys under a unique prefix. The keys are deleted afterwards and expire in any case.

use std::time::Duration;

use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};

use super::Finding;
use super::exercise::{Exercise, ExerciseKind};
use crate::{
    question::redis::bound_host,
    redis_client::{Client, Reply},
    resource::{
        decode,
        schema::{parameters, words},
    },
    secret::{Sealed, SecretId, SecretValues, generate},
    transport::{Running, Tunnel},
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "redis_exercise",
    about: "Writes a marked key that expires, searches, and is refused with a wrong password",
    example: r#"exercise:
  redis_exercise: {password: "{{ secrets.REDIS_PASSWORD }}"}"#,
    decode: |parameters| Ok(Box::new(decode::<RedisExercise>(parameters)?)),
    declared: RedisExercise::declared,
};

const LIMIT: Duration = Duration::from_secs(30);
/// The lifetime of the keys in seconds, in case this program ends before it deletes them.
const TTL: &str = "60";

parameters! {
    #[derive(Debug)]
    struct RedisExercise {
        /// The server's address, as seen from the node; by default, one of `bind`.
        host: Option<String>,
        /// The addresses of its `bind`: one of them is tried, which is loopback where it listens there.
        bind: String = "",
        /// The server's port.
        port: u16 = 6379,
        /// Its password.
        password: Sealed,
        /// The modules that are tried.
        modules: Vec<Module> = ["search", "ReJSON", "timeseries"],
    }
}

words!(Module);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Module {
    #[serde(rename = "search")]
    Search,
    #[serde(rename = "ReJSON", alias = "json")]
    Json,
    #[serde(rename = "timeseries")]
    TimeSeries,
}

impl RedisExercise {
    fn host(&self) -> String {
        self.host.clone().unwrap_or_else(|| bound_host(&self.bind))
    }
}

impl Exercise for RedisExercise {
    fn name(&self) -> String {
        format!("use Redis at {}:{}", self.host(), self.port)
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, secrets: &'a SecretValues) -> Running<'a, Finding> {
        Box::pin(async move {
            let password = self.password.reveal(secrets).map_err(|reason| reason.to_string())?;
            let password = std::str::from_utf8(&password).map_err(|_| "the password is not UTF-8 text".to_owned())?;
            let socket = tunnel.open(&self.host(), self.port).await?;
            let exercise = async {
                let stream = UnixStream::connect(socket).await.map_err(|error| format!("nothing listens there: {error}"))?;
                self.exercise(Client::new(stream), password).await
            };
            let done = timeout(LIMIT, exercise).await.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())));
            done.map(Finding::Healthy)
        })
    }

    fn secrets(&self) -> Vec<SecretId> {
        self.password.secrets()
    }
}

/// A connection whose errors are texts for people.
struct Session<S>(Client<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    async fn call(&mut self, words: &[&str]) -> Result<Reply, String> {
        self.0.call(words).await.map_err(|error| format!("{}: {error}", words[0]))
    }

    async fn expect(&mut self, words: &[&str], wanted: &str) -> Result<(), String> {
        let reply = self.call(words).await?;
        if reply.is(wanted) { Ok(()) } else { Err(format!("{} returned {}, not {wanted}", words[0], reply.shown())) }
    }

    /// Sends the password. A server without AUTH repeats its arguments after a comma, so only the part of an error before a comma is returned.
    async fn authenticate(&mut self, password: &str) -> Result<Result<(), String>, String> {
        Ok(match self.call(&["AUTH", password]).await? {
            Reply::Simple(text) if text == "OK" => Ok(()),
            Reply::Error(text) => Err(text.split(',').next().unwrap_or_default().to_owned()),
            Reply::Simple(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::TooLong(_) | Reply::Array(_) => {
                Err("a reply other than OK".to_owned())
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
            return Err(format!("without a password PING returned {}, not NOAUTH", anonymous.shown()));
        }
        let wrong_password = generate(32).map_err(|error| error.to_string())?;
        match session.authenticate(wrong_password.expose()).await? {
            Err(text) if text.starts_with("WRONGPASS") => {}
            Err(text) => return Err(format!("a wrong password returned `{text}`, not WRONGPASS")),
            Ok(()) => return Err("a wrong password was accepted".to_owned()),
        }
        session.authenticate(password).await?.map_err(|text| format!("the password was refused: {text}"))?;
        let marker = generate(16).map_err(|error| error.to_string())?;
        let prefix = format!("autobot-provision:health:{}", marker.expose());
        let done = self.write_and_read(&mut session, &prefix).await;
        // The keys are deleted after a failure as well, but then the failure is reported.
        let cleaned = self.clean(&mut session, &prefix).await;
        done?;
        cleaned?;
        let modules: Vec<&str> = self.modules.iter().map(|module| module.command()).collect();
        let module_list = if modules.is_empty() { String::new() } else { format!(", {} work", modules.join(", ")) };
        Ok(format!("logged in, wrote and read; a wrong password and none are refused{module_list}"))
    }

    async fn write_and_read<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        session: &mut Session<S>,
        prefix: &str,
    ) -> Result<(), String> {
        let [text, hash, json, series, index] = keys(prefix);
        session.expect(&["SET", &text, prefix, "EX", TTL], "OK").await?;
        session.expect(&["GET", &text], prefix).await?;
        if self.modules.contains(&Module::Search) {
            // An index covers database 0 only, which a new connection uses.
            let create = ["FT.CREATE", &index, "ON", "HASH", "PREFIX", "1", &hash, "TEMPORARY", TTL, "SCHEMA", "word", "TEXT"];
            session.expect(&create, "OK").await?;
            session.expect(&["HSET", &hash, "word", "provisioned"], "1").await?;
            session.expect(&["EXPIRE", &hash, TTL], "1").await?;
            let found = session.call(&["FT.SEARCH", &index, "provisioned", "NOCONTENT"]).await?;
            if !matches!(&found, Reply::Array(Some(items)) if items.first().is_some_and(|count| count.is("1"))) {
                return Err(format!("FT.SEARCH returned {}, not the one document that exists", found.shown()));
            }
        }
        if self.modules.contains(&Module::Json) {
            session.expect(&["JSON.SET", &json, "$", "{\"a\":[1]}"], "OK").await?;
            session.expect(&["EXPIRE", &json, TTL], "1").await?;
            session.expect(&["JSON.GET", &json, "$.a[0]"], "[1]").await?;
        }
        if self.modules.contains(&Module::TimeSeries) {
            session.expect(&["TS.ADD", &series, "1", "2"], "1").await?;
            session.expect(&["EXPIRE", &series, TTL], "1").await?;
        }
        Ok(())
    }

    async fn clean<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        session: &mut Session<S>,
        prefix: &str,
    ) -> Result<(), String> {
        let [text, hash, json, series, index] = keys(prefix);
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

fn keys(prefix: &str) -> [String; 5] {
    ["text", "hash", "json", "series", "index"].map(|name| format!("{prefix}:{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

    /// Answers like Redis Stack, one command after the other, and returns the commands that it received.
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
    async fn all_keys_have_one_prefix_and_are_deleted() {
        let (result, seen) = run([REFUSED.as_slice(), &USED].concat()).await;
        insta::assert_snapshot!(result.unwrap(), @"logged in, wrote and read; a wrong password and none are refused, FT, JSON, TS work");
        let prefix = seen[3].split(' ').nth(2).unwrap();
        assert!(prefix.starts_with("autobot-provision:health:") && prefix.len() > 30);
        assert!(seen[3..].iter().all(|command| command.split(' ').nth(1).unwrap().starts_with(prefix)), "{seen:?}");
        assert_eq!(seen.len(), 17);
    }

    #[tokio::test]
    async fn keys_are_deleted_after_a_failure_which_is_reported() {
        let (result, seen) =
            run([REFUSED.as_slice(), &["+OK", "ECHO", "-ERR unknown command 'FT.CREATE'", ":1", ":0", "-ERR no"]].concat()).await;
        assert_eq!(result.unwrap_err(), "FT.CREATE returned the error `ERR unknown command 'FT.CREATE'`, not OK");
        assert!(seen.iter().any(|command| command.starts_with("DEL ")), "{seen:?}");
    }

    #[tokio::test]
    async fn missing_access_control_is_a_failure() {
        for (replies, words) in [
            (vec!["+PONG"], "without a password PING returned PONG, not NOAUTH"),
            (vec!["-NOAUTH", "+OK"], "a wrong password was accepted"),
            (
                vec!["-NOAUTH", "-ERR unknown command 'AUTH', with args beginning with: 'x'"],
                "returned `ERR unknown command 'AUTH'`, not WRONGPASS",
            ),
            (vec!["-NOAUTH", "-WRONGPASS", "-WRONGPASS no, 'right'"], "the password was refused: WRONGPASS no"),
            (vec!["-NOAUTH", "-WRONGPASS", "+OK", "-OOM full"], "SET returned the error `OOM full`"),
        ] {
            let (result, _) = run(replies).await;
            let error = result.unwrap_err();
            assert!(error.contains(words) && !error.contains("right"), "{error}");
        }
    }
}
