//! A tunnel to a node's PostgreSQL through the ssh program, as an operator would open it.

use std::process::{Child, Command, Stdio};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

use super::{TestNode, eventually, lab};

/// The tunnel. It is closed when this is dropped.
pub struct PostgresTunnel {
    directory: TempDir,
    ssh: Child,
}

impl PostgresTunnel {
    /// Opens a tunnel to the node's loopback.
    pub fn open(node: &TestNode) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join(".s.PGSQL.5432");
        let ssh = Command::new("ssh")
            .arg("-F")
            .arg(lab().ssh_config())
            .args(["-N", "-o", "ExitOnForwardFailure=yes", "-L"])
            .arg(format!("{}:127.0.0.1:5432", socket.display()))
            .arg(&node.name)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the tunnel is open", 10, || socket.exists());
        Self { directory, ssh }
    }

    /// Returns the options to log in through the tunnel.
    pub fn options(&self, user: &str, password: &str, database: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass().socket(self.directory.path()).port(5432);
        options.username(user).password(password).database(database)
    }
}

impl Drop for PostgresTunnel {
    fn drop(&mut self) {
        drop(self.ssh.kill());
        drop(self.ssh.wait());
    }
}
