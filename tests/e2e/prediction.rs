//! What a check predicts of commands, conditions, loops and registered answers; and what happens to changes that no check could predict.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    harness::{Project, TestNode},
    truth::deploys_as_checked,
};

/// Returns the ids of the tasks of role `toy` with these names.
fn toys(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("toy/{name}")).collect()
}

#[test]
fn guards_conditions_loops_and_registered_answers_are_predicted() {
    let node = TestNode::bare();
    let role = r#"
defaults: {parts: [one, two]}
tasks:
  - {name: Create the directory, file: {path: /srv/toy, state: directory}}
  - name: Write the part
    copy: {content: "{{ item }}\n", dest: "/srv/toy/{{ item }}"}
    loop: "{{ parts }}"
    register: written
  - name: Note that parts are new
    command: {cmd: "date >/srv/toy/noted", creates: /srv/toy/noted}
    when: written.changed
  - name: Sum up
    command: {cmd: "cat one two >sum", unless: "cat one two | cmp -s - sum", chdir: /srv/toy}
  - name: Drop what is old
    command: {cmd: rm -f /srv/old, removes: /srv/old}
  - name: Correct the text
    command: {cmd: "sed -i s/wrong/right/ /srv/text", only_if: "grep -q wrong /srv/text"}
    notify: count corrections
  - name: Look who is there
    command: {cmd: "cat /srv/guests 2>/dev/null || true", reads: true}
    register: guests
  - name: Greet
    copy: {content: "welcome, {{ item }}\n", dest: "/srv/welcome-{{ item }}"}
    loop: "{{ guests.stdout_lines }}"
  - name: Set out the good plates
    file: {path: /srv/plates, state: directory}
    when: guests.stdout_lines | length > 1
handlers:
  - name: count corrections
    command: {cmd: "echo corrected >>/srv/corrections"}
"#;
    let project = Project::toy(&[("db", &node)], role);
    let bare = deploys_as_checked(&project, "db", "on a bare node", &[]);
    let made = ["Create the directory", "Write the part (one)", "Write the part (two)", "Note that parts are new", "Sum up"];
    assert_eq!(bare, toys(&made));

    node.sh("touch /srv/old; echo wrong >/srv/text; printf 'ann\\nbob\\n' >/srv/guests");
    let reads = deploys_as_checked(&project, "db", "with guests", &[]);
    let made =
        ["Drop what is old", "Correct the text", "count corrections", "Greet (ann)", "Greet (bob)", "Set out the good plates"];
    assert_eq!(reads, toys(&made));
    assert_eq!(node.sh("cat /srv/corrections"), "corrected");

    node.sh("rm /srv/toy/two /srv/toy/noted; echo ann >/srv/guests; rm /srv/welcome-*");
    let undone = deploys_as_checked(&project, "db", "with parts of it undone", &[]);
    assert_eq!(undone, toys(&["Write the part (two)", "Note that parts are new", "Sum up", "Greet (ann)"]));

    // Only the note is missing: its condition does not hold, so neither run makes it.
    node.sh("rm /srv/toy/noted");
    assert_eq!(deploys_as_checked(&project, "db", "with the note gone", &[]), BTreeSet::new());
    assert!(project.json(&["deploy", "--check"]).ids("db", "skipped").contains("toy/Note that parts are new"));
}

const SPOILT: &str = r#"
tasks:
  - {name: Declare the rhyme, copy: {content: "rhyme\n", dest: /etc/rhyme}}
  - name: Set up
    command: {cmd: "echo spoilt >/etc/motto; touch /etc/set-up", creates: /etc/set-up}
  - {name: Declare the motto, copy: {content: "motto\n", dest: /etc/motto}}
"#;

#[test]
fn a_change_that_no_check_could_predict_is_printed_and_listed() {
    let node = TestNode::bare();
    let project = Project::toy(&[("db", &node)], SPOILT);
    let prepare = || node.sh("rm -f /etc/set-up /etc/rhyme; echo motto >/etc/motto; chmod 0644 /etc/motto");
    prepare();
    let check = project.json(&["deploy", "--check"]);
    assert_eq!(check.ids("db", "changed"), toys(&["Declare the rhyme", "Set up"]));
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(0);
    assert_eq!(deploy.ids("db", "changed"), toys(&["Declare the rhyme", "Set up", "Declare the motto"]));
    assert_eq!(deploy.host("db")["unpredicted"], json!(["toy/Declare the motto"]));
    assert_eq!(node.sh("cat /etc/motto"), "motto");

    prepare();
    let deploy = project.run(&["deploy"]);
    deploy.assert_code(0);
    assert!(deploy.said().contains("db: not predicted by a check: toy/Declare the motto"), "{}", deploy.said());
    assert_eq!(deploys_as_checked(&project, "db", "afterwards", &[]), BTreeSet::new());
}

#[test]
fn a_task_that_a_later_one_undoes_fails_the_run_whether_or_not_it_changed_anything() {
    let node = TestNode::bare();
    let role = r#"
tasks:
  - {name: Declare the motto, copy: {content: "motto\n", dest: /etc/motto}}
  - name: Set up
    command: {cmd: "echo spoilt >/etc/motto; touch /etc/set-up", creates: /etc/set-up}
  - {name: Declare the rhyme, copy: {content: "rhyme\n", dest: /etc/rhyme}}
"#;
    let project = Project::toy(&[("db", &node)], role);
    let why = "no longer as declared at the end of the run: toy/Declare the motto";
    // In the first run the motto is changed, in the second it is as declared at its turn; a task after the spoiling one changes something.
    for prepare in ["true", "rm /etc/set-up /etc/rhyme; echo motto >/etc/motto"] {
        node.sh(prepare);
        let deploy = project.json(&["deploy"]);
        deploy.assert_code(1);
        let host = deploy.host("db");
        assert_eq!((&host["status"], &host["error"]), (&json!("failed"), &json!(why)), "{prepare}");
        assert_eq!(host["unpredicted"], json!(["toy/Declare the motto"]), "{prepare}");
    }
    // The spoiling task is done, so the next run repairs the motto.
    assert_eq!(deploys_as_checked(&project, "db", "the next run", &[]), toys(&["Declare the motto"]));
    node.sh("rm /etc/set-up");
    let deploy = project.run(&["deploy"]);
    deploy.assert_code(1);
    assert!(deploy.said().contains(why), "{}", deploy.said());
}
