//! The lab that all tests of a run share, and its nodes.

use std::{
    ops::Deref,
    process::{ChildStdin, Command, Output, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use autobot_provision::{
    controller::Controller,
    lab::{FileServer, Lab, LabClient, LabNode, LabOptions, NewNode, Publication, RedisRepo},
};

use super::{Project, say};

const PROGRAM: &str = env!("CARGO_BIN_EXE_autobot-provision");

struct Shared {
    lab: Lab,
    repository: Publication,
    /// Closed when this process ends, however it ends; the watcher then takes the lab down.
    _watcher: ChildStdin,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let id = format!("e2e{}", std::process::id());
        // apt and pip may need the proxies of this process's environment.
        let controller = Arc::new(Controller { variables: std::env::vars_os().collect(), ..Controller::default() });
        let lab = Lab::new(LabOptions { id: id.clone(), controller, ..LabOptions::default() }).unwrap();
        // Not waited for, because it outlives this process.
        #[allow(clippy::zombie_processes)]
        let mut watcher = Command::new("setsid")
            .args(["sh", "-c", r#"cat >/dev/null; exec "$0" lab down --lab "$1" >/dev/null 2>&1"#, PROGRAM, &id])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let site = lab.redis_repo(&RedisRepo { redis8: true, ..RedisRepo::default() }, &say).unwrap();
        // A first member creates the lab's network, on which the repository is served.
        lab.client("first", &say).unwrap();
        let repository = lab.publish(&site, FileServer::Within).unwrap();
        Shared { lab, repository, _watcher: watcher.stdin.take().unwrap() }
    })
}

/// Returns the lab of this run.
pub fn lab() -> &'static Lab {
    &shared().lab
}

/// Returns the URL of the stand-in for Redis's apt repository, without `/deb`.
pub fn repository_url() -> &'static str {
    &shared().repository.url
}

/// Returns a network namespace with its own address, to test from outside which ports are open.
pub fn client(name: &str) -> LabClient {
    lab().client(name, &say).unwrap()
}

/// Nodes whose tests are over. The next boot removes them, since it waits for the lab's lock anyway.
static OVER: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A node of the lab, for one test. It is stopped when the test is over, and removed before the next one boots: the disks of all
/// tests together are tens of gigabytes, and a lab has 253 addresses.
pub struct TestNode(LabNode);

impl TestNode {
    /// Boots a bare Debian.
    pub fn bare() -> Self {
        Self::boot(&NewNode::bare(unique()))
    }

    /// Boots a node on which role `redis` has been deployed. The first such node of a run takes a minute, the others a second.
    pub fn converged() -> Self {
        static FROZEN: OnceLock<()> = OnceLock::new();
        FROZEN.get_or_init(|| {
            let node = Self::bare();
            let project = Project::shipped(&[("database_vm", &node, "")]);
            project.run(&["deploy"]).assert_code(0);
            lab().freeze(&node.0.name, "converged").unwrap();
        });
        Self::boot(&NewNode::copy(unique(), "converged"))
    }

    /// Boots a copy of a disk that was frozen with [`TestNode::freeze`].
    pub fn copy(frozen: &str) -> Self {
        Self::boot(&NewNode::copy(unique(), frozen))
    }

    /// Freezes this node's disk for copies. The node is off afterwards.
    pub fn freeze(self, frozen: &str) {
        lab().freeze(&self.0.name, frozen).unwrap();
    }

    fn boot(wanted: &NewNode) -> Self {
        // All nodes share the state of the lab.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let over = std::mem::take(&mut *OVER.lock().unwrap());
        if !over.is_empty() {
            lab().remove(&over).unwrap();
        }
        Self(lab().up(std::slice::from_ref(wanted), &say).unwrap().remove(0))
    }

    /// Runs a script as root on the node, without SSH and bypassing the firewall.
    pub fn try_sh(&self, script: &str) -> Output {
        lab().shell(&self.0.name, script).unwrap()
    }

    /// As [`TestNode::try_sh`], but the script must succeed. Returns its output without the last line break.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "on {}: {script}\n{stdout}{stderr}", self.0.name);
        stdout.trim_end().to_owned()
    }
}

impl Deref for TestNode {
    type Target = LabNode;
    fn deref(&self) -> &LabNode {
        &self.0
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Err(error) = lab().cut_power(&self.0.name) {
            say(&format!("{error:#}"));
        }
        OVER.lock().unwrap().push(self.0.name.clone());
    }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("n{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
