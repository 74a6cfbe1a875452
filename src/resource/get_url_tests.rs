//! Tests of `get_url`: with the real `apt-helper` and a server of the test, and without.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
};

use serde_json::{Value, json};

use super::*;
use crate::secret::SecretRef;
use crate::{
    question::{
        Answers,
        path::{Attributes, PathInfo},
    },
    resource::{
        content::tests::{rendered, roots, shown},
        trial,
    },
    secret::{Secret, SecretValues},
};

/// The SHA-256 of "hello\n".
const SUM: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn get(parameters: Value) -> Result<GetUrl, ParamError> {
    GetUrl::new(decode(parameters)?)
}

fn error(parameters: Value) -> String {
    match get(parameters) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    }
}

fn key() -> SecretRef {
    SecretRef { host: "db".into(), name: "KEY".into() }
}

fn with_sum(mode: Option<&str>) -> GetUrl {
    get(json!({"url": "https://host/f?x=1", "dest": "/opt/f", "checksum": format!("sha256:{SUM}"), "mode": mode})).unwrap()
}

fn verdict(get: &GetUrl, entry: Entry, parent_exists: bool) -> Verdict {
    let mut answers = Answers::default();
    answers.set::<PathState>(get.look(), Ok(PathInfo { entry, parent_exists }));
    get.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn file(sum: Option<&str>) -> Entry {
    Entry::File(File { attributes: Attributes { ..roots(0o644) }, size: 6, content: None, sha256: sum.map(str::to_owned) })
}

#[test]
fn a_file_with_the_checksum_is_not_fetched_again() {
    assert_eq!(shown(&verdict(&with_sum(Some("0644")), file(Some(SUM)), true)), "converged");
    let without = get(json!({"url": "http://host/f", "dest": "/opt/f"})).unwrap();
    assert_eq!(shown(&verdict(&without, file(None), true)), "converged");
}

#[test]
fn a_missing_or_different_file_is_fetched() {
    let change = verdict(&with_sum(None), Entry::Absent, true);
    assert_eq!(shown(&change), format!("change: fetch\n= /opt/f\n+ sha256 {SUM}\n+ from https://host/f?x=1\n"));
    assert!(rendered(&change).starts_with(&format!("set -- 'https://host/f?x=1' {SUM} 30 /opt/f '' '' '' '' '' '' ''\n")));
    let change = verdict(&with_sum(None), file(Some("00")), true);
    assert!(shown(&change).starts_with("change (replaces): content\n= /opt/f\n- sha256 00\n+ sha256 5891"));
    assert!(shown(&verdict(&with_sum(None), Entry::Absent, false)).starts_with("blocked by directory `/opt`: fetch"));
    assert!(
        shown(&verdict(&with_sum(None), Entry::Directory(roots(0o755)), true)).contains("is a directory, where a file is wanted")
    );
}

#[test]
fn a_mode_alone_is_changed_in_place() {
    let change = verdict(&with_sum(Some("0600")), file(Some(SUM)), true);
    assert_eq!(shown(&change), "change (replaces): mode 0644 → 0600\n= /opt/f\n- mode 0644\n+ mode 0600\n");
    assert!(!rendered(&change).contains("apt-helper"));
}

#[test]
fn a_password_travels_on_standard_input_only() {
    let url = format!("https://me:{}@host:8443/f", key().token(Encoding::Url));
    let get = get(json!({"url": url, "dest": "/opt/f"})).unwrap();
    assert_eq!(get.secrets(), [key()]);
    let change = trial::change(verdict(&get, Entry::Absent, true));
    assert_eq!(change.script.sealed_input().shown(), "machine https://host:8443 login me password ‹KEY›\n");
    assert!(change.script.render().unwrap().starts_with("set -- https://host:8443/f "));
    let mut values = SecretValues::default();
    values.insert(key(), Secret::new("p@s/s".into()));
    assert!(change.script.sealed_input().reveal(&values).unwrap().ends_with(b" password p@s/s\n"));
    let literal = self::get(json!({"url": "http://m%40e:p%3Aw@host/", "dest": "/opt/f"})).unwrap();
    assert_eq!(
        (literal.url.as_str(), literal.login.shown().as_str()),
        ("http://host/", "machine http://host login m@e password p:w\n")
    );
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let secret = key().token(Encoding::Plain);
    let url = |url: &str| error(json!({"url": url, "dest": "/f"}));
    let all = [
        url("ftp://host/f"),
        url("https:///f"),
        url("https://host/a b"),
        url("https://host/`x`"),
        url("https://me@host/"),
        url("https://me:a%20b@host/"),
        url("https://me:%zz@host/"),
        url(&format!("https://host/?token={secret}")),
        error(json!({"url": "https://h/", "dest": "/f", "checksum": "md5:00"})),
        error(json!({"url": "https://h/", "dest": "/f", "checksum": "sha256:00"})),
        error(json!({"url": "https://h/", "dest": "/f", "timeout": 0})),
        error(json!({"url": "https://h/", "dest": "/dev/null"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    [Key("url")]: must begin with https:// or http://
    [Key("url")]: is not a URL such as https://host/file; write characters that a URL cannot have as %XX
    [Key("url")]: is not a URL such as https://host/file; write characters that a URL cannot have as %XX
    [Key("url")]: is not a URL such as https://host/file; write characters that a URL cannot have as %XX
    [Key("url")]: has a user without a password; write user:password@
    [Key("url")]: a user or password cannot be empty or hold a blank
    [Key("url")]: the user or password has a wrong %XX
    [Key("url")]: a secret may only be the user or the password, as in https://user:{{ secrets.KEY }}@host/: the rest of a URL is seen by all processes of the node
    [Key("checksum")]: must be `sha256:` and the sum; older sums can be forged, and a sum from the same server proves nothing
    [Key("checksum")]: a SHA-256 has 64 hexadecimal digits
    [Key("timeout")]: is a number of seconds, at least 1
    [Key("dest")]: `/dev/null` is the kernel's, not a file; use `sysctl` or `command`
    "#);
}

/// Answers one request with `reply` and returns the request.
fn serve(reply: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while reader.read_line(&mut request).unwrap() > 2 {}
        stream.write_all(reply.as_bytes()).unwrap();
        request
    });
    (port, server)
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

fn fetch(reply: &'static str, parameters: &Value, before: Option<&str>) -> (trial::Done, Option<String>, String) {
    let (port, server) = serve(reply);
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let dest = root.path().join("f");
    if let Some(before) = before {
        fs::write(&dest, before).unwrap();
    }
    let mut all =
        json!({"url": format!("http://me:p%20w@127.0.0.1:{port}/f").replace("%20", "-"), "dest": dest.to_str().unwrap()});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    let script = get(all).unwrap().script();
    let done = trial::run(&script, root.path());
    assert!(!done.stderr.contains("p-w"), "{}", done.stderr);
    (done, fs::read_to_string(&dest).ok(), server.join().unwrap())
}

#[test]
fn a_file_is_fetched_with_its_login_and_checked() {
    let (done, text, request) = fetch(HELLO, &json!({"checksum": format!("sha256:{SUM}"), "mode": "0640"}), None);
    assert_eq!((done.status, done.stderr.as_str(), text.as_deref()), (0, "", Some("hello\n")));
    assert!(request.contains("Authorization: Basic bWU6cC13"), "{request}");
}

#[test]
fn a_wrong_checksum_or_a_failure_leaves_the_old_file() {
    let sum = json!({"checksum": format!("sha256:{}", "0".repeat(64))});
    let (done, text, _) = fetch(HELLO, &sum, Some("old"));
    assert_eq!((done.status, text.as_deref()), (1, Some("old")));
    assert!(done.stderr.contains(&format!("has the checksum sha256:{SUM}, not the declared one")), "{}", done.stderr);
    let (done, text, _) =
        fetch("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", &json!({}), Some("old"));
    assert_eq!((done.status, text.as_deref()), (1, Some("old")));
    assert!(done.stderr.contains("404") && done.stderr.contains("could not be fetched"), "{}", done.stderr);
    assert_eq!(fetch(HELLO, &json!({"validate": "false %s"}), Some("old")).1.as_deref(), Some("old"));
}
