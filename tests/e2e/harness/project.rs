//! Projects for tests: the shipped roles or a role of the test, with an inventory of lab nodes.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{RunResult, TestNode, lab, repository_url};

const PROGRAM: &str = env!("CARGO_BIN_EXE_autobot-provision");

/// A project in its own directory, with its own home directory for the runs.
pub struct Project {
    directory: TempDir,
}

impl Project {
    /// Creates a project with the shipped roles and templates. Each host has role `redis` unless its extra variables (YAML lines) differ.
    pub fn shipped(hosts: &[(&str, &TestNode, &str)]) -> Self {
        let project = Self::empty();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["roles", "templates"] {
            let copied = Command::new("cp").arg("-rT").arg(shipped.join(part)).arg(project.path(part)).status().unwrap();
            assert!(copied.success());
        }
        let url = repository_url();
        let mut vars = format!("redis_repo_url: {url}/deb\nredis_repo_key_url: {url}/gpg\nredis_repo_suite: bookworm\n");
        vars.push_str("fleet_subnet: 198.18.0.0/16\n");
        project.inventory(hosts, "redis", &vars);
        project
    }

    /// Creates a project with one role, `toy`, with this role file. Each host has the role.
    pub fn toy(hosts: &[(&str, &TestNode)], role: &str) -> Self {
        let project = Self::empty();
        project.write("roles/toy/role.yml", role);
        fs::create_dir_all(project.path("templates/toy")).unwrap();
        let hosts: Vec<(&str, &TestNode, &str)> = hosts.iter().map(|(name, node)| (*name, *node, "")).collect();
        project.inventory(&hosts, "toy", "");
        project
    }

    fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        Self { directory }
    }

    /// Returns a path in the project.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes the inventory: all hosts have `role` and are reached with the lab's key and strict host keys.
    pub fn inventory(&self, hosts: &[(&str, &TestNode, &str)], role: &str, vars: &str) {
        let mut text = String::from("all:\n  vars:\n    ansible_user: autobot\n");
        let _ = writeln!(text, "    ansible_ssh_private_key_file: {}", lab().key().display());
        let _ = writeln!(text, "    ansible_ssh_common_args: -o UserKnownHostsFile={}", lab().known_hosts().display());
        let _ = writeln!(text, "    autobot_roles: [{role}]");
        for line in vars.lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push_str("  hosts:\n");
        for (name, node, extra) in hosts {
            let _ = writeln!(text, "    {name}:\n      ansible_host: {}", node.address);
            for line in extra.lines() {
                let _ = writeln!(text, "      {line}");
            }
        }
        self.write("inventory/hosts.yml", &text);
    }

    /// Returns a command that runs the program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.directory.path());
        command.env("HOME", self.path("home")).env_remove("SSH_AUTH_SOCK").env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        // Tests count logins, and what runs leave on this machine: no connection stays, but where a test is about that.
        command.env("CI", "true");
        command
    }

    /// Runs the program and waits for its end.
    pub fn run(&self, arguments: &[&str]) -> RunResult {
        RunResult::new(arguments, &self.command(arguments).output().unwrap())
    }

    /// Runs the program with `--output json`.
    pub fn json(&self, arguments: &[&str]) -> RunResult {
        self.run(&[arguments, &["--output", "json"]].concat())
    }

    /// Checks, deploys and deploys again a role of host `node` of a toy project. Asserts that the check predicts the deploy, and that the second
    /// deploy changes nothing. Returns the first deploy.
    #[track_caller]
    pub fn converges(&self, role: &str) -> RunResult {
        self.write("roles/toy/role.yml", role);
        let check = self.json(&["deploy", "--check"]);
        check.assert_code(0);
        let deploy = self.json(&["deploy"]);
        deploy.assert_code(0);
        assert_eq!(check.ids("node", "changed"), deploy.ids("node", "changed"), "{}\n{}", check.stdout, deploy.stdout);
        assert_eq!(deploy.host("node")["unpredicted"], serde_json::json!([]), "{}", deploy.stdout);
        let again = self.json(&["deploy", "--detailed-exitcode"]);
        again.assert_code(0);
        assert_eq!(again.host("node")["round_trips"], 1, "{}", again.stdout);
        deploy
    }

    /// Asserts that check and deploy refuse a role with the same error, before the first change. Returns the error.
    #[track_caller]
    pub fn is_refused(&self, role: &str) -> String {
        self.write("roles/toy/role.yml", role);
        let check = self.json(&["deploy", "--check"]);
        let deploy = self.json(&["deploy"]);
        check.assert_code(1);
        deploy.assert_code(1);
        let error = deploy.failure("node");
        assert_eq!(check.failure("node"), error);
        error
    }

    /// Asserts that a check of a role succeeds and the deploy fails. Returns the deploy.
    #[track_caller]
    pub fn fails(&self, role: &str) -> RunResult {
        self.write("roles/toy/role.yml", role);
        self.json(&["deploy", "--check"]).assert_code(0);
        let deploy = self.json(&["deploy"]);
        deploy.assert_code(1);
        deploy
    }

    /// Starts the program with piped outputs.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}
