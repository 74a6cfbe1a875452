//! A minimal HTTP/1.1 file server: only what apt on a node needs from a repository (RFC 9110, RFC 9112).

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long a keep-alive connection may be idle.
const IDLE: Duration = Duration::from_mins(1);

/// The longest request head that is read, in bytes.
const MAX_HEAD: u64 = 16 << 10;

/// Serves the files below `root` at `address` until the future is dropped.
///
/// `root` may be a symlink that is changed in the meantime: each request resolves it again.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(root: PathBuf, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}`"))?;
    loop {
        // A connection that failed before it was accepted is the client's problem.
        if let Ok((stream, _)) = listener.accept().await {
            let root = root.clone();
            tokio::spawn(async move { drop(handle_connection(stream, &root).await) });
        }
    }
}

async fn handle_connection(stream: TcpStream, root: &Path) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Ok(head) = timeout(IDLE, read_head(&mut stream)).await else { return Ok(()) };
        let Some(head) = head? else { return Ok(()) };
        let request = HttpRequest::parse(&head);
        let (status, body) = match &request {
            Err(status) => (*status, Vec::new()),
            Ok(request) => respond(root, request).await,
        };
        let keep_alive = request.as_ref().is_ok_and(|request| request.keep_alive);
        let header = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/octet-stream\r\nConnection: {}\r\n\r\n",
            body.len(),
            if keep_alive { "keep-alive" } else { "close" }
        );
        stream.write_all(header.as_bytes()).await?;
        if request.is_ok_and(|request| request.wants_body) {
            stream.write_all(&body).await?;
        }
        stream.flush().await?;
        if !keep_alive {
            return Ok(());
        }
    }
}

/// Reads the head of a request, up to the empty line; `None` if the client has closed the connection.
async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut limited = stream.take(MAX_HEAD);
    loop {
        if limited.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct HttpRequest {
    path: PathBuf,
    wants_body: bool,
    keep_alive: bool,
}

impl HttpRequest {
    /// Parses a GET or HEAD request. Conditions such as If-Modified-Since may be ignored (RFC 9110, 13.2.1): the response is always the whole file.
    fn parse(head: &str) -> Result<Self, &'static str> {
        let mut lines = head.lines();
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, version] = words.as_slice() else { return Err("400 Bad HttpRequest") };
        let wants_body = match *method {
            "GET" => true,
            "HEAD" => false,
            _ => return Err("405 Method Not Allowed"),
        };
        let close = lines
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close"));
        let path = local_path(target).ok_or("404 Not Found")?;
        Ok(Self { path, wants_body, keep_alive: *version == "HTTP/1.1" && !close })
    }
}

/// Returns the path that a request target names, relative to the root; `None` if it could lead out of the root.
fn local_path(target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let mut local = PathBuf::new();
    for part in path.split('/') {
        let part = percent_decoded(part)?;
        if part.is_empty() || part == "." || part == ".." || part.contains(['/', '\0']) {
            return None;
        }
        local.push(part);
    }
    Some(local)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

async fn respond(root: &Path, request: &HttpRequest) -> (&'static str, Vec<u8>) {
    let path = root.join(&request.path);
    // Reading a package of several megabytes blocks, so it must not delay other connections.
    match tokio::task::spawn_blocking(move || std::fs::read(path)).await {
        Ok(Ok(body)) => ("200 OK", body),
        Ok(Err(_)) | Err(_) => ("404 Not Found", Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, net::Ipv4Addr};

    #[test]
    fn no_target_leads_out_of_the_root() {
        for target in [
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/x",
            "/a%2f..%2fb",
            "//etc/passwd",
            "/",
            "etc/passwd",
            "/a%00b",
            "/%",
            "/%zz",
        ] {
            assert_eq!(local_path(target), None, "{target}");
        }
        assert_eq!(local_path("/deb/pool/a%7eb_1%2b2.deb?x"), Some("deb/pool/a~b_1+2.deb".into()));
    }

    #[test]
    fn only_get_and_head_are_accepted() {
        assert_eq!(HttpRequest::parse("POST /a HTTP/1.1\r\n\r\n"), Err("405 Method Not Allowed"));
        assert_eq!(HttpRequest::parse("nonsense\r\n\r\n"), Err("400 Bad HttpRequest"));
        assert!(HttpRequest::parse("GET /a HTTP/1.1\r\n\r\n").unwrap().keep_alive);
        assert!(!HttpRequest::parse("GET /a HTTP/1.1\r\nCONNECTION: Close\r\n\r\n").unwrap().keep_alive);
        assert!(!HttpRequest::parse("HEAD /a HTTP/1.1\r\n\r\n").unwrap().wants_body);
    }

    #[tokio::test]
    async fn one_connection_carries_many_requests() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "first").unwrap();
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let server = tokio::spawn(serve(root.path().to_owned(), free));
        let mut client = loop {
            if let Ok(client) = TcpStream::connect(free).await {
                break client;
            }
            tokio::task::yield_now().await;
        };
        let requests = "GET /a HTTP/1.1\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\nHEAD /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
        client.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        server.abort();
        let kind = "Content-Type: application/octet-stream\r\nConnection:";
        assert_eq!(
            answers,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{kind} keep-alive\r\n\r\nfirst\
                 HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{kind} keep-alive\r\n\r\n\
                 HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{kind} close\r\n\r\n"
            )
        );
    }
}
