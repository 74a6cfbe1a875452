//! Dynamic inventories: programs that print Ansible's JSON when they are called with `--list`.

use std::borrow::Cow;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use indexmap::IndexSet;
use rustix::process::{Pid, Signal, kill_process_group};

use super::draft::Draft;
use super::yaml_file::{GROUP_KEYS, entries, unknown_key};
use super::{Dialect, range};
use crate::controller::Controller;
use crate::source::{Diagnostic, Key, Node, SourceFile, Span, Yaml, did_you_mean, open_regular, yaml};

/// The most output that is read from a program, in bytes: more than the JSON of any fleet.
const MAX_OUTPUT: u64 = 64 << 20;
/// The most values in it: each takes more memory than it takes bytes to write.
const MAX_VALUES: usize = 1_000_000;
/// The most that is kept of its standard error, for a message.
const MAX_ERRORS: u64 = 1 << 20;

/// Whether a file is a program to run: executable, and a script or an ELF binary. (On some file systems every file is executable.)
pub(super) fn is_program(path: &Path) -> bool {
    let is_executable = path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    let mut magic = Vec::new();
    let read = is_executable.then(|| open_regular(path).and_then(|file| file.take(4).read_to_end(&mut magic)));
    read.is_some_and(|result| result.is_ok()) && (magic.starts_with(b"#!") || magic == b"\x7fELF")
}

pub(super) fn load(draft: &mut Draft, path: &Path, shown: &str, controller: &Controller) {
    draft.dialect = Dialect::Json;
    // What it prints may hold secrets, and is no file of the project. If it cannot be read, it may still run.
    let _ = draft.inventory.files.program(path);
    let Some(root) = draft.errors.keep(query(controller, path, shown, &["--list"])) else { return };
    let Some(groups) = entries(draft, &root, &format!("the output of `{shown}`"), "groups") else { return };
    for (key, node) in groups.iter().filter(|(key, _)| key.name != "_meta") {
        group(draft, key, node);
    }
    // Only hosts of groups count, even if `hostvars` names others.
    let lists = groups.iter().filter(|(key, _)| key.name != "_meta").flat_map(|(key, node)| hosts_in_group(key, node));
    let names: IndexSet<String> = lists.collect();
    let Some(meta) = root.get("_meta") else {
        // Programs without `_meta` are called once for each host.
        for name in names {
            let Some(vars) = draft.errors.keep(query(controller, path, shown, &["--host", &name])) else { return };
            set_vars(draft, &Key { name, span: vars.span.clone() }, &vars);
        }
        return;
    };
    let Some(hostvars) = meta.get("hostvars").filter(|hostvars| hostvars.as_map().is_some()) else {
        let error = Diagnostic::error("`_meta` has no map `hostvars`").at(meta.span.clone()).label("here");
        draft.errors.push(error.help("leave out `_meta` if the program should be called with `--host`"));
        return;
    };
    for (host, vars) in hostvars.as_map().unwrap_or_default().iter().filter(|(host, _)| names.contains(&host.name)) {
        set_vars(draft, host, vars);
    }
}

fn set_vars(draft: &mut Draft, host: &Key, vars: &Node) {
    if let Some(vars) = entries(draft, vars, &format!("host `{}`", host.name), "names and values") {
        draft.host_vars(&host.name, &host.span, vars);
    }
}

/// Whether a map has none of the keys of a group. Ansible then takes the group's name as its only host, and the entries as variables.
fn is_host(parts: &[(Key, Node)]) -> bool {
    let is_group_key =
        |(key, _): &(Key, Node)| GROUP_KEYS.contains(&key.name.as_str()) || did_you_mean(&key.name, GROUP_KEYS).is_some();
    !parts.iter().any(is_group_key)
}

/// Returns the names of the hosts that a group lists.
fn hosts_in_group(group: &Key, node: &Node) -> Vec<String> {
    match node.as_map() {
        Some(parts) if is_host(parts) => vec![group.name.clone()],
        _ => {
            let hosts = node.as_seq().or_else(|| node.get("hosts")?.as_seq()).unwrap_or_default();
            hosts.iter().filter_map(|host| Some(host.scalar_text()?.into_owned())).collect()
        }
    }
}

fn group(draft: &mut Draft, name: &Key, node: &Node) {
    draft.group(&name.name, Some(&name.span));
    if let Yaml::Seq(hosts) = &node.value {
        return add_hosts(draft, name, hosts);
    }
    if node.value == Yaml::Null {
        let error = Diagnostic::error(format!("group `{}` must be a map or a list of hosts, not nothing", name.name));
        return draft.errors.push(error.at(node.span.clone()).label("here"));
    }
    let keys = GROUP_KEYS.join(", ");
    let parts = entries(draft, node, &format!("group `{}`", name.name), &keys);
    if let Some(vars) = parts.filter(|parts| is_host(parts)) {
        if let Some(checked) = host_name(draft, &name.name, &name.span) {
            draft.host(&checked, &name.span, &name.name);
            // Ansible does not render these values.
            let vars = vars.iter().map(|(key, node)| (key.clone(), verbatim(node))).collect();
            draft.group_vars(&name.name, &name.span.file.shown, vars);
        }
        return;
    }
    for (key, value) in parts.unwrap_or_default() {
        match (key.name.as_str(), &value.value) {
            ("vars", Yaml::Map(vars)) => draft.group_vars(&name.name, &key.span.file.shown, vars.clone()),
            ("hosts", Yaml::Seq(hosts)) => add_hosts(draft, name, hosts),
            ("children", Yaml::Seq(children)) => {
                for child in children {
                    if let Some(text) = text_of(draft, child) {
                        draft.group(&text, Some(&child.span));
                        draft.child(&name.name, &text, &child.span);
                    }
                }
            }
            ("hosts" | "children" | "vars", other) => {
                let expected = if key.name == "vars" { "a map of names and values" } else { "a list of names" };
                let error = Diagnostic::error(format!("`{}` must be {expected}, not {}", key.name, other.kind()));
                draft.errors.push(error.at(value.span.clone()).label("here"));
            }
            _ => unknown_key(draft, key),
        }
    }
}

/// Returns the same value as data that is never rendered.
fn verbatim(node: &Node) -> Node {
    let value = match &node.value {
        Yaml::Seq(items) => Yaml::Seq(items.iter().map(verbatim).collect()),
        Yaml::Map(entries) => Yaml::Map(entries.iter().map(|(key, node)| (key.clone(), verbatim(node))).collect()),
        scalar @ (Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_)) => scalar.clone(),
    };
    Node { value, verbatim: true, ..node.clone() }
}

fn add_hosts(draft: &mut Draft, group: &Key, hosts: &[Node]) {
    for host in hosts {
        let text = text_of(draft, host).and_then(|text| host_name(draft, &text, &host.span));
        if let Some(name) = text {
            draft.host(&name, &host.span, &group.name);
        }
    }
}

/// Checks the name of a host that a program printed. It must not contain ranges or ports.
fn host_name(draft: &mut Draft, text: &str, span: &Span) -> Option<String> {
    match range::single(text) {
        Ok(()) => Some(text.to_owned()),
        Err(error) => {
            draft.errors.push(error.into_diagnostic(span));
            None
        }
    }
}

fn text_of(draft: &mut Draft, node: &Node) -> Option<String> {
    let text = node.scalar_text().map(Cow::into_owned);
    if text.is_none() {
        draft
            .errors
            .push(Diagnostic::error(format!("expected a name, not {}", node.value.kind())).at(node.span.clone()).label("here"));
    }
    text
}

/// Runs the program and parses its JSON. Places refer to the output, reformatted to one key per line.
fn query(controller: &Controller, path: &Path, shown: &str, arguments: &[&str]) -> Result<Node, Diagnostic> {
    let command = format!("{shown} {}", arguments.join(" "));
    let output = run(controller, path, &command, arguments)?;
    let invalid = |why: String| {
        Diagnostic::error(format!("`{command}` did not print JSON: {why}")).help("run it by hand and check its output")
    };
    // A program that knows nothing about a host may print nothing.
    let output = if arguments.len() > 1 && output.trim_ascii().is_empty() { b"{}".to_vec() } else { output };
    // Commas within texts count as well, which does no harm.
    if output.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > MAX_VALUES {
        return Err(invalid(format!("it is more than {MAX_VALUES} values")));
    }
    let value: serde_json::Value = serde_json::from_slice(&output).map_err(|error| invalid(error.to_string()))?;
    if !value.is_object() {
        return Err(invalid("not a map".to_owned()));
    }
    let text = serde_json::to_string_pretty(&value).map_err(|error| invalid(error.to_string()))?;
    yaml::parse(&SourceFile::new(format!("{command} (output)"), text))
}

fn run(controller: &Controller, path: &Path, command: &str, arguments: &[&str]) -> Result<Vec<u8>, Diagnostic> {
    let failed = |why: String| Diagnostic::error(format!("the inventory program `{command}` failed: {why}"));
    // The program gets its own process group, so that everything it started ends with it.
    let mut child = controller
        .command(controller.program(path))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let group = Pid::from_child(&child);
    let deadline = Instant::now() + controller.limits.program;
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut unreaped = Some(child);
    let within = (|| {
        // Not joined: something that the program has started may hold its outputs for ever.
        let output = aside(move || read(stdout, MAX_OUTPUT, Then::Stop));
        let errors = aside(move || read(stderr, MAX_ERRORS, Then::Discard).0);
        let output = output.recv_timeout(left()).map_err(|_| Unfit::Late)?;
        if output.1 {
            return Err(Unfit::Large);
        }
        let errors = errors.recv_timeout(left()).map_err(|_| Unfit::Late)?;
        // Only now, because its process group has this number for as long as it was not waited for.
        let status = unreaped.take().map(|mut child| aside(move || child.wait())).ok_or(Unfit::Late)?;
        let status = status.recv_timeout(left()).map_err(|_| Unfit::Late)?;
        Ok((status, output.0, errors))
    })();
    let (status, output, errors) = within.map_err(|unfit| {
        let _ = kill_process_group(group, Signal::KILL);
        if let Some(mut child) = unreaped.take() {
            aside(move || child.wait());
        }
        failed(match unfit {
            Unfit::Late => format!("no answer within {} s", controller.limits.program.as_secs()),
            Unfit::Large => format!("it prints more than {} MiB", MAX_OUTPUT >> 20),
        })
    })?;
    let status = status.map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(output);
    }
    let errors = String::from_utf8_lossy(&errors);
    let last = errors.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Err(failed(last.map_or(status.to_string(), |line| format!("{status}: {}", shortened(line)))))
}

/// Why the output of a program is not used.
enum Unfit {
    Late,
    Large,
}

/// Runs a function on a thread of its own.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result
}

/// What becomes of output beyond what is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Stop,
    Discard,
}

/// Reads so many bytes at most. Returns whether there are more.
fn read(pipe: Option<impl Read>, most: u64, then: Then) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else { return (bytes, false) };
    // On an error, what was read so far is used; truncated JSON is reported when it is parsed.
    let _ = (&mut pipe).take(most).read_to_end(&mut bytes);
    let more = bytes.len() as u64 >= most && pipe.read(&mut [0]).is_ok_and(|count| count > 0);
    if more && then == Then::Discard {
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    }
    (bytes, more)
}

/// Returns the beginning of a line that may be long.
fn shortened(line: &str) -> String {
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Limits;
    use std::time::Duration;

    fn within(seconds: u64) -> Controller {
        let limits = Limits { program: Duration::from_secs(seconds), ..Limits::default() };
        Controller { limits, ..Controller::default() }
    }

    fn program(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts.sh");
        crate::inventory::tests::write_program(&path, &format!("#!/bin/sh\n{text}\n"));
        (dir, path)
    }

    fn failure(text: &str) -> String {
        let (_dir, path) = program(text);
        query(&within(20), &path, "hosts.sh", &["--list"]).unwrap_err().title
    }

    #[test]
    fn a_failing_program_is_an_error_with_the_last_line_of_its_stderr() {
        let title = failure("echo first >&2; echo no database >&2; exit 3");
        assert_eq!(title, "the inventory program `hosts.sh --list` failed: exit status: 3: no database");
        assert!(failure("echo nonsense").starts_with("`hosts.sh --list` did not print JSON: expected ident"));
        assert!(failure("true").starts_with("`hosts.sh --list` did not print JSON: EOF"));
    }

    #[test]
    fn a_hanging_program_is_killed_with_everything_it_started() {
        let (dir, path) = program("exec 3>\"${0%/*}/fifo\"; cat /dev/zero >/dev/null & wait");
        let fifo = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (ended, end) = mpsc::channel();
        // Reading ends when every process that has the other end open is gone.
        thread::spawn(move || ended.send(std::fs::read(fifo).unwrap().len()));
        let error = query(&within(1), &path, "hosts.sh", &["--list"]).unwrap_err();
        assert_eq!(error.title, "the inventory program `hosts.sh --list` failed: no answer within 1 s");
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(0));
    }

    #[test]
    fn a_program_that_prints_without_end_or_too_many_values_is_named() {
        let endless = failure("exec cat /dev/zero");
        assert_eq!(endless, "the inventory program `hosts.sh --list` failed: it prints more than 64 MiB");
        let values = failure("echo '{\"a\": ['; yes 0, | head -n 1000001; echo '0]}'");
        assert_eq!(values, "`hosts.sh --list` did not print JSON: it is more than 1000000 values");
        // What is said on standard error is no reason to fail, and not kept.
        let (_dir, path) = program("yes | head -c 3000000 >&2; echo '{}'");
        assert!(query(&within(20), &path, "hosts.sh", &["--list"]).is_ok());
    }

    #[test]
    fn a_program_whose_child_holds_its_outputs_is_ended_at_the_limit() {
        let (_dir, path) = program("echo '{}'; sleep 600 & exit 0");
        let error = query(&within(1), &path, "hosts.sh", &["--list"]).unwrap_err();
        assert_eq!(error.title, "the inventory program `hosts.sh --list` failed: no answer within 1 s");
    }

    #[test]
    fn only_executable_scripts_and_binaries_are_programs() {
        let (dir, path) = program("true");
        assert!(is_program(&path));
        let text = dir.path().join("hosts.yml");
        std::fs::write(&text, "all:\n").unwrap();
        std::fs::set_permissions(&text, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(!is_program(&text) && !is_program(dir.path()) && !is_program(Path::new("/nowhere")));
    }
}
