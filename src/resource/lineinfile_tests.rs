//! Tests of `lineinfile` with real files: the known behaviour of Ansible's module, and the differences from it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::{Value, json};

use crate::{
    question::{
        Answers,
        path::{Entry, File, PathInfo},
    },
    resource::{
        NodeState, ParamError, Verdict,
        content::tests::{rendered, resource, roots, shown},
        edit::tests::Scratch,
        trial,
    },
    secret::{Encoding, Secret, SecretRef, SecretValues},
};

const FIVE: &str = "This is line 1\nThis is line 2\nREF this is a line for backrefs REF\nThis is line 4\nThis is line 5\n";

fn apply(scratch: &Scratch, parameters: Value) -> String {
    scratch.apply("lineinfile", parameters)
}

/// Returns the text after a task that changes it.
fn after(text: &str, parameters: Value) -> String {
    let scratch = Scratch::with(text);
    let summary = apply(&scratch, parameters);
    assert!(summary.starts_with("line") || summary.contains("removed"), "{summary}");
    scratch.text()
}

fn error(parameters: Value) -> String {
    match resource("lineinfile", parameters) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn li_01_02_a_missing_file_is_made_with_its_directories_if_declared() {
    let scratch = Scratch::with("");
    let blocked = shown(&scratch.verdict("lineinfile", json!({"path": "a/b", "line": "l"})));
    assert!(
        blocked.starts_with("blocked by file `") && blocked.contains("/a/b` (`create: true` makes it), directory `"),
        "{blocked}"
    );
    let verdict = scratch.verdict("lineinfile", json!({"path": "a/b/c", "line": "l", "create": true}));
    let change = trial::change(verdict);
    assert_eq!((change.summary.as_str(), change.replaces), ("create, with directories", false));
    assert!(trial::shown(&change.diff).ends_with("+ l"));
    assert_eq!(apply(&scratch, json!({"path": "a/b/c", "line": "l", "create": true})), "create, with directories");
    assert_eq!(fs::read_to_string(scratch.path("a/b/c")).unwrap(), "l\n");
    assert_eq!(fs::metadata(scratch.path("a/b")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn li_04_to_09_and_15_the_sums_of_ansible_s_own_tests() {
    let scratch = Scratch::with(FIVE);
    assert_eq!(scratch.sha1(), "5feac65e");
    for (parameters, summary, sum) in [
        (json!({"line": "New line at the beginning", "insertbefore": "BOF", "backup": true}), "line added", "7eade404"),
        (json!({"line": "New line at the end", "insertafter": "EOF"}), "line added", "fb57af7d"),
        (json!({"line": "New line after line 1", "insertafter": "^This is line 1$"}), "line added", "5348da60"),
        (json!({"line": "New line before line 5", "insertbefore": "^This is line 5$"}), "line added", "2e9e460f"),
        // Ansible's pattern refers to its own group; patterns here are matched in linear time and cannot.
        (json!({"line": "This is line 3", "backrefs": true, "regexp": "^(REF) .* REF$"}), "line replaced", "72f60239"),
        (json!({"state": "absent", "regexp": "^This is line 3$"}), "1 line(s) removed", "d4eeb07b"),
    ] {
        let before = scratch.sha1();
        assert_eq!(apply(&scratch, parameters.clone()), summary);
        assert_eq!(scratch.sha1(), sum, "{parameters}\n{}", scratch.text());
        if parameters["backup"] == true {
            let copy = fs::read_dir(scratch.0.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.to_str().unwrap().ends_with('~'));
            assert_eq!(before, "5feac65e");
            assert_eq!(fs::read_to_string(copy.unwrap()).unwrap(), FIVE);
        }
    }
}

#[test]
fn li_08_backrefs_without_a_match_change_nothing() {
    let task = json!({"line": "x", "backrefs": true, "regexp": "^none (.*)$"});
    assert_eq!(apply(&Scratch::with(FIVE), task), "converged");
}

#[test]
fn li_15_groups_go_into_the_line() {
    let task = json!({"line": r"This is \g<what> 7\2", "backrefs": true, "regexp": r"^This is (?P<what>line) (4)$"});
    assert_eq!(after("a\nThis is line 4\n", task.clone()), "a\nThis is line 74\n");
}

#[test]
fn li_10_11_a_validation_decides() {
    let scratch = Scratch::with(FIVE);
    assert_eq!(apply(&scratch, json!({"line": "x", "validate": "true %s"})), "line added");
    let change = trial::change(scratch.verdict("lineinfile", json!({"line": "y", "validate": "/bin/false %s"})));
    let before = scratch.text();
    assert_eq!(trial::run(&change.script, scratch.0.path()).status, 1);
    assert_eq!(scratch.text(), before);
}

#[test]
fn li_12_13_23_the_last_line_is_ended_first() {
    assert_eq!(after("a\nb", json!({"line": "c", "insertafter": "EOF"})), "a\nb\nc\n");
    assert_eq!(after("a\nb", json!({"line": "c", "insertafter": "^b$"})), "a\nb\nc\n");
    let scratch = Scratch::with("");
    apply(&scratch, json!({"line": "New line at the end", "insertafter": "EOF"}));
    assert_eq!((scratch.text().as_str(), scratch.sha1().as_str()), ("New line at the end\n", "f440dc65"));
}

#[test]
fn li_14_several_lines_are_written_verbatim_and_only_once() {
    for task in [
        json!({"line": "a\\nb\nc", "insertafter": "EOF"}),
        json!({"line": "a\\nb\nc\n"}),
        json!({"line": "a\\nb\nc", "regexp": "^a"}),
    ] {
        assert_eq!(after("x\n", task.clone()), "x\na\\nb\nc\n");
    }
    let scratch = Scratch::with("x\na1\ny\n");
    apply(&scratch, json!({"line": "a2\nb", "regexp": "^a"}));
    assert_eq!(scratch.text(), "x\na2\nb\ny\n");
    assert_eq!(apply(&scratch, json!({"line": "a2\nb", "state": "absent"})), "2 line(s) removed");
    assert_eq!(scratch.text(), "x\ny\n");
}

#[test]
fn li_16_quotes_and_shell_are_text() {
    let scratch = Scratch::with("");
    let lines = [
        "'foo'",
        "dotenv.load();",
        "var dotenv = require('dotenv');",
        "import g'",
        "\"quote\" and \"unquote\"",
        "$(reboot) `reboot` \\1 $1",
        "ü",
    ];
    for line in lines {
        assert_eq!(apply(&scratch, json!({"line": line})), "line added");
    }
    assert_eq!(scratch.text(), lines.map(|line| format!("{line}\n")).concat());
}

#[test]
fn li_17_the_same_line_at_another_place_is_enough() {
    for key in ["insertafter", "insertbefore"] {
        let scratch = Scratch::with("a\nb\nc\n");
        let summaries: Vec<String> =
            ["^a", "^b", "^c"].iter().map(|place| apply(&scratch, json!({"line": "l", key: place}))).collect();
        assert_eq!(summaries, ["line added", "converged", "converged"]);
        assert_eq!(scratch.text(), if key == "insertafter" { "a\nl\nb\nc\n" } else { "l\na\nb\nc\n" });
    }
}

#[test]
fn li_18_a_pattern_and_a_place_put_one_line_into_each_section() {
    let scratch = Scratch::with("[one]\n\n[two]\n\n[three]\n");
    for _ in 0..2 {
        for (section, key) in [("one", "a"), ("two", "b"), ("three", "c")] {
            apply(
                &scratch,
                json!({"line": format!("{key}=1"), "regexp": format!("^{key}="), "insertafter": format!("^\\[{section}\\]")}),
            );
        }
    }
    assert_eq!(scratch.text(), "[one]\na=1\n\n[two]\nb=1\n\n[three]\nc=1\n");
    assert_eq!(apply(&scratch, json!({"line": "a=1", "insertafter": "^\\[three"})), "converged");
}

#[test]
fn li_19_without_a_place_it_goes_to_the_end_once() {
    assert_eq!(after("", json!({"line": "l", "insertbefore": "^none$"})), "l\n");
    assert_eq!(after("a\n", json!({"line": "l", "insertbefore": "^none$"})), "a\nl\n");
    assert_eq!(after("a\n", json!({"line": "l", "insertafter": "^none$", "firstmatch": true})), "a\nl\n");
}

#[test]
fn li_20_an_empty_search_takes_the_last_line_and_says_so() {
    for key in ["regexp", "search_string"] {
        let scratch = Scratch::with("a\nb\n");
        let change = trial::change(scratch.verdict("lineinfile", json!({"line": "l", key: ""})));
        assert!(change.summary.contains("every line, the last one counts"), "{}", change.summary);
        trial::run(&change.script, scratch.0.path());
        assert_eq!(scratch.text(), "a\nl\n");
        let again = scratch.verdict("lineinfile", json!({"line": "l", key: ""}));
        assert!(matches!(again, Verdict::Converged { note: Some(note) } if note.contains("every line")));
    }
}

#[test]
fn li_21_the_first_or_the_last_place() {
    let text = "x=1\ny\nx=2\n";
    assert_eq!(after(text, json!({"line": "l", "insertafter": "^x"})), "x=1\ny\nx=2\nl\n");
    assert_eq!(after(text, json!({"line": "l", "insertafter": "^x", "firstmatch": true})), "x=1\nl\ny\nx=2\n");
    assert_eq!(after(text, json!({"line": "l", "insertbefore": "^x"})), "x=1\ny\nl\nx=2\n");
    assert_eq!(after(text, json!({"line": "l", "insertbefore": "^x", "firstmatch": true})), "l\nx=1\ny\nx=2\n");
    assert_eq!(after(text, json!({"line": "x=3", "regexp": "^x", "firstmatch": true})), "x=3\ny\nx=2\n");
    assert_eq!(after(text, json!({"line": "x=3", "regexp": "^x"})), "x=1\ny\nx=3\n");
    assert_eq!(
        after(text, json!({"line": "l=1", "regexp": "^l=", "insertafter": "^x", "firstmatch": true})),
        "x=1\nl=1\ny\nx=2\n"
    );
}

#[test]
fn li_22_a_search_string_is_no_pattern() {
    assert_eq!(
        after("(\\\\w)(\\\\s+)([\\\\.,])\nb\n", json!({"line": "l", "search_string": "(\\\\w)(\\\\s+)([\\\\.,])"})),
        "l\nb\n"
    );
    let task = json!({"line": "<FilesMatch \".py[45]?$\">", "search_string": "FilesMatch \".py[45]?$\""});
    assert_eq!(after("<  FilesMatch \".py[45]?$\">\nx\n", task), "<FilesMatch \".py[45]?$\">\nx\n");
    assert_eq!(after("a.c\nabc\n", json!({"search_string": "a.c", "state": "absent"})), "abc\n");
}

#[test]
fn li_24_a_link_stays_and_its_file_is_edited() {
    let scratch = Scratch::with("a\n");
    std::os::unix::fs::symlink("x", scratch.path("link")).unwrap();
    assert_eq!(apply(&scratch, json!({"path": "link", "line": "b", "backup": true})), "line added");
    assert!(fs::symlink_metadata(scratch.path("link")).unwrap().is_symlink());
    assert_eq!(scratch.text(), "a\nb\n");
    assert!(fs::read_dir(scratch.0.path()).unwrap().any(|entry| entry.unwrap().file_name().to_str().unwrap().ends_with('~')));
}

#[test]
fn owner_and_mode_stay_and_a_given_mode_is_set_with_the_line_or_alone() {
    let scratch = Scratch::with("a\n");
    fs::set_permissions(scratch.path("x"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(scratch.path("x"), Some(7), Some(8)).unwrap();
    assert_eq!(apply(&scratch, json!({"line": "b"})), "line added");
    let metadata = fs::metadata(scratch.path("x")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o640, 7, 8));
    assert_eq!(apply(&scratch, json!({"line": "b", "mode": "0600"})), "mode 0640 → 0600");
    assert_eq!(apply(&scratch, json!({"line": "c", "mode": "0644"})), "line added, mode 0600 → 0644");
}

#[test]
fn the_line_gets_the_line_end_of_ansible_s_and_the_others_keep_theirs() {
    assert_eq!(after("a\r\nb\r\n", json!({"line": "a"})), "a\nb\r\n");
    assert_eq!(after("a\r\nb\r\n", json!({"line": "a", "regexp": "^a"})), "a\nb\r\n");
    assert_eq!(after("a\r\nb\r\n", json!({"line": "c", "insertafter": "^a"})), "a\r\nc\nb\r\n");
    assert_eq!(after("a\r\nb\n", json!({"line": "a", "state": "absent"})), "b\n");
    assert_eq!(after("b\na", json!({"line": "a"})), "b\na\n");
    assert_eq!(apply(&Scratch::with("a\r\nb\r\n"), json!({"line": "a\r", "regexp": "^a"})), "converged");
}

#[test]
fn all_equal_lines_go() {
    assert_eq!(after("a\nb\na\nba\n", json!({"line": "a", "state": "absent"})), "b\nba\n");
    assert_eq!(apply(&Scratch::with("b\n"), json!({"line": "a", "state": "absent"})), "converged");
    assert_eq!(apply(&Scratch::with(""), json!({"path": "none", "line": "a", "state": "absent"})), "converged");
}

#[test]
fn an_empty_line_empties_the_line_that_is_found() {
    for search in [json!({"regexp": "^a="}), json!({"search_string": "a="}), json!({"regexp": "^a=", "firstmatch": true})] {
        let mut task = search;
        task["line"] = json!("");
        assert_eq!(after("a=1\nb=2\n", task.clone()), "\nb=2\n");
        assert_eq!(after("b=2\na=1", task), "b=2\n\n");
    }
    let task = json!({"regexp": "^a=(.*)$", "line": "\\1", "backrefs": true});
    assert_eq!(after("a=\nb=2\n", task), "\nb=2\n");
    assert_eq!(after("", json!({"line": ""})), "\n");
    assert_eq!(apply(&Scratch::with("a\n\n"), json!({"line": ""})), "converged");
}

#[test]
fn what_every_run_would_change_again_is_refused_before_it_is_changed_once() {
    let refused = |text: &str, task: Value| {
        let scratch = Scratch::with(text);
        let refusal = apply(&scratch, task).trim_end().replace(scratch.0.path().to_str().unwrap(), "");
        assert_eq!(scratch.text(), text);
        refusal
    };
    let ports = "#Port 22\n#Port 23\n";
    let all = [
        refused(ports, json!({"regexp": "^#Port", "line": "Port 2222"})),
        refused(ports, json!({"regexp": "^#Port", "line": "Port 2222", "firstmatch": true})),
        refused(ports, json!({"search_string": "#Port", "line": "Port 2222"})),
        refused("a=1\na=2\n", json!({"regexp": "^a=(.)$", "line": "b=\\1", "backrefs": true})),
        refused("a\n", json!({"regexp": "^(a+)$", "line": "\\1a", "backrefs": true})),
        refused(
            "Include x\nb\n#Port\n",
            json!({"regexp": "^#Port", "line": "Port 1", "insertafter": "^Include", "firstmatch": true}),
        ),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    refused: `/x`: `^#Port` matches 2 lines, and `line` is not one that it finds: every run would replace one more. Give a `regexp` that finds the new line, too, or remove the old lines by a task before this one, with `state: absent`
    refused: `/x`: `^#Port` matches 2 lines, and `line` is not one that it finds: every run would replace one more. Give a `regexp` that finds the new line, too, or remove the old lines by a task before this one, with `state: absent`
    refused: `/x`: `#Port` is in 2 lines, and `line` is not one that it finds: every run would replace one more. Give a `search_string` or a `regexp` that finds the new line, too, or remove the old lines by a task before this one, with `state: absent`
    refused: `/x`: `^a=(.)$` matches 2 lines, and `line` is not one that it finds: every run would replace one more. Give a `regexp` that finds the new line, too, or remove the old lines by a task before this one, with `state: absent`
    refused: `/x`: `^(a+)$` matches 1 line, and also the line that is made of it, which every run would change again. Give a `regexp` that finds the old form only
    refused: `/x`: every run would change it again (the next one: line added), because the line that is there then is not found. Give a `regexp` that finds it
    ");
    // The ways out that it names.
    assert_eq!(after(ports, json!({"regexp": "^#?Port\\b", "line": "Port 2222"})), "#Port 22\nPort 2222\n");
    let scratch = Scratch::with(ports);
    assert_eq!(apply(&scratch, json!({"regexp": "^#Port", "state": "absent"})), "2 line(s) removed");
    assert_eq!(apply(&scratch, json!({"regexp": "^#Port", "line": "Port 2222"})), "line added");
    // One match is settled by one change, and several are if the last one is as declared.
    assert_eq!(after("#Port 22\n", json!({"regexp": "^#Port", "line": "Port 2222"})), "Port 2222\n");
    assert_eq!(apply(&Scratch::with("#Port 22\n#Port 1\n"), json!({"regexp": "Port", "line": "#Port 1"})), "converged");
}

#[test]
fn a_secret_that_is_yet_to_be_made_is_foreseen_to_settle_or_not() {
    let node = |text: &str| {
        let mut answers = Answers::default();
        let attributes = roots(0o600);
        let entry = Entry::File(File { attributes, size: text.len() as u64, content: Some(text.into()), sha256: None });
        trial::answer_about(&mut answers, "/etc/x", &PathInfo { entry, parent_exists: true });
        answers
    };
    let line = format!("key={}", key().token(Encoding::Plain));
    let mut known = SecretValues::default();
    known.insert(key(), Secret::new("s3cret".into()));
    for secrets in [SecretValues::default(), known] {
        let refusal = |text: &str, regexp: &str| {
            let task = resource("lineinfile", json!({"path": "/etc/x", "line": line, "regexp": regexp})).unwrap();
            task.refuse(&NodeState { answers: &node(text), secrets: &secrets }, &[])
        };
        assert_eq!(refusal("key=a\nkey=b\n", "^key=\\w+$"), None);
        assert_eq!(refusal("#key=a\nkey=b\n", "^#key="), None);
        let reason = refusal("#key=a\n#key=b\n", "^#key=").unwrap();
        assert!(reason.contains("matches 2 lines") && !reason.contains("s3cret"), "{reason}");
    }
}

#[test]
fn an_earlier_task_may_change_the_file_before() {
    let task = |parameters: Value| {
        let mut parameters = parameters;
        parameters["path"] = parameters.get("path").cloned().unwrap_or(json!("/srv/a/x"));
        parameters
    };
    let edit = resource("lineinfile", task(json!({"regexp": "^#Port", "line": "Port 1"}))).unwrap();
    let text = "#Port\n#Port\n";
    let mut answers = Answers::default();
    let entry = Entry::File(File { attributes: roots(0o600), size: 12, content: Some(text.into()), sha256: None });
    trial::answer_about(&mut answers, "/srv/a/x", &PathInfo { entry, parent_exists: true });
    let node = NodeState { answers: &answers, secrets: &SecretValues::default() };
    for (kind, parameters, is_refused) in [
        ("lineinfile", task(json!({"regexp": "^#Port", "state": "absent"})), false),
        ("file", json!({"path": "/srv/a", "state": "absent"}), false),
        ("command", json!({"cmd": "sed -i s/#// /srv/a/x", "unless": "true"}), false),
        ("lineinfile", task(json!({"path": "/etc/y", "line": "x"})), true),
        ("user", json!({"name": "redis"}), true),
    ] {
        let earlier = resource(kind, parameters).unwrap();
        assert_eq!(edit.refuse(&node, &[earlier.as_ref()]).is_some(), is_refused, "{kind}");
    }
}

#[test]
fn the_line_break_is_a_part_of_the_line() {
    let task = json!({"regexp": "^UsePAM\\s", "line": "UsePAM yes"});
    assert_eq!(after("UsePAM\nx\n", task), "UsePAM yes\nx\n");
    assert_eq!(after("a=1\nb\n", json!({"regexp": "a=1\n", "line": "a=2"})), "a=2\nb\n");
    assert_eq!(after("a=1\nb\n", json!({"search_string": "a=1\n", "line": "a=2"})), "a=2\nb\n");
    assert_eq!(
        after("[Service]\nType=simple\n[Install]\n", json!({"insertafter": "^\\[Service\\]\\s", "line": "l"})),
        "[Service]\nl\nType=simple\n[Install]\n"
    );
    assert_eq!(after("a \nb\n", json!({"regexp": "\\s+$", "state": "absent"})), "");
    assert_eq!(after("a\nab", json!({"regexp": "a$", "line": "ca"})), "ca\nab");
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let latin = b"# caf\xe9\na=1\n\xff\xfe\n";
    let after = |task| Scratch::bytes_after("lineinfile", latin, task);
    assert_eq!(after(json!({"line": "z=9"})), b"# caf\xe9\na=1\n\xff\xfe\nz=9\n");
    assert_eq!(
        after(json!({"regexp": "^a=", "line": "a=2 ü"})),
        "# caf\u{0}\na=2 ü\n\u{1}\n".as_bytes().iter().fold(Vec::new(), |mut bytes, byte| {
            match byte {
                0 => bytes.push(0xe9),
                1 => bytes.extend([0xff, 0xfe]),
                byte => bytes.push(*byte),
            }
            bytes
        })
    );
    assert_eq!(after(json!({"regexp": "^# caf.$", "line": "x"})), b"x\na=1\n\xff\xfe\n");
    assert_eq!(after(json!({"regexp": "^# (caf.)$", "line": "\\1 \\1", "backrefs": true})), b"caf\xe9 caf\xe9\na=1\n\xff\xfe\n");
    assert_eq!(after(json!({"regexp": "^..$", "state": "absent"})), b"# caf\xe9\na=1\n");
    assert_eq!(Scratch::bytes_after("lineinfile", "café\n".as_bytes(), json!({"regexp": "^caf.$", "line": "x"})), b"x\n");
}

#[test]
fn groups_of_a_file_that_is_not_there_are_an_error() {
    let scratch = Scratch::with("");
    let mut task = json!({"path": "none", "regexp": "^(Port)\\s", "line": "\\1 22", "backrefs": true});
    let blocked = shown(&scratch.verdict("lineinfile", task.clone()));
    assert!(blocked.starts_with("blocked by file `") && blocked.contains("(`create: true` makes it)"), "{blocked}");
    task["create"] = json!(true);
    assert_eq!(apply(&scratch, task), "converged");
}

#[test]
fn an_empty_place_is_the_end_and_eof_is_a_pattern_before_which_a_line_may_go() {
    for place in [json!({"insertbefore": ""}), json!({"insertafter": ""}), json!({"insertbefore": "EOF"})] {
        let mut task = place;
        task["line"] = json!("l");
        assert_eq!(after("a\nb\n", task), "a\nb\nl\n");
    }
    assert_eq!(after("cat <<EOF\nx\nEOF\n", json!({"line": "l", "insertbefore": "EOF"})), "cat <<EOF\nx\nl\nEOF\n");
    assert_eq!(after("a\n", json!({"line": "l", "insertafter": "BOF"})), "l\na\n");
}

#[test]
fn firstmatch_puts_the_line_to_the_first_place_though_it_stands_further_down() {
    let task = json!({"line": "l", "insertafter": "^x", "firstmatch": true});
    assert_eq!(after("x\ny\nl\n", task.clone()), "x\nl\ny\nl\n");
    assert_eq!(apply(&Scratch::with("l\nx\ny\n"), task), "converged");
}

fn key() -> SecretRef {
    SecretRef { host: "db".into(), name: "KEY".into() }
}

fn with_secret(content: &str, value: Option<&str>, regexp: Option<&str>) -> Verdict {
    let line = format!("key={}", key().token(Encoding::Plain));
    let task = resource("lineinfile", json!({"path": "/etc/x", "line": line, "regexp": regexp})).unwrap();
    assert_eq!(task.secrets(), [key()]);
    let mut answers = Answers::default();
    let entry =
        Entry::File(File { attributes: roots(0o600), size: content.len() as u64, content: Some(content.into()), sha256: None });
    trial::answer_about(&mut answers, "/etc/x", &PathInfo { entry, parent_exists: true });
    let mut secrets = SecretValues::default();
    if let Some(value) = value {
        secrets.insert(key(), Secret::new(value.into()));
    }
    task.compare(&NodeState { answers: &answers, secrets: &secrets }).unwrap()
}

#[test]
fn a_secret_in_the_line_never_shows_and_neither_do_the_lines_around_it() {
    assert_eq!(shown(&with_secret("other=hunter2\nkey=s3cret\n", Some("s3cret"), None)), "converged");
    let added = with_secret("other=hunter2\n", Some("s3cret"), None);
    assert_eq!(shown(&added), "change: line added\n= /etc/x\n+ key=‹KEY›\n");
    let replaced = with_secret("other=hunter2\nkey=old-one\n", Some("s3cret"), Some("^key="));
    assert_eq!(shown(&replaced), "change (replaces): line replaced\n= /etc/x\n- key= …\n+ key=‹KEY›\n");
    // While its value is not known, no line equals it.
    assert_eq!(shown(&with_secret("key=‹KEY›\n", None, None)), "change: line added\n= /etc/x\n+ key=‹KEY›\n");
    for verdict in [added, replaced] {
        let text = format!("{verdict:?}{}", rendered(&verdict));
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let secret = key().token(Encoding::Plain);
    let all = [
        error(json!({"path": "/x"})),
        error(json!({"path": "/x", "state": "absent"})),
        error(json!({"path": "/x", "line": "a", "regexp": "a", "search_string": "a"})),
        error(json!({"path": "/x", "line": "a", "insertafter": "a", "insertbefore": "a"})),
        error(json!({"path": "/x", "line": "a", "insertafter": "("})),
        error(json!({"path": "/x", "line": "a", "backrefs": true})),
        error(json!({"path": "/x", "line": "\\2", "backrefs": true, "regexp": "(a)"})),
        error(json!({"path": "/x", "line": "a", "regexp": "^(REF) .* \\1$"})),
        // LI-03
        error(json!({"path": "/x", "line": "a", "validate": "visudo -c"})),
        // LI-26: there is no directory that a path could be relative to.
        error(json!({"path": "x", "line": "a"})),
        error(json!({"path": "/proc/x", "line": "a"})),
        error(json!({"path": "/x", "line": secret, "mode": "0644"})),
        error(json!({"path": "/x", "line": "a", "follow": true})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    []: `line` is missing
    []: give `line`, `regexp` or `search_string`: they say which lines to remove
    [Key("search_string")]: give either `regexp` or `search_string`
    [Key("insertbefore")]: give either `insertafter` or `insertbefore`
    [Key("insertafter")]: `(` is not a regular expression: found open group without closing ')'
    [Key("backrefs")]: needs a `regexp`, whose groups `line` refers to
    [Key("line")]: there is no group 2 in `(a)`
    [Key("regexp")]: `^(REF) .* \1$` refers to a group within the pattern (`\1`), which is not supported; write the text out instead
    [Key("validate")]: say where the file's path goes with `%s`
    [Key("path")]: `x` is not an absolute path
    [Key("path")]: `/proc/x` is the kernel's, not a file; use `sysctl` or `command`
    [Key("mode")]: the file holds a secret: mode 0644 lets every user at it; say "0600" or "0640"
    [Key("follow")]: unknown parameter, expected one of `path`, `insertafter`, `insertbefore`, `create`, `owner`, `group`, `mode`, `validate`, `backup`, `line`, `regexp`, `search_string`, `state`, `firstmatch`, `backrefs`
    "#);
}
