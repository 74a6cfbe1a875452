use super::*;
use crate::secret::SecretRef;
use crate::{
    question::Answers,
    resource::trial::{NoFiles, run},
    secret::{Encoding, SecretValues},
};
use std::path::Path;

fn command(parameters: Value) -> Result<Box<dyn Resource>, String> {
    from_parameters(parameters, &mut NoFiles).map_err(|error| match error {
        ParamError::Parameter { message, .. } => message,
        ParamError::Word { word, .. } => word.to_string(),
        ParamError::File(_) => unreachable!(),
    })
}

/// Compares with the answers of this machine, asked in the same way as a node.
fn compare(resource: &dyn Resource) -> (Verdict, Option<Value>) {
    let mut questions = Questions::default();
    resource.questions(&mut questions);
    let composed = questions.compose("f00d").unwrap();
    let done = run(&Script::new("eval \"$1\"").arg(composed.script()), Path::new("/nonexistent"));
    let answers = composed.read(&done.stdout);
    let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
    (resource.compare(&node).unwrap(), resource.register(&node))
}

#[test]
fn every_guard_decides_whether_it_is_done() {
    for (guard, value, done) in [
        ("creates", "/etc/passwd", true),
        ("creates", "/no/such", false),
        ("removes", "/etc/passwd", false),
        ("removes", "/no/such", true),
        ("unless", "exit 0", true),
        ("unless", "exit 1", false),
        ("only_if", "exit 0", false),
        ("only_if", "exit 7", true),
    ] {
        let resource = command(json!({"cmd": "true", guard: value})).unwrap();
        assert_eq!(matches!(compare(resource.as_ref()).0, Verdict::Converged { .. }), done, "{guard} {value}");
    }
}

#[test]
fn the_guard_finds_the_work_done_after_the_command_ran() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("it's $(done)\"");
    let resource =
        command(json!({"argv": ["cp", "/dev/stdin", path], "creates": path, "stdin": "line\n'$(x)'", "chdir": root.path()}))
            .unwrap();
    let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
    let done = run(&change.script, Path::new("/nonexistent"));
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\n'$(x)'");
    assert!(matches!(compare(resource.as_ref()).0, Verdict::Converged { .. }));
}

#[test]
fn a_failing_command_fails_loudly_with_its_status() {
    let resource = command(json!({"cmd": "echo no >&2 | cat; exit 3", "creates": "/no/such"})).unwrap();
    let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
    let done = run(&change.script, Path::new("/nonexistent"));
    assert_eq!((done.status, done.stderr.as_str()), (3, "no\nthe command ended with exit status 3\n"));
}

#[test]
fn reading_is_never_a_change_and_can_be_registered() {
    let resource = command(json!({"cmd": "printf 'a\\nb\\n\\n'; echo w >&2; exit 1", "reads": true, "ok_rc": [0, 1]})).unwrap();
    let (verdict, registered) = compare(resource.as_ref());
    assert!(matches!(verdict, Verdict::Converged { .. }));
    assert_eq!(
        registered.unwrap(),
        json!({"stdout": "a\nb", "stdout_lines": ["a", "b"], "stderr": "w", "rc": 1, "changed": false})
    );
}

#[test]
fn a_reading_command_that_fails_is_a_failed_task() {
    let resource = command(json!({"cmd": "echo 'no such thing' >&2; exit 2", "reads": true})).unwrap();
    let Verdict::Refused(why) = compare(resource.as_ref()).0 else { panic!() };
    assert_eq!(why, "`echo 'no such thing' >&2; exit 2` ended with exit status 2: no such thing");
}

#[test]
fn a_missing_user_blocks() {
    let resource = command(json!({"cmd": "true", "unless": "false", "become_user": "no-such-user"})).unwrap();
    let Verdict::Blocked { missing, change } = compare(resource.as_ref()).0 else { panic!() };
    assert_eq!(missing, [crate::values::Missing::User("no-such-user".into())]);
    let done = run(&change.script, Path::new("/nonexistent"));
    assert_eq!((done.status, done.stderr.lines().next()), (125, Some("there is no user `no-such-user`")));
}

#[test]
fn secrets_travel_through_the_input_only() {
    let secret = SecretRef { host: "db".into(), name: "P".into() };
    let resource = command(json!({"cmd": "cat", "creates": "/no", "stdin": secret.token(Encoding::Plain)})).unwrap();
    assert_eq!(resource.secrets(), [secret]);
    let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
    assert!(!crate::secret::holds_token(&change.script.render().unwrap()));
}

#[test]
fn the_environment_is_data_for_the_command_and_for_its_guard_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("made");
    let hostile = "a b'c\"$(touch pwned)`id`\nd $HOME \\";
    let environment = json!({"APP_VALUE": hostile, "COUNT": 7, "GONE": null});
    let resource = command(json!({
        "cmd": format!("printf '%s|%s|%s' \"$APP_VALUE\" \"$COUNT\" \"${{GONE-unset}}\" >{}", path.display()),
        "unless": format!("[ \"$COUNT\" = 7 ] && [ -e {} ]", path.display()),
        "environment": environment,
    }))
    .unwrap();
    let Verdict::Change(change) = compare(resource.as_ref()).0 else { panic!() };
    let done = run(&change.script, Path::new("/nonexistent"));
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{hostile}|7|unset"));
    assert!(matches!(compare(resource.as_ref()).0, Verdict::Converged { .. }));
    let (_, registered) =
        compare(command(json!({"cmd": "echo $COUNT", "reads": true, "environment": {"COUNT": 8}})).unwrap().as_ref());
    assert_eq!(registered.unwrap()["stdout"], "8");
}

#[test]
fn an_environment_takes_only_valid_names_and_texts() {
    for (name, value, message) in [
        ("A B", json!("x"), "not a valid name of an environment variable"),
        ("1A", json!("x"), "not a valid name of an environment variable"),
        ("", json!("x"), "not a valid name of an environment variable"),
        ("A=B", json!("x"), "not a valid name of an environment variable"),
        ("-i", json!("x"), "not a valid name of an environment variable"),
        ("BASH_ENV", json!("x"), "runs the value of this variable as code"),
        ("A", json!(true), "write \"true\""),
        ("A", json!(["x"]), "the value must be text"),
        ("A", json!("x\u{0}"), "NUL"),
    ] {
        let error = command(json!({"cmd": "true", "creates": "/a", "environment": {name: value}})).unwrap_err();
        assert!(error.contains(message), "{name}: {error}");
    }
}

#[test]
fn a_guard_without_an_answer_is_a_failure() {
    let resource = command(json!({"cmd": "true", "creates": "/x"})).unwrap();
    let answers = Answers::default();
    assert!(resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).is_err());
}

#[test]
fn illegal_combinations_are_errors() {
    for (parameters, message) in [
        (json!({"cmd": "true"}), "exactly one of"),
        (json!({"cmd": "true", "creates": "/a", "unless": "b"}), "exactly one of"),
        (json!({"cmd": "true", "creates": "/a", "reads": true}), "exactly one of"),
        (json!({"cmd": "true", "argv": ["true"], "creates": "/a"}), "either"),
        (json!({"argv": [], "creates": "/a"}), "is empty"),
        (json!({"argv": ["a\u{0}"], "creates": "/a"}), "NUL"),
        (json!({"cmd": " ", "creates": "/a"}), "is empty"),
        (json!({"creates": "/a"}), "give `cmd`"),
        (json!({"cmd": "x", "creates": "a"}), "not an absolute path"),
        (json!({"cmd": "x", "reads": true, "stdin": "y"}), "no input"),
        (json!({"cmd": "x", "unless": "y", "ok_rc": [1]}), "`reads: true`"),
        (json!({"cmd": "x", "warn": true}), "unknown parameter"),
    ] {
        let error = command(parameters.clone()).unwrap_err();
        assert!(error.contains(message), "{parameters}: {error}");
    }
}

#[test]
fn a_user_or_directory_that_does_not_exist_is_known_before() {
    let verdict = |parameters: Value| compare(command(parameters).unwrap().as_ref()).0;
    let missing = |parameters: Value| match verdict(parameters) {
        Verdict::Blocked { missing, .. } => crate::resource::do_not_exist(&missing),
        other @ (Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Refused(_)) => panic!("{other:?}"),
    };
    for guard in ["creates", "unless"] {
        let value = if guard == "creates" { "/no/such" } else { "false" };
        let with = |key: &str, named: &str| json!({"cmd": "true", guard: value, key: named});
        assert_eq!(missing(with("become_user", "no-such-user")), "user `no-such-user` does not exist");
        assert_eq!(missing(with("chdir", "/no/where")), "directory `/no/where` does not exist");
        assert!(matches!(verdict(with("become_user", "nobody")), Verdict::Change(_)));
    }
    // Nothing is missing where nothing is to be done.
    let done = verdict(json!({"cmd": "true", "creates": "/etc/passwd", "become_user": "no-such-user", "chdir": "/no/where"}));
    assert!(matches!(done, Verdict::Converged { .. }), "{done:?}");
    assert!(command(json!({"cmd": "true", "creates": "/x", "become_user": "a b"})).unwrap_err().contains("not a valid name"));
}
