//! Tests of [`super::FileContent`] through `copy` and `template`, and helpers for the tests of other resources.

use serde_json::{Value, json};

use super::*;
use crate::secret::SecretRef;
use crate::{
    question::Answers,
    question::account::{AccountName, Group, User},
    question::path::Link,
    resource::{Files, KINDS, trial},
    secret::{Encoding, Secret, SecretValues},
    source::Diagnostic,
};

/// A project without files.
pub(in crate::resource) struct NoFiles;

impl Files for NoFiles {
    fn template(&mut self, _: &str) -> Result<Sealed, Diagnostic> {
        Ok(Sealed::from(format!("requirepass {}\n", password().token(Encoding::Plain))))
    }

    fn file(&mut self, name: &str) -> Result<Sealed, Diagnostic> {
        Ok(Sealed::from(name))
    }
}

/// A verdict as text.
pub(in crate::resource) fn shown(verdict: &Verdict) -> String {
    let (head, change) = match verdict {
        Verdict::Converged { .. } => return "converged".to_owned(),
        Verdict::Refused(why) => return format!("refused: {why}"),
        Verdict::Change(change) => ("change".to_owned(), change),
        Verdict::Blocked { missing, change } => (format!("blocked by {}", crate::values::missing::list(missing)), change),
    };
    let replaces = if change.replaces { " (replaces)" } else { "" };
    let lines = change.diff.lines.iter().map(|line| match line {
        Line::Title(text) => format!("= {text}\n"),
        Line::Context(text) => format!("  {text}\n"),
        Line::Added(text) => format!("+ {text}\n"),
        Line::Removed(text) => format!("- {text}\n"),
        Line::Gap => "...\n".to_owned(),
    });
    format!("{head}{replaces}: {}\n{}", change.summary, lines.collect::<String>())
}

/// The script of a verdict as shell text.
pub(in crate::resource) fn rendered(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Change(change) | Verdict::Blocked { change, .. } => change.script.render().unwrap(),
        Verdict::Converged { .. } | Verdict::Refused(_) => panic!("{verdict:?}"),
    }
}

/// Returns a resource of the kind with this name.
pub(in crate::resource) fn resource(kind: &str, parameters: Value) -> Result<Box<dyn Resource>, ParamError> {
    let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
    (kind.decode)(parameters, &mut NoFiles)
}

/// Attributes of an entry of root with this mode.
pub(in crate::resource) fn roots(mode: u32) -> Attributes {
    Attributes { mode: Mode(mode), owner: "root".into(), group: "root".into(), uid: 0, gid: 0, changed: 0 }
}

fn password() -> SecretRef {
    SecretRef { host: "db".into(), name: "REDIS_PASSWORD".into() }
}

fn file(mode: u32, content: &[u8]) -> Entry {
    Entry::File(File { attributes: roots(mode), size: content.len() as u64, content: Some(content.to_vec()), sha256: None })
}

fn link(leads_to: Option<Entry>) -> Entry {
    Entry::Link(Link { target: "/elsewhere".into(), leads_to: leads_to.map(Box::new) })
}

fn verdict_with(resource: &dyn Resource, entry: &Entry, parent_exists: bool, values: &SecretValues) -> Verdict {
    let mut answers = Answers::default();
    trial::answer_about(&mut answers, "/etc/x", &PathInfo { entry: entry.clone(), parent_exists });
    answers.set::<User>(AccountName::new("redis").unwrap(), Ok(None));
    answers.set::<Group>(AccountName::new("redis").unwrap(), Ok(None));
    resource.compare(&NodeState { answers: &answers, secrets: values }).unwrap()
}

fn copied(parameters: &Value, entry: &Entry) -> Verdict {
    let mut all = json!({"dest": "/etc/x", "content": "a\nb\n"});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    verdict_with(resource("copy", all).unwrap().as_ref(), entry, true, &SecretValues::default())
}

fn templated(mode: Option<&str>, entry: &Entry, value: Option<&str>) -> Verdict {
    let mut values = SecretValues::default();
    if let Some(value) = value {
        values.insert(password(), Secret::new(value.into()));
    }
    let resource = resource("template", json!({"src": "x.tera", "dest": "/etc/x", "mode": mode, "backup": true})).unwrap();
    verdict_with(resource.as_ref(), entry, true, &values)
}

fn error(kind: &str, parameters: Value) -> String {
    match resource(kind, parameters) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_content_and_access_is_converged() {
    for parameters in [json!({}), json!({"mode": "0644"}), json!({"owner": "root", "group": "root"}), json!({"force": false})] {
        assert_eq!(shown(&copied(&parameters, &file(0o644, b"a\nb\n"))), "converged");
    }
    assert_eq!(shown(&copied(&json!({"force": false}), &file(0o644, b"other"))), "converged");
    assert_eq!(shown(&copied(&json!({"follow": true}), &link(Some(file(0o644, b"a\nb\n"))))), "converged");
}

#[test]
fn a_new_file_shows_its_content_and_access() {
    let verdict = copied(&json!({"mode": "0640", "owner": "root"}), &Entry::Absent);
    assert_eq!(shown(&verdict), "change: create\n= /etc/x\n+ owner root\n+ mode 0640\n+ a\n+ b\n");
    assert!(rendered(&verdict).starts_with("set -- /etc/x root '' 00640 '' '' '' 4\n"));
}

#[test]
fn content_and_mode_that_differ_are_one_change() {
    let verdict = copied(&json!({"mode": "0600", "backup": true}), &file(0o644, b"a\nc\n"));
    assert_eq!(
        shown(&verdict),
        "change (replaces): content, mode 0644 → 0600\n= /etc/x\n- mode 0644\n+ mode 0600\n  a\n- c\n+ b\n"
    );
    assert!(rendered(&verdict).starts_with("set -- /etc/x '' '' 00600 '' keep '' 4\n"));
}

#[test]
fn a_mode_alone_is_changed_in_place() {
    let verdict = copied(&json!({"mode": "0600"}), &file(0o644, b"a\nb\n"));
    assert_eq!(shown(&verdict), "change (replaces): mode 0644 → 0600\n= /etc/x\n- mode 0644\n+ mode 0600\n");
    assert!(rendered(&verdict).contains("set_access \"$@\"") && !rendered(&verdict).contains("put_file"));
}

#[test]
fn missing_accounts_and_directories_block_and_are_named() {
    let owned = resource("copy", json!({"dest": "/etc/x", "content": "a", "owner": "redis", "group": "redis"})).unwrap();
    let verdict = verdict_with(owned.as_ref(), &Entry::Absent, false, &SecretValues::default());
    assert_eq!(
        shown(&verdict),
        "blocked by user `redis`, group `redis`, directory `/etc`: create\n= /etc/x\n+ owner redis\n+ group redis\n+ a\n"
    );
}

#[test]
fn links_are_replaced_unless_followed() {
    let verdict = copied(&json!({}), &link(Some(file(0o600, b"a\nb\n"))));
    assert_eq!(shown(&verdict), "change (replaces): replace the link\n= /etc/x\n- link to /elsewhere\n+ a\n+ b\n");
    let followed = copied(&json!({"follow": true}), &link(Some(file(0o600, b"a\n"))));
    assert_eq!(shown(&followed), "change (replaces): content\n= /etc/x\n  a\n+ b\n");
    assert!(rendered(&followed).starts_with("set -- /etc/x '' '' '' follow '' '' 4\n"));
    let Verdict::Change(change) = followed else { panic!() };
    assert_eq!(change.writes, Some(Kept::Target(RemotePath::new("/etc/x").unwrap())));
}

#[test]
fn an_entry_that_cannot_become_a_file_is_refused() {
    let refused = [
        (copied(&json!({}), &Entry::Directory(roots(0o755))), "`/etc/x` is a directory; name the file in it"),
        (
            copied(&json!({}), &link(Some(Entry::Directory(roots(0o755))))),
            "`/etc/x` is a link to a directory; name the file in it",
        ),
        (copied(&json!({"follow": true}), &link(None)), "`/etc/x` is a link that leads nowhere"),
        (copied(&json!({}), &Entry::Other(roots(0o600))), "`/etc/x` is a device, socket or pipe, where a file is wanted"),
    ];
    for (verdict, why) in refused {
        assert!(shown(&verdict).starts_with(&format!("refused: {why}")), "{verdict:?}");
    }
}

#[test]
fn a_secret_never_shows_and_its_file_is_private() {
    let new = templated(None, &Entry::Absent, None);
    assert_eq!(shown(&new), "change: create\n= /etc/x\n+ mode 0600\n+ requirepass ‹REDIS_PASSWORD›\n");
    let verdict = templated(None, &file(0o644, b"requirepass old-one\n"), Some("new-one"));
    assert_eq!(
        shown(&verdict),
        "change (replaces): content, mode 0644 → 0640\n= /etc/x\n- mode 0644\n+ mode 0640\n- requirepass …\n+ requirepass ‹REDIS_PASSWORD›\n"
    );
    assert!(rendered(&verdict).starts_with("set -- /etc/x '' '' 00640 '' private '' 20\n"));
    assert!(!format!("{verdict:?}").contains("-one"));
    assert_eq!(shown(&templated(Some("0640"), &file(0o640, b"requirepass same\n"), Some("same"))), "converged");
    assert_eq!(shown(&templated(None, &file(0o600, b"requirepass same\n"), Some("same"))), "converged");
    let resource = resource("template", json!({"src": "x", "dest": "/etc/x"})).unwrap();
    assert_eq!(resource.secrets(), [password()]);
}

#[test]
fn an_unknown_secret_equals_nothing() {
    assert!(shown(&templated(None, &file(0o600, b"requirepass x\n"), None)).starts_with("change (replaces): content\n"));
}

#[test]
fn large_contents_are_compared_by_checksum_and_counted() {
    let content = "x".repeat(MOST_BYTES + 1);
    let large =
        |sum: &str| Entry::File(File { attributes: roots(0o644), size: 65_537, content: None, sha256: Some(sum.to_owned()) });
    let sum = hex(&Sealed::from(content.as_str()).sha256());
    assert_eq!(shown(&copied(&json!({"content": content}), &large(&sum))), "converged");
    let changed = copied(&json!({"content": content}), &large("0"));
    assert_eq!(shown(&changed), "change (replaces): content\n= /etc/x\n- 65537 bytes\n+ 65537 bytes\n");
    let mut questions = Questions::default();
    resource("copy", json!({"dest": "/etc/x", "content": content})).unwrap().questions(&mut questions);
    assert!(questions.compose("f00d").unwrap().script().contains("s-/etc/x"));
}

#[test]
fn bytes_that_are_not_text_are_counted() {
    let verdict = copied(&json!({"content": "a\0b"}), &Entry::Absent);
    assert_eq!(shown(&verdict), "change: create\n= /etc/x\n+ 3 bytes\n");
    let verdict = copied(&json!({}), &file(0o644, &[0xff, 0]));
    assert_eq!(shown(&verdict), "change (replaces): content\n= /etc/x\n- 2 bytes\n+ 4 bytes\n");
}

#[test]
fn an_unanswered_question_is_an_error() {
    let resource = resource("copy", json!({"dest": "/etc/x", "content": "a"})).unwrap();
    let node = NodeState { answers: &Answers::default(), secrets: &SecretValues::default() };
    assert!(resource.compare(&node).is_err());
}

#[test]
fn a_file_of_the_role_is_copied() {
    let resource = resource("copy", json!({"dest": "/etc/x", "src": "name"})).unwrap();
    let verdict = verdict_with(resource.as_ref(), &file(0o644, b"name"), true, &SecretValues::default());
    assert_eq!(shown(&verdict), "converged");
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let secret = password().token(Encoding::Plain);
    let all = [
        error("copy", json!({"dest": "/etc/x"})),
        error("copy", json!({"dest": "/etc/x", "src": "a", "content": "b"})),
        error("copy", json!({"dest": "etc/x", "content": "b"})),
        error("copy", json!({"dest": "/etc/x", "content": "b", "mode": 644})),
        error("copy", json!({"dest": "/etc/x", "content": "b", "validate": "visudo -c"})),
        error("copy", json!({"dest": "/etc/x", "content": "b", "validate": "visudo -cf '%s'"})),
        error("copy", json!({"dest": "/etc/x", "content": "b", "validate": "sh -c %s"})),
        error("copy", json!({"dest": "/etc/x", "content": "b", "owner": "-R"})),
        error("copy", json!({"dest": "/etc/x", "content": secret, "mode": "0644"})),
        error("template", json!({"dest": "/sys/kernel/x", "src": "b"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    []: give `src`, a file of the role, or `content`, a text
    [Key("content")]: give either `src` or `content`
    [Key("dest")]: `etc/x` is not an absolute path
    [Key("mode")]: invalid type: integer `644`, expected a mode in quotes, such as "0644"
    [Key("validate")]: say where the file's path goes with `%s`
    [Key("validate")]: write `%s` without quotes around it
    [Key("validate")]: `%s` would be code: a value as the script of `sh -c`
    [Key("owner")]: `-R` is not a valid name of a user or group; a name has up to 32 letters, digits, `_`, `.` and `-`
    [Key("mode")]: the file holds a secret: mode 0644 lets every user at it; say "0600" or "0640"
    [Key("dest")]: `/sys/kernel/x` is the kernel's, not a file; use `sysctl` or `command`
    "#);
}
