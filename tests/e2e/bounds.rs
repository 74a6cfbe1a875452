//! Nodes that say too much: the run goes on or names what was too large, and takes less than 200 MB of the controller.

use crate::harness::{Project, RunResult, TestNode};

/// The memory of the program, in KiB: the kernel refuses more, and the program ends by a signal.
const MEMORY: &str = "204800";

/// Runs the program within that memory, with JSON.
fn bounded(project: &Project, arguments: &[&str]) -> RunResult {
    let mut program = project.command(&[]);
    let path = program.get_program().to_owned();
    program = {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -d \"$0\"; exec \"$@\"", MEMORY]).arg(path).args(arguments).args(["--output", "json"]);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(program.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
        shell
    };
    RunResult::new(arguments, &program.output().unwrap())
}

/// One node under many names.
fn names(node: &TestNode, count: usize, role: &str) -> Project {
    let project = Project::toy(&[], role);
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    let hosts: Vec<(&str, &TestNode, &str)> = names.iter().map(|name| (name.as_str(), node, "")).collect();
    project.inventory(&hosts, "toy", "");
    project
}

const FILE: &str = "tasks:\n- {name: Write, copy: {content: x, dest: /etc/toy, mode: \"0644\"}}\n";

#[test]
fn a_hundred_login_shells_that_never_stop_talking_are_named() {
    let node = TestNode::bare();
    for (count, flood) in [(100, "yes"), (2, "exec cat /dev/zero"), (2, "exec yes >&2")] {
        node.sh(&format!(
            "cd ~autobot && printf '%s\\n' '{flood}' >.bashrc && chown autobot: .bashrc && chsh -s /bin/bash autobot"
        ));
        let run = bounded(&names(&node, count, FILE), &["deploy", "--check", "--forks", "100"]);
        run.assert_code(3);
        for number in 0..count {
            let error = run.host(&format!("n{number}"))["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains("it said more than 64 KiB before our shell's first word"), "{flood}: {error}\n{}", run.said());
        }
    }
}

#[test]
fn answers_without_end_are_named_and_fifty_long_ones_fit_into_memory() {
    let node = TestNode::bare();
    // The program that looks at files answers with megabytes.
    let stat = |bytes: u64| {
        node.sh(&format!("printf '#!/bin/sh\\nyes | head -c {bytes}\\n' >/usr/local/bin/stat; chmod 755 /usr/local/bin/stat"))
    };
    stat(20_000_000);
    let run = bounded(&names(&node, 1, FILE), &["deploy", "--check"]);
    run.assert_code(1);
    let error = run.host("n0")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("the node's answers are too long: 200"), "{error}");
    stat(5_000_000);
    let run = bounded(&names(&node, 50, FILE), &["deploy", "--check", "--forks", "50"]);
    // On a slow machine, the node gives up some of so many links. The program has ended by itself all the same.
    assert!(matches!(run.code, Some(1 | 3)), "{:?}\n{}", run.code, run.said());
    for number in 0..50 {
        let status = run.host(&format!("n{number}"))["status"].clone();
        assert!(status == "failed" || status == "unreachable", "{}", run.said());
    }
}

#[test]
fn a_command_that_prints_gigabytes_works_and_a_failing_one_keeps_its_status_and_last_words() {
    let node = TestNode::bare();
    let project = Project::toy(&[("node", &node)], "");
    let print = "head -c 300000000 /dev/zero; yes \\\"$(printf %01000d 0)\\\" | head -c 100000000 >&2; echo the last words >&2";
    let role = |end: &str| format!("tasks:\n- {{name: Print, command: {{cmd: \"{print}; {end}\", creates: /etc/printed}}}}\n");
    project.write("roles/toy/role.yml", &role("exit 7"));
    let run = bounded(&project, &["deploy"]);
    run.assert_code(1);
    let error = run.failure("node");
    assert!(error.contains("exit status 7: ") && error.contains("the last words"), "{error}");
    assert!(error.len() < 100_000, "{} bytes", error.len());
    project.write("roles/toy/role.yml", &role("touch /etc/printed"));
    bounded(&project, &["deploy"]).assert_code(0);
    // What is registered is never a part of what was said.
    let reads = "tasks:\n- {name: Read, command: {cmd: \"head -c 2000000 /dev/zero | tr '\\\\0' x\", reads: true}, register: said}\n- {name: Write, copy: {content: \"{{ said.stdout }}\", dest: /etc/said}}\n";
    let error = project.is_refused(reads);
    assert!(error.contains("prints more than 1 MiB on standard output"), "{error}");
}
