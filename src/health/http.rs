//! Exercise `http`: ask a URL of the node for its status and its JSON.

use std::{io::ErrorKind, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::exercise::{Exercise, ExerciseKind};
use crate::{
    question::{
        Questions, Unanswered,
        unit::{self, Unit},
    },
    resource::{Is, OneOrMany, Wrong, decode},
    secret::{SecretRef, SecretValues},
    transport::{Running, Tunnel},
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "http",
    decode: |parameters| Ok(Box::new(Http::new(decode(parameters)?)?)),
    parameters: &["url", "status_code", "expect", "skip_unless_unit"],
    secret_parameters: &[],
};

const LIMIT: Duration = Duration::from_secs(30);
const NOBODY: &str = "nobody answers there: the connection ended without a word";
/// A longer answer is not the health of anything.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    url: String,
    #[serde(default = "ok")]
    status_code: OneOrMany<u16>,
    /// What the JSON must hold; what else is in it does not matter.
    #[serde(default)]
    expect: Map<String, Value>,
    /// The unit that answers: where there is none, nobody is asked.
    skip_unless_unit: Option<String>,
}

fn ok() -> OneOrMany<u16> {
    OneOrMany(vec![200])
}

/// Where to ask: an `http://` URL, taken apart.
#[derive(Debug)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Takes a URL apart; the complaint is about a parameter `url`.
    pub(super) fn read(url: &str) -> Result<Self, Wrong> {
        let wrong = |message: &str| Wrong::parameter("url", message);
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            wrong("must begin with http://: it is asked through the ssh connection as seen from the node, as in http://127.0.0.1:8000/api/health")
        })?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong("has a wrong port"))?),
            None => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('@') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("is not a URL such as http://127.0.0.1:8000/api/health, without a user"));
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// `host:port`, as it stands in a URL.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// What is wrong there.
    pub(super) fn complaint(&self, why: &str) -> String {
        format!("http://{}{}: {why}", self.authority(), self.path)
    }

    /// HTTP/1.0, because nobody answers it in chunks; and the end of the connection is the end of the answer (RFC 1945).
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Result<(u16, Vec<u8>), String> {
        let path = self.path.split('#').next().unwrap_or("/");
        let request = format!(
            "GET {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: autobot-provision\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
            self.authority()
        );
        // Where nobody listens ssh hangs up, before or after we have spoken.
        let broken = |error: std::io::Error, answer: &[u8]| {
            let hung_up = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            if hung_up && answer.is_empty() { NOBODY.to_owned() } else { format!("the connection broke: {error}") }
        };
        let mut answer = Vec::new();
        stream.write_all(request.as_bytes()).await.map_err(|error| broken(error, &answer))?;
        let read = (&mut stream).take(MOST_BYTES + 1).read_to_end(&mut answer).await;
        read.map_err(|error| broken(error, &answer))?;
        parsed(&answer).map(|(status, body)| (status, body.to_vec()))
    }
}

/// Asks through the tunnel: the status and the body of the answer.
pub(super) async fn get(endpoint: &Endpoint, tunnel: &dyn Tunnel) -> Result<(u16, Vec<u8>), String> {
    let socket = tunnel.open(&endpoint.host, endpoint.port).await?;
    let ask = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| format!("nobody listens there: {error}"))?;
        endpoint.ask(stream).await
    };
    timeout(LIMIT, ask).await.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

#[derive(Debug)]
struct Http {
    endpoint: Endpoint,
    statuses: Vec<u16>,
    expect: Map<String, Value>,
    /// Its full name.
    unit: Option<String>,
}

impl Http {
    fn new(given: Parameters) -> Result<Self, Wrong> {
        let endpoint = Endpoint::read(&given.url)?;
        if given.status_code.0.is_empty() {
            return Err(Wrong::parameter("status_code", "is empty"));
        }
        let unit = given.skip_unless_unit.as_deref().map(unit::full_name).transpose();
        let unit = unit.map_err(|reason| Wrong::parameter("skip_unless_unit", reason))?;
        Ok(Self { endpoint, statuses: given.status_code.0, expect: given.expect, unit })
    }

    fn judge(&self, status: u16, body: &[u8]) -> Result<String, String> {
        if !self.statuses.contains(&status) {
            let wanted: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
            return Err(format!("the status is {status}, not {}", wanted.join(" or ")));
        }
        if self.expect.is_empty() {
            return Ok(format!("status {status}"));
        }
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("status {status}, but the answer is not JSON: {error}"))?;
        let mut complaints = Vec::new();
        compare(&Value::Object(self.expect.clone()), &body, "", &mut complaints);
        if complaints.is_empty() { Ok(format!("status {status}, the JSON is as expected")) } else { Err(complaints.join("; ")) }
    }
}

/// The status and what follows the empty line.
fn parsed(answer: &[u8]) -> Result<(u16, &[u8]), String> {
    if answer.is_empty() {
        return Err(NOBODY.into());
    }
    if answer.len() as u64 > MOST_BYTES {
        return Err(format!("the answer has more than {MOST_BYTES} bytes"));
    }
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("what answers does not speak HTTP, or ended early")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok()).ok_or("what answers does not speak HTTP")?;
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.and_then(|(_, length)| length.trim().parse::<usize>().ok()) {
        Some(length) if body.len() < length => Err(format!("the answer ended after {} of {length} bytes", body.len())),
        Some(length) => Ok((status, &body[..length])),
        None => Ok((status, body)),
    }
}

/// Complains about each value that is not as expected. Of a map only the expected keys count.
fn compare(expected: &Value, is: &Value, path: &str, complaints: &mut Vec<String>) {
    match (expected, is) {
        (Value::Object(expected), Value::Object(is)) => {
            for (key, expected) in expected {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match is.get(key) {
                    Some(is) => compare(expected, is, &path, complaints),
                    None => complaints.push(format!("the JSON has no `{path}`")),
                }
            }
        }
        (expected, is) if expected == is => {}
        (expected, _) if path.is_empty() => complaints.push(format!("the JSON is no map, where {expected} is expected")),
        (expected, is) => {
            let mut shown = is.to_string();
            if shown.chars().count() > 80 {
                shown = shown.chars().take(80).chain(['…']).collect();
            }
            complaints.push(format!("`{path}` is {shown}, not {expected}"));
        }
    }
}

impl Exercise for Http {
    fn name(&self) -> String {
        format!("ask http://{}{}", self.endpoint.authority(), self.endpoint.path)
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, _: &'a SecretValues) -> Running<'a, String> {
        Box::pin(async move {
            let (status, body) = get(&self.endpoint, tunnel).await?;
            self.judge(status, &body)
        })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        Vec::new()
    }

    fn questions(&self, ask: &mut Questions) {
        if let Some(unit) = &self.unit {
            ask.ask::<Unit>(unit.clone());
        }
    }

    fn skipped(&self, is: &Is<'_>) -> Result<Option<String>, Unanswered> {
        let Some(unit) = &self.unit else { return Ok(None) };
        let there = is.answers.get::<Unit>(unit)?.exists();
        Ok((!there).then(|| format!("there is no unit `{unit}` on this node")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Answers;
    use serde_json::json;

    fn http(parameters: Value) -> Result<Http, Wrong> {
        Http::new(decode(parameters)?)
    }

    fn healthy() -> Http {
        http(json!({"url": "http://127.0.0.1:8000/api/health", "expect": {"status": "healthy", "db": {"up": true}}})).unwrap()
    }

    fn judged(http: &Http, answer: &[u8]) -> Result<String, String> {
        let (status, body) = parsed(answer)?;
        http.judge(status, body)
    }

    fn judge(head: &str, body: &str) -> String {
        match judged(
            &healthy(),
            format!("HTTP/1.1 {head}\r\nServer: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        ) {
            Ok(said) => format!("ok: {said}"),
            Err(why) => why,
        }
    }

    #[test]
    fn a_status_and_the_expected_part_of_the_json_are_healthy() {
        assert_eq!(
            judge("200 OK", r#"{"status": "healthy", "db": {"up": true, "ms": 3}, "x": []}"#),
            "ok: status 200, the JSON is as expected"
        );
        let plain = http(json!({"url": "http://h", "status_code": [204, 200]})).unwrap();
        assert_eq!(judged(&plain, b"HTTP/1.0 204 No Content\r\n\r\n").unwrap(), "status 204");
    }

    #[test]
    fn each_difference_is_named() {
        let all = [
            judge("503 Busy", "{}"),
            judge("200 OK", r#"{"status": "degraded", "db": {"up": false}}"#),
            judge("200 OK", r#"{"status": "healthy"}"#),
            judge("200 OK", "[]"),
            judge("200 OK", "<html>"),
            judged(&healthy(), b"").unwrap_err(),
            judged(&healthy(), b"SSH-2.0-OpenSSH\r\n").unwrap_err(),
            judged(&healthy(), b"+PONG\r\n\r\n").unwrap_err(),
            judged(&healthy(), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").unwrap_err(),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        the status is 503, not 200
        `status` is "degraded", not "healthy"; `db.up` is false, not true
        the JSON has no `db`
        the JSON is no map, where {"status":"healthy","db":{"up":true}} is expected
        status 200, but the answer is not JSON: expected value at line 1 column 1
        nobody answers there: the connection ended without a word
        what answers does not speak HTTP, or ended early
        what answers does not speak HTTP
        the answer ended after 2 of 9 bytes
        "#);
        let long = format!("{{\"status\": \"{}\", \"db\": {{\"up\": true}}}}", "x".repeat(5000));
        assert!(judge("200 OK", &long).len() < 200);
    }

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, path) in [
            ("http://127.0.0.1:8000/api/health", "127.0.0.1", 8000, "/api/health"),
            ("http://localhost", "localhost", 80, "/"),
            ("http://[::1]:81/x?y", "::1", 81, "/x?y"),
            ("http://[::1]/", "::1", 80, "/"),
        ] {
            let http = http(json!({"url": url})).unwrap();
            assert_eq!((http.endpoint.host.as_str(), http.endpoint.port, http.endpoint.path.as_str()), (host, port, path));
        }
        for url in ["https://h/", "http://", "http://h:x/", "http://u:p@h/", "http://h/a b", "http://h/\r\nX: y"] {
            assert!(http(json!({"url": url})).is_err(), "{url}");
        }
    }

    #[test]
    fn without_its_unit_there_is_nothing_to_ask() {
        let mut answers = Answers::default();
        let http = http(json!({"url": "http://h", "skip_unless_unit": "backend"})).unwrap();
        let said = |answers: &Answers| http.skipped(&Is { answers, secrets: &SecretValues::default() });
        assert!(said(&answers).is_err());
        answers.set::<Unit>("backend.service".into(), Ok(Unit { load: "not-found".into(), ..Unit::default() }));
        assert_eq!(said(&answers).unwrap().unwrap(), "there is no unit `backend.service` on this node");
        answers.set::<Unit>("backend.service".into(), Ok(Unit { load: "loaded".into(), ..Unit::default() }));
        assert_eq!(said(&answers).unwrap(), None);
        assert!(Http::new(decode(json!({"url": "http://h", "skip_unless_unit": "a b"})).unwrap()).is_err());
    }

    #[tokio::test]
    async fn it_is_asked_as_a_client_would() {
        let (mut server, client) = tokio::io::duplex(4096);
        let answered = tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let count = server.read(&mut request).await.unwrap();
            server.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"healthy\",\"db\":{\"up\":true}}").await.unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        assert_eq!(healthy().endpoint.ask(client).await.unwrap().0, 200);
        let request = answered.await.unwrap();
        assert!(
            request.starts_with("GET /api/health HTTP/1.0\r\nHost: 127.0.0.1:8000\r\n") && request.ends_with("\r\n\r\n"),
            "{request}"
        );
    }
}
