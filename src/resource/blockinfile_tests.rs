//! Tests of `blockinfile` with real files: the known behaviour of Ansible's module.

use std::fs;

use serde_json::{Value, json};

use crate::{
    question::{
        Answers,
        path::{Entry, File, PathInfo},
    },
    resource::{
        NodeState, ParamError, Verdict,
        content::tests::{resource, roots, shown},
        edit::tests::Scratch,
        trial,
    },
    secret::{Encoding, Secret, SecretRef, SecretValues},
};

const BEGIN: &str = "# BEGIN ANSIBLE MANAGED BLOCK\n";
const END: &str = "# END ANSIBLE MANAGED BLOCK\n";

fn apply(scratch: &Scratch, parameters: Value) -> String {
    scratch.apply("blockinfile", parameters)
}

/// Returns the text after a task that changes it.
fn after(text: &str, parameters: Value) -> String {
    let scratch = Scratch::with(text);
    let summary = apply(&scratch, parameters);
    assert!(summary.starts_with("block"), "{summary}");
    scratch.text()
}

/// Replaces `<` and `>` with the marks.
fn marked(text: &str) -> String {
    text.replace('<', BEGIN).replace('>', END)
}

fn error(parameters: Value) -> String {
    match resource("blockinfile", parameters) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bi_01_13_it_goes_to_the_end_and_shows() {
    let scratch = Scratch::with("a\n");
    let change = trial::change(scratch.verdict("blockinfile", json!({"block": "b", "backup": true})));
    assert!(trial::shown(&change.diff).ends_with("+ # BEGIN ANSIBLE MANAGED BLOCK\n+ b\n+ # END ANSIBLE MANAGED BLOCK"));
    assert!(!change.replaces);
    assert_eq!(apply(&scratch, json!({"block": "b", "backup": true})), "block inserted");
    assert_eq!(scratch.text(), marked("a\n<b\n>"));
    assert!(fs::read_dir(scratch.0.path()).unwrap().any(|entry| entry.unwrap().file_name().to_str().unwrap().ends_with('~')));
    assert_eq!(apply(&scratch, json!({"block": "c"})), "block");
    assert_eq!(scratch.text(), marked("a\n<c\n>"));
}

#[test]
fn bi_02_a_line_break_at_the_end_of_the_block_is_no_difference() {
    let scratch = Scratch::with("");
    apply(&scratch, json!({"block": "one\ntwo\nthree"}));
    assert_eq!(scratch.sha1(), "50d49f52", "{}", scratch.text());
    assert_eq!(apply(&scratch, json!({"block": "one\ntwo\nthree\n"})), "converged");
}

#[test]
fn bi_03_the_last_line_is_ended_first() {
    assert_eq!(after("a", json!({"block": "b"})), marked("a\n<b\n>"));
    assert_eq!(after("a", json!({"block": "b", "insertafter": "^a"})), marked("a\n<b\n>"));
}

#[test]
fn bi_04_12_a_file_is_made_when_asked_for_and_valid() {
    let scratch = Scratch::with("");
    assert!(shown(&scratch.verdict("blockinfile", json!({"path": "a/b", "block": "b"}))).contains("(`create: true` makes it)"));
    let failing = json!({"path": "a/b", "block": "b", "create": true, "validate": "/bin/false %s"});
    let change = trial::change(scratch.verdict("blockinfile", failing));
    assert_eq!(trial::run(&change.script, scratch.0.path()).status, 1);
    assert!(!scratch.path("a/b").exists());
    assert_eq!(apply(&scratch, json!({"path": "a/b", "block": "b", "create": true, "validate": "true %s"})), "create");
    assert_eq!(fs::read_to_string(scratch.path("a/b")).unwrap(), marked("<b\n>"));
}

#[test]
fn bi_05_06_an_absent_or_empty_block_goes() {
    for task in [json!({"state": "absent"}), json!({"block": ""}), json!({"block": "b", "state": "absent"})] {
        assert_eq!(after(&marked("a\n<b\n>c\n"), task.clone()), "a\nc\n");
        assert_eq!(after(&marked("<b\n>"), task.clone()), "");
        assert_eq!(apply(&Scratch::with("a\n"), task.clone()), "converged");
        let mut nowhere = task;
        nowhere["path"] = json!("none");
        assert_eq!(apply(&Scratch::with(""), nowhere), "converged");
    }
}

#[test]
fn bi_07_21_it_goes_to_its_place() {
    let lines = "line1\nline2\nline3\n";
    let block = "block1\nblock2";
    for (place, expected) in [
        (json!({"insertafter": "^line2"}), "line1\nline2\n<block1\nblock2\n>line3\n"),
        (json!({"insertbefore": "^line2"}), "line1\n<block1\nblock2\n>line2\nline3\n"),
        (json!({"insertafter": "^line"}), "line1\nline2\nline3\n<block1\nblock2\n>"),
        (json!({"insertbefore": "BOF"}), "<block1\nblock2\n>line1\nline2\nline3\n"),
        (json!({"insertbefore": "^none"}), "line1\nline2\nline3\n<block1\nblock2\n>"),
    ] {
        let mut task = json!({"block": block});
        task.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        assert_eq!(after(lines, task), marked(expected));
    }
    // An existing block stays in its place.
    assert_eq!(after(&marked("<x\n>line1\n"), json!({"block": "y"})), marked("<y\n>line1\n"));
}

#[test]
fn bi_08_a_pattern_over_several_lines_says_so() {
    let text = "a\nb\nc\n";
    assert_eq!(after(text, json!({"block": "x", "insertafter": "(?m)^a\nb$"})), marked("a\nb\n<x\n>c\n"));
    assert_eq!(after(text, json!({"block": "x", "insertbefore": "(?m)^b\nc$"})), marked("a\n<x\n>b\nc\n"));
    assert_eq!(after(text, json!({"block": "x", "insertafter": "^a\nb$"})), marked("a\nb\nc\n<x\n>"));
    assert_eq!(after("a\nb", json!({"block": "x", "insertafter": "(?m)^b$"})), marked("a\nb\n<x\n>"));
}

#[test]
fn bi_09_windows_line_ends_stay() {
    let scratch = Scratch::with("dos1\r\ndos2\r\ndos3\r\n");
    apply(&scratch, json!({"block": "dos4\r\ndos5\r\ndos6\r\n"}));
    assert_eq!(scratch.text(), marked("dos1\r\ndos2\r\ndos3\r\n<dos4\r\ndos5\r\ndos6\r\n>"));
}

#[test]
fn the_line_break_is_a_part_of_the_line_and_other_bytes_stay() {
    let task = json!({"block": "x", "insertafter": "^\\[Service\\]\\s"});
    assert_eq!(after("[Service]\nType=simple\n", task), marked("[Service]\n<x\n>Type=simple\n"));
    assert_eq!(after("server {\n}\n", json!({"block": "x", "insertafter": "server {"})), marked("server {\n<x\n>}\n"));
    assert_eq!(after("a\rb\n", json!({"block": "x", "insertbefore": "^b"})), marked("a\r\n<x\n>b\n"));
    let found = Scratch::bytes_after("blockinfile", b"# caf\xe9\nb\n", json!({"block": "x", "insertafter": "^# caf.$"}));
    assert_eq!(found, [b"# caf\xe9\n", marked("<x\n>b\n").as_bytes()].concat());
}

#[test]
fn a_file_for_no_block_is_made_empty_where_create_says_so() {
    let scratch = Scratch::with("");
    let task = |create: bool| json!({"path": "new", "block": "", "create": create});
    assert_eq!(apply(&scratch, task(false)), "converged");
    assert_eq!(apply(&scratch, json!({"path": "new", "state": "absent", "create": true})), "converged");
    assert_eq!(apply(&scratch, task(true)), "create");
    assert_eq!(fs::read(scratch.path("new")).unwrap(), b"");
}

#[test]
fn bi_10_an_empty_line_below_but_not_at_the_end() {
    let task = json!({"block": "b", "append_newline": true, "insertafter": "^a"});
    assert_eq!(after("a\nc\n", task.clone()), marked("a\n<b\n>\nc\n"));
    assert_eq!(after("a\n", task.clone()), marked("a\n<b\n>"));
    assert_eq!(after(&marked("a\n<b\n>c\n"), task), marked("a\n<b\n>\nc\n"));
    assert_eq!(after(&marked("a\n<b\n>c\n"), json!({"state": "absent", "append_newline": true})), "a\nc\n");
}

#[test]
fn bi_11_an_empty_line_above_but_not_at_the_top() {
    let task = json!({"block": "b", "prepend_newline": true, "insertbefore": "^c"});
    assert_eq!(after("a\nc\n", task.clone()), marked("a\n\n<b\n>c\n"));
    assert_eq!(after("c\n", task.clone()), marked("<b\n>c\n"));
    assert_eq!(after(&marked("a\n<b\n>c\n"), task), marked("a\n\n<b\n>c\n"));
    assert_eq!(after(&marked("a\n<b\n>c\n"), json!({"state": "absent", "prepend_newline": true})), "a\nc\n");
}

#[test]
fn other_marks_make_other_blocks() {
    let scratch = Scratch::with("a\n");
    apply(&scratch, json!({"block": "1", "marker": "; {mark} one"}));
    apply(&scratch, json!({"block": "2", "marker": "; {mark} two", "marker_begin": "from", "marker_end": "to"}));
    assert_eq!(scratch.text(), "a\n; BEGIN one\n1\n; END one\n; from two\n2\n; to two\n");
    assert_eq!(apply(&scratch, json!({"block": "1", "marker": "; {mark} one"})), "converged");
}

#[test]
fn half_a_block_is_refused() {
    let refusal = shown(&Scratch::with(&marked("a\n<b\nc\n")).verdict("blockinfile", json!({"block": "x"})));
    assert!(
        refusal.contains("the file has the mark `# BEGIN ANSIBLE MANAGED BLOCK` but not `# END ANSIBLE MANAGED BLOCK`,"),
        "{refusal}"
    );
}

#[test]
fn a_secret_in_the_block_never_shows() {
    let key = SecretRef { host: "db".into(), name: "KEY".into() };
    let block = format!("key {}", key.token(Encoding::Plain));
    let task = resource("blockinfile", json!({"path": "/etc/x", "block": block, "owner": "root"})).unwrap();
    assert_eq!(task.secrets(), std::slice::from_ref(&key));
    let verdict = |content: String, value: Option<&str>| {
        let entry = Entry::File(File {
            attributes: roots(0o600),
            size: content.len() as u64,
            content: Some(content.into()),
            sha256: None,
        });
        let mut answers = Answers::default();
        trial::answer_about(&mut answers, "/etc/x", &PathInfo { entry, parent_exists: true });
        let mut secrets = SecretValues::default();
        if let Some(value) = value {
            secrets.insert(key.clone(), Secret::new(value.into()));
        }
        task.compare(&NodeState { answers: &answers, secrets: &secrets }).unwrap()
    };
    assert_eq!(shown(&verdict(marked("hunter2\n<key s3cret\n>"), Some("s3cret"))), "converged");
    let changed = verdict(marked("hunter2\n<key old-one\n>"), Some("s3cret"));
    assert_eq!(shown(&changed), "change (replaces): block\n= /etc/x\n- key …\n+ key ‹KEY›\n");
    assert!(!format!("{changed:?}").contains("s3cret"));
    let Verdict::Change(fresh) = verdict("hunter2\n".into(), None) else { panic!() };
    assert!(!fresh.replaces);
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let all = [
        error(json!({"path": "/x", "block": "a", "marker": "# no mark"})),
        error(json!({"path": "/x", "block": "a", "marker": "# {mark}\n"})),
        error(json!({"path": "/x", "block": "a", "marker_end": "BEGIN"})),
        error(json!({"path": "/x", "block": format!("a\n{END}")})),
        error(json!({"path": "/x", "block": "a", "insertafter": "a", "insertbefore": "BOF"})),
        error(json!({"path": "/x", "block": "a", "insertafter": "BOF"})),
        error(json!({"path": "/x", "block": "a", "validate": "true"})),
        error(json!({"path": "/x", "line": "a"})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    [Key("marker")]: say with `{mark}` where BEGIN and END go; without it the block cannot be found again
    [Key("marker")]: must be one line
    [Key("marker_end")]: must differ from `marker_begin`
    [Key("block")]: holds its own mark as a line; choose another `marker`
    [Key("insertbefore")]: give either `insertafter` or `insertbefore`
    [Key("insertafter")]: `BOF` is a pattern here, as in Ansible; the beginning of the file is `insertbefore: BOF`
    [Key("validate")]: say where the file's path goes with `%s`
    [Key("line")]: unknown parameter, expected one of `path`, `insertafter`, `insertbefore`, `create`, `owner`, `group`, `mode`, `validate`, `backup`, `block`, `marker`, `marker_begin`, `marker_end`, `was`, `append_newline`, `prepend_newline`, `state`
    "#);
}

#[test]
fn a_block_with_a_former_marker_is_taken_over_in_its_place() {
    let task = |block: &str| json!({"block": block, "marker": "# {mark} ours", "was": ["# {mark} older", "# {mark} old"]});
    let old = "a\n# BEGIN old\nb\n# END old\nc\n";
    let scratch = Scratch::with(old);
    assert_eq!(apply(&scratch, task("b")), "block, under its new marker");
    assert_eq!(scratch.text(), "a\n# BEGIN ours\nb\n# END ours\nc\n");
    assert!(matches!(scratch.verdict("blockinfile", task("b")), Verdict::Converged { .. }));
    // It is removed if there is a block with the present marker; where one block contains the other, no line is left over.
    for both in [
        "# BEGIN old\nb\n# END old\na\n# BEGIN ours\nx\n# END ours\nc\n",
        "a\n# BEGIN ours\nx\n# BEGIN old\nb\n# END old\n# END ours\nc\n",
        "a\n# BEGIN older\nx\n# END older\n# BEGIN old\nb\n# END old\nc\n",
    ] {
        assert_eq!(after(both, task("b")), "a\n# BEGIN ours\nb\n# END ours\nc\n", "{both}");
    }
    let absent = json!({"state": "absent", "marker": "# {mark} ours", "was": "# {mark} old"});
    assert_eq!(after(old, absent), "a\nc\n");
    let change = trial::change(Scratch::with(old).verdict("blockinfile", task("b")));
    assert!(change.replaces);
}

#[test]
fn former_markers_must_be_markers_and_not_the_present_one() {
    assert!(error(json!({"path": "/f", "block": "b", "was": "# old"})).starts_with("[Key(\"was\")]: say with `{mark}`"));
    assert!(error(json!({"path": "/f", "block": "b", "was": "# {mark} ANSIBLE MANAGED BLOCK"})).contains("the present `marker`"));
    let holds = json!({"path": "/f", "block": "# END old\n", "was": "# {mark} old"});
    assert!(error(holds).contains("holds its own mark"));
    let half = Scratch::with("# BEGIN old\n").verdict("blockinfile", json!({"block": "b", "was": "# {mark} old"}));
    assert!(matches!(half, Verdict::Refused(why) if why.contains("but not `# END old`")), "half a block");
}
