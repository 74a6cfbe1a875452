//! A secret is generated once, even if several runs need it at the same time.

use std::{collections::BTreeSet, fs};

use super::{got, put, value};
use crate::harness::{Project, RunResult, TestNode, eventually};

const TOY: &str = r#"
secrets:
  TOKEN: {file: /etc/app/secrets.env, length: 40}
tasks:
  - name: Hand it out
    copy: {dest: /root/token, content: "{{ secrets.TOKEN }}\n"}
"#;

const SLOW: &str = r#"
secrets:
  TOKEN: {file: /root/secrets.env}
tasks:
  - name: Hand it out
    copy: {dest: /root/token, content: "{{ secrets.TOKEN }}\n"}
  - name: Wait to be let go
    command: {cmd: "touch /root/begun; until [ -e /root/go ]; do sleep 0.05; done", creates: /root/go}
"#;

#[test]
fn twenty_deploys_at_once_make_one_password() {
    let node = TestNode::bare();
    // So many logins at once sshd would drop by chance.
    put(&node, "etc/ssh/sshd_config.d/many.conf", "MaxStartups 100\n", 0o600);
    node.sh("systemctl restart ssh; sshd -T | grep -q '^maxstartups 100:'");
    put(&node, "etc/app/secrets.env", "# first\nOTHER='a b'\n\n# last\n", 0o600);
    let project = Project::toy(&[("n", &node)], TOY);
    let arguments = ["deploy", "--wait", "2m", "--output", "json"];
    let children: Vec<_> = (0..20).map(|_| project.spawn(&arguments)).collect();
    let runs: Vec<RunResult> =
        children.into_iter().map(|child| RunResult::new(&arguments, &child.wait_with_output().unwrap())).collect();
    for run in &runs {
        run.assert_code(0);
    }
    let changed: Vec<_> = runs.iter().map(|run| run.ids("n", "changed")).filter(|ids| !ids.is_empty()).collect();
    assert_eq!(changed, [BTreeSet::from(["toy/secret TOKEN".to_owned(), "toy/Hand it out".to_owned()])]);
    let file = got(&node, "etc/app/secrets.env");
    let token = value(&file, "TOKEN");
    assert_eq!(token.len(), 40);
    assert_eq!(got(&node, "root/token"), format!("{token}\n"));
    // What else stood in the file still stands there, in its order.
    assert_eq!(file, format!("# first\nOTHER='a b'\n\n# last\nTOKEN={token}\n"));
}

#[test]
fn runs_that_do_not_wait_report_that_the_node_is_held_and_generate_nothing() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], SLOW);
    let first = project.spawn(&["deploy", "--output", "json"]);
    eventually("the first run is at work", 30, || node.root.join("root/begun").exists());
    let before = got(&node, "root/secrets.env");
    let others: Vec<_> = (0..5).map(|_| project.spawn(&["deploy", "--output", "json"])).collect();
    for other in others {
        RunResult::new(&["deploy"], &other.wait_with_output().unwrap()).assert_code(5);
    }
    fs::write(node.root.join("root/go"), "").unwrap();
    RunResult::new(&["deploy"], &first.wait_with_output().unwrap()).assert_code(0);
    assert_eq!(got(&node, "root/secrets.env"), before);
    assert_eq!(got(&node, "root/token"), format!("{}\n", value(&before, "TOKEN")));
}

const PROVIDED: &str = r#"
secrets:
  TOKEN: {file: /etc/app/secrets.env}
tasks:
  - name: Install what makes a secret of its own
    command:
      cmd: "umask 077; mkdir /etc/app; printf 'TOKEN=%s\\n' $(cat /proc/sys/kernel/random/uuid) | tee /root/made >/etc/app/secrets.env"
      creates: /etc/app
  - name: Hand it out
    copy: {dest: /root/token, content: "TOKEN={{ secrets.TOKEN }}\n"}
"#;

#[test]
fn a_secret_that_an_earlier_task_has_made_meanwhile_is_kept() {
    let node = TestNode::bare();
    let project = Project::toy(&[("n", &node)], PROVIDED);
    let deploy = project.json(&["deploy"]);
    deploy.assert_code(0);
    assert_eq!(deploy.host("n")["unpredicted"], serde_json::json!([]));
    let made = got(&node, "root/made");
    assert_eq!([got(&node, "etc/app/secrets.env"), got(&node, "root/token")], [made.clone(), made]);
}

const BESIDE: &str = r#"
secrets:
  TOKEN: {file: /etc/app/private/secrets.env}
tasks:
  - name: Hand it out beside its file
    copy: {dest: /etc/app/token, content: "{{ secrets.TOKEN }}\n"}
"#;

#[test]
fn the_directory_that_a_secret_brings_is_there_for_its_first_user() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], BESIDE);
    project.converges(BESIDE);
    let made = got(&node, "etc/app/private/secrets.env");
    assert_eq!(got(&node, "etc/app/token"), format!("{}\n", value(&made, "TOKEN")));
    // What it does not bring is missing, and no secret is made in vain.
    let elsewhere = BESIDE.replace("/etc/app/token", "/etc/other/token").replace("TOKEN", "OTHER");
    let elsewhere = elsewhere
        .replace("tasks:\n", "tasks:\n  - {name: Do something, command: {cmd: touch /root/done, creates: /root/done}}\n");
    let deploy = project.fails(&elsewhere);
    assert!(deploy.failure("node").contains("directory `/etc/other` does not exist"), "{}", deploy.stdout);
    assert_eq!(got(&node, "etc/app/private/secrets.env"), made);
}
