//! Exercise `http`: requests a URL of the node and compares the status and the JSON.

use std::{io::ErrorKind, time::Duration};

use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::Finding;
use super::exercise::{Exercise, ExerciseKind};
use crate::{
    question::{
        Questions, Unanswered,
        unit::{self, Unit},
    },
    resource::{NodeState, ParamError, decode, schema::parameters},
    secret::{SecretId, SecretValues},
    transport::{Running, Tunnel},
    values::OneOrMany,
};

pub(super) const KIND: ExerciseKind = ExerciseKind {
    name: "http",
    about: "Asks for a page and looks at what comes",
    example: r#"exercise:
  http: {url: "http://127.0.0.1:8000/api/health", expect: {status: healthy}}"#,
    decode: |parameters| Ok(Box::new(Http::new(decode(parameters)?)?)),
    declared: Parameters::declared,
};

const LIMIT: Duration = Duration::from_secs(30);
const NO_ANSWER: &str = "no server answers there: the connection was closed without a response";
/// The longest answer that is accepted, in bytes.
const MOST_BYTES: u64 = 1 << 20;

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The address, as seen from the node.
        url: String,
        /// The statuses that are fine.
        status_code: OneOrMany<u16> = 200,
        /// What the JSON must hold; what else is in it does not matter.
        expect: Map<String, Value> = {},
        /// The unit that answers: where there is none, nothing is asked.
        skip_unless_unit: Option<String>,
    }
}

/// A parsed `http://` URL.
#[derive(Debug)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Parses a URL. An error refers to the parameter `url`.
    pub(super) fn read(url: &str) -> Result<Self, ParamError> {
        let error = |message: &str| ParamError::parameter("url", message);
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            error("must begin with http://: the request is sent from the node through the SSH connection, as in http://127.0.0.1:8000/api/health")
        })?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| error("has an invalid port"))?),
            None => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('@') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(error("is not a URL such as http://127.0.0.1:8000/api/health, without a user"));
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// Returns `host:port` as it is written in a URL.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// Formats a problem of this URL.
    pub(super) fn problem(&self, why: &str) -> String {
        format!("http://{}{}: {why}", self.authority(), self.path)
    }

    /// Sends a request in HTTP/1.0, to which servers do not answer in chunks, and in which the end of the connection ends the answer (RFC 1945).
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Result<(u16, Vec<u8>), String> {
        let path = self.path.split('#').next().unwrap_or("/");
        let request = format!(
            "GET {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: autobot-provision\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
            self.authority()
        );
        // If nothing listens on the port, ssh closes the connection, before or after the request was sent.
        let broken = |error: std::io::Error, answer: &[u8]| {
            let hung_up = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            if hung_up && answer.is_empty() { NO_ANSWER.to_owned() } else { format!("the connection broke: {error}") }
        };
        let mut answer = Vec::new();
        stream.write_all(request.as_bytes()).await.map_err(|error| broken(error, &answer))?;
        let read = (&mut stream).take(MOST_BYTES + 1).read_to_end(&mut answer).await;
        read.map_err(|error| broken(error, &answer))?;
        parse(&answer).map(|(status, body)| (status, body.to_vec()))
    }
}

/// Sends a request through the tunnel and returns the status and the body of the answer.
pub(super) async fn get(endpoint: &Endpoint, tunnel: &dyn Tunnel) -> Result<(u16, Vec<u8>), String> {
    let socket = tunnel.open(&endpoint.host, endpoint.port).await?;
    let ask = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| format!("nothing listens there: {error}"))?;
        endpoint.ask(stream).await
    };
    timeout(LIMIT, ask).await.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

#[derive(Debug)]
struct Http {
    endpoint: Endpoint,
    statuses: Vec<u16>,
    expect: Map<String, Value>,
    /// The full name of the unit.
    unit: Option<String>,
}

impl Http {
    fn new(parameters: Parameters) -> Result<Self, ParamError> {
        let endpoint = Endpoint::read(&parameters.url)?;
        if parameters.status_code.0.is_empty() {
            return Err(ParamError::parameter("status_code", "is empty"));
        }
        let unit = parameters.skip_unless_unit.as_deref().map(unit::full_name).transpose();
        let unit = unit.map_err(|reason| ParamError::parameter("skip_unless_unit", reason))?;
        Ok(Self { endpoint, statuses: parameters.status_code.0, expect: parameters.expect, unit })
    }

    fn evaluate(&self, status: u16, body: &[u8]) -> Result<String, String> {
        if !self.statuses.contains(&status) {
            let wanted: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
            return Err(format!("the status is {status}, not {}", wanted.join(" or ")));
        }
        if self.expect.is_empty() {
            return Ok(format!("status {status}"));
        }
        let body: Value =
            serde_json::from_slice(body).map_err(|error| format!("status {status}, but the answer is not JSON: {error}"))?;
        let mut problems = Vec::new();
        compare(&Value::Object(self.expect.clone()), &body, "", &mut problems);
        if problems.is_empty() { Ok(format!("status {status}, the JSON is as expected")) } else { Err(problems.join("; ")) }
    }
}

/// Parses the status and the body.
fn parse(answer: &[u8]) -> Result<(u16, &[u8]), String> {
    if answer.is_empty() {
        return Err(NO_ANSWER.into());
    }
    if answer.len() as u64 > MOST_BYTES {
        return Err(format!("the answer has more than {MOST_BYTES} bytes"));
    }
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("the server does not speak HTTP, or its answer ended early")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok()).ok_or("the server does not speak HTTP")?;
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.and_then(|(_, length)| length.trim().parse::<usize>().ok()) {
        Some(length) if body.len() < length => Err(format!("the answer ended after {} of {length} bytes", body.len())),
        Some(length) => Ok((status, &body[..length])),
        None => Ok((status, body)),
    }
}

/// Adds a problem for each value that is not as expected. Keys of a map that are not expected are ignored.
fn compare(expected: &Value, is: &Value, path: &str, problems: &mut Vec<String>) {
    match (expected, is) {
        (Value::Object(expected), Value::Object(is)) => {
            for (key, expected) in expected {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match is.get(key) {
                    Some(is) => compare(expected, is, &path, problems),
                    None => problems.push(format!("the JSON has no `{path}`")),
                }
            }
        }
        (expected, is) if expected == is => {}
        (expected, _) if path.is_empty() => problems.push(format!("the JSON is not a map, but {expected} is expected")),
        (expected, is) => {
            let mut value = is.to_string();
            if value.chars().count() > 80 {
                value = value.chars().take(80).chain(['…']).collect();
            }
            problems.push(format!("`{path}` is {value}, not {expected}"));
        }
    }
}

impl Exercise for Http {
    fn name(&self) -> String {
        format!("ask http://{}{}", self.endpoint.authority(), self.endpoint.path)
    }

    fn run<'a>(&'a self, tunnel: &'a dyn Tunnel, _: &'a SecretValues) -> Running<'a, Finding> {
        Box::pin(async move {
            let (status, body) = get(&self.endpoint, tunnel).await?;
            self.evaluate(status, &body).map(Finding::Healthy)
        })
    }

    fn secrets(&self) -> Vec<SecretId> {
        Vec::new()
    }

    fn questions(&self, ask: &mut Questions) {
        if let Some(unit) = &self.unit {
            ask.ask::<Unit>(unit.clone());
        }
    }

    fn skipped(&self, is: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
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

    fn http(parameters: Value) -> Result<Http, ParamError> {
        Http::new(decode(parameters)?)
    }

    fn healthy() -> Http {
        http(json!({"url": "http://127.0.0.1:8000/api/health", "expect": {"status": "healthy", "db": {"up": true}}})).unwrap()
    }

    fn evaluate_raw(http: &Http, answer: &[u8]) -> Result<String, String> {
        let (status, body) = parse(answer)?;
        http.evaluate(status, body)
    }

    fn evaluate(head: &str, body: &str) -> String {
        match evaluate_raw(
            &healthy(),
            format!("HTTP/1.1 {head}\r\nServer: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        ) {
            Ok(finding) => format!("ok: {finding}"),
            Err(why) => why,
        }
    }

    #[test]
    fn the_expected_status_and_json_are_healthy() {
        assert_eq!(
            evaluate("200 OK", r#"{"status": "healthy", "db": {"up": true, "ms": 3}, "x": []}"#),
            "ok: status 200, the JSON is as expected"
        );
        let plain = http(json!({"url": "http://h", "status_code": [204, 200]})).unwrap();
        assert_eq!(evaluate_raw(&plain, b"HTTP/1.0 204 No Content\r\n\r\n").unwrap(), "status 204");
    }

    #[test]
    fn each_difference_is_named() {
        let all = [
            evaluate("503 Busy", "{}"),
            evaluate("200 OK", r#"{"status": "degraded", "db": {"up": false}}"#),
            evaluate("200 OK", r#"{"status": "healthy"}"#),
            evaluate("200 OK", "[]"),
            evaluate("200 OK", "<html>"),
            evaluate_raw(&healthy(), b"").unwrap_err(),
            evaluate_raw(&healthy(), b"SSH-2.0-OpenSSH\r\n").unwrap_err(),
            evaluate_raw(&healthy(), b"+PONG\r\n\r\n").unwrap_err(),
            evaluate_raw(&healthy(), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").unwrap_err(),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        the status is 503, not 200
        `status` is "degraded", not "healthy"; `db.up` is false, not true
        the JSON has no `db`
        the JSON is not a map, but {"status":"healthy","db":{"up":true}} is expected
        status 200, but the answer is not JSON: expected value at line 1 column 1
        no server answers there: the connection was closed without a response
        the server does not speak HTTP, or its answer ended early
        the server does not speak HTTP
        the answer ended after 2 of 9 bytes
        "#);
        let long = format!("{{\"status\": \"{}\", \"db\": {{\"up\": true}}}}", "x".repeat(5000));
        assert!(evaluate("200 OK", &long).len() < 200);
    }

    #[test]
    fn urls_are_parsed() {
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
    fn the_exercise_is_skipped_without_its_unit() {
        let mut answers = Answers::default();
        let http = http(json!({"url": "http://h", "skip_unless_unit": "backend"})).unwrap();
        let skipped = |answers: &Answers| http.skipped(&NodeState { answers, secrets: &SecretValues::default() });
        assert!(skipped(&answers).is_err());
        answers.set::<Unit>("backend.service".into(), Ok(Unit { load: "not-found".into(), ..Unit::default() }));
        assert_eq!(skipped(&answers).unwrap().unwrap(), "there is no unit `backend.service` on this node");
        answers.set::<Unit>("backend.service".into(), Ok(Unit { load: "loaded".into(), ..Unit::default() }));
        assert_eq!(skipped(&answers).unwrap(), None);
        assert!(Http::new(decode(json!({"url": "http://h", "skip_unless_unit": "a b"})).unwrap()).is_err());
    }

    #[tokio::test]
    async fn the_request_looks_like_that_of_a_client() {
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
