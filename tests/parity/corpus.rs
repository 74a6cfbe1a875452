//! Compares the output of `inventory list`, `graph` and `host` with that of `ansible-inventory --list`, `--graph` and `--host`, for the
//! inventories in tests/inventories.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::ansible::{self, Ansible};

/// Copies the inventories. In the copy, a directory `roles/` makes every directory a project.
fn inventories() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inventories/.");
    assert!(Command::new("cp").arg("-a").args([&from, copy.path()]).status().unwrap().success());
    copy
}

/// Returns the entries of a directory of the corpus, sorted.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Escapes the characters that reorder text (Unicode's `Bidi_Control`), the one documented difference between the two JSON outputs.
fn in_order(json: &str) -> String {
    let escaped = |letter: char| match letter {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            format!("\\u{:04x}", u32::from(letter))
        }
        letter => letter.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// A project and the arguments of its `-i`.
struct Case {
    project: PathBuf,
    inventories: Vec<String>,
}

impl Case {
    /// Returns a case with an inventory that is one file.
    fn file(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Self { project: path.parent().unwrap().to_owned(), inventories: vec![name] }
    }

    /// Returns a case that is a directory. Its file `arguments`, if it exists, lists the arguments of `-i`; the default is `inventory`.
    fn project(path: &Path) -> Self {
        let arguments = fs::read_to_string(path.join("arguments")).unwrap_or_else(|_| "inventory".to_owned());
        Self { project: path.to_owned(), inventories: arguments.lines().map(str::to_owned).collect() }
    }

    fn name(&self) -> String {
        let last = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        format!("{} {}", last(&self.project), self.inventories.join(" -i "))
    }

    fn ours(&self, words: &[&str]) -> (i32, String, String) {
        fs::create_dir_all(self.project.join("roles")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_autobot-provision"));
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(&self.project).arg("inventory").args(words);
        command.args(self.inventories.iter().flat_map(|inventory| ["-i", inventory]));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn theirs(&self, ansible: &mut Ansible, words: &[&str]) -> ansible::CommandResult {
        let mut arguments = vec!["ansible-inventory", "--playbook-dir", "."];
        arguments.extend(self.inventories.iter().flat_map(|inventory| ["-i", inventory]));
        arguments.extend(words);
        ansible.run(&arguments, &self.project)
    }

    /// Returns the differences, and how many outputs were compared.
    fn compare(&self, ansible: &mut Ansible) -> (Vec<String>, usize) {
        let mut hosts: Vec<String> = self
            .ours(&["list"])
            .1
            .lines()
            .filter_map(|line| Some(line.split("  ").next()?.to_owned()))
            // `ansible-inventory --host` takes the colons of an address with a zone for those of a pattern.
            .filter(|host| !host.is_empty() && !host.contains('%'))
            .collect();
        // Three hosts are enough, because `list` shows the variables of all.
        if hosts.len() > 3 {
            hosts = vec![hosts[0].clone(), hosts[hosts.len() / 2].clone(), hosts[hosts.len() - 1].clone()];
        }
        let mut pairs = vec![(vec!["list", "-o", "json"], vec!["--list"]), (vec!["graph"], vec!["--graph"])];
        pairs.extend(hosts.iter().map(|host| (vec!["host", host], vec!["--host", host])));
        let mut differences = Vec::new();
        for (ours, theirs) in &pairs {
            let (code, shown, errors) = self.ours(ours);
            let mut ran = self.theirs(ansible, theirs);
            if *ours != ["graph"] {
                ran.stdout = in_order(&ran.stdout);
            }
            if code != 0 || ran.code != 0 {
                differences.push(format!("== {}: {ours:?}: {code}, {}\n{errors}\n{}", self.name(), ran.code, ran.stderr));
            } else if shown != ran.stdout {
                let diff = similar::TextDiff::from_lines(&ran.stdout, &shown);
                let diff = diff.unified_diff().header("ansible", "ours").to_string();
                differences.push(format!("== {}: {ours:?}\n{diff}", self.name()));
            }
        }
        (differences, pairs.len())
    }
}

#[test]
fn inventories_are_read_as_ansible_reads_them() {
    let copy = inventories();
    let mut cases: Vec<Case> = entries(&copy.path().join("files")).iter().map(|path| Case::file(path)).collect();
    cases.extend(entries(&copy.path().join("projects")).iter().map(|path| Case::project(path)));
    assert!(cases.len() > 60, "the corpus was not found");
    let mut ansible = Ansible::start();
    let (mut differences, mut compared) = (Vec::new(), 0);
    for case in &cases {
        let (found, pairs) = case.compare(&mut ansible);
        differences.extend(found);
        compared += pairs;
    }
    assert!(compared > 200, "only {compared} outputs were compared");
    assert!(differences.is_empty(), "{} differences in {compared} outputs:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn inventories_that_ansible_refuses_are_refused() {
    let copy = inventories();
    let mut ansible = Ansible::start();
    let (mut differences, files) = (Vec::new(), entries(&copy.path().join("refused")));
    assert!(files.len() > 30, "the corpus was not found");
    for case in files.iter().map(|path| Case::file(path)) {
        let (code, _, errors) = case.ours(&["list", "-o", "text"]);
        let theirs = case.theirs(&mut ansible, &["--list"]).code;
        // Each error names the file, or the program.
        if code != 4 || !errors.contains(case.inventories[0].as_str()) || theirs == 0 {
            differences.push(format!("{}: ours {code}, ansible {theirs}\n{errors}", case.name()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_stricter_rule_is_documented() {
    let copy = inventories();
    let mut ansible = Ansible::start();
    let documentation = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/INVENTORY.md")).unwrap();
    let files = entries(&copy.path().join("stricter"));
    assert!(!files.is_empty(), "the corpus was not found");
    for case in files.iter().map(|path| Case::file(path)) {
        let (code, _, errors) = case.ours(&["list"]);
        let theirs = case.theirs(&mut ansible, &["--list"]);
        assert_eq!((code, theirs.code), (4, 0), "{}:\n{errors}\n{}", case.name(), theirs.stderr);
        assert!(documentation.contains(&format!("`{}`", case.inventories[0])), "{} is not in docs/INVENTORY.md", case.name());
    }
}

#[test]
fn the_programs_print_the_same_as_the_answering_process() {
    let copy = inventories();
    let case = Case::project(&copy.path().join("projects/precedence"));
    for words in [["--list"], ["--graph"]] {
        let arguments = ["--playbook-dir", ".", "-i", "inventory"];
        let output =
            ansible::command("ansible-inventory").args(arguments).args(words).current_dir(&case.project).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), case.theirs(&mut Ansible::start(), &words).stdout);
    }
}

#[test]
fn the_shipped_inventory_is_read_without_a_warning() {
    let copy = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(Command::new("cp").arg("-a").arg(root.join("inventory")).arg(copy.path()).status().unwrap().success());
    let case = Case { project: copy.path().to_owned(), inventories: vec!["inventory".to_owned()] };
    let mut ansible = Ansible::start();
    assert_eq!(case.compare(&mut ansible).0, Vec::<String>::new());
    assert_eq!(case.ours(&["list"]).2, "");
}
