//! SSH access to a lab: its key, the host keys of its nodes, and a configuration file that refers to both.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{command::Programs, image::ACCOUNT};

/// Returns the path of the lab's private key.
pub(super) fn key(directory: &Path) -> PathBuf {
    directory.join("key")
}

/// Returns the path of the lab's `ssh_config`.
pub(super) fn config(directory: &Path) -> PathBuf {
    directory.join("ssh_config")
}

/// Returns the path of the lab's `known_hosts`.
pub(super) fn known_hosts(directory: &Path) -> PathBuf {
    directory.join("known_hosts")
}

/// Creates the lab's key unless it exists; returns the public half.
pub(super) fn ensure_key(programs: &Programs, directory: &Path) -> Result<String> {
    let key = key(directory);
    let public = key.with_extension("pub");
    if !public.exists() {
        make_key(programs, &key, "autobot-provision lab")?;
    }
    fs::read_to_string(&public).with_context(|| format!("cannot read `{}`", public.display()))
}

/// Creates a node's host key, as the installation of sshd would; returns the public half.
pub(super) fn make_host_key(programs: &Programs, root: &Path, name: &str) -> Result<String> {
    let key = root.join("etc/ssh/ssh_host_ed25519_key");
    make_key(programs, &key, &format!("root@{name}"))?;
    let public = key.with_extension("pub");
    fs::read_to_string(&public).with_context(|| format!("cannot read `{}`", public.display()))
}

fn make_key(programs: &Programs, path: &Path, comment: &str) -> Result<()> {
    // ssh-keygen asks before it overwrites a file, such as an incomplete key that a killed run left.
    drop(fs::remove_file(path));
    programs.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path).run()
}

/// A node that can be reached.
#[derive(Debug)]
pub(super) struct ReachableNode {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// The public half of its host key, as in its `.pub` file.
    pub(super) host_key: String,
}

/// Writes `known_hosts` and `ssh_config` for these nodes.
pub(super) fn write(directory: &Path, nodes: &[ReachableNode]) -> Result<()> {
    let save = |path: PathBuf, text: String| {
        let partial = path.with_extension("partial");
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    };
    save(known_hosts(directory), known_hosts_text(nodes))?;
    save(config(directory), config_text(directory, nodes))
}

fn known_hosts_text(nodes: &[ReachableNode]) -> String {
    let mut text = String::new();
    for node in nodes {
        let key: Vec<&str> = node.host_key.split_whitespace().take(2).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{},{} {}", node.name, node.address, key.join(" "));
    }
    text
}

fn config_text(directory: &Path, nodes: &[ReachableNode]) -> String {
    let mut text = String::new();
    for node in nodes {
        let _ = writeln!(
            text,
            "Host {name} {address}\n  HostName {address}\n  HostKeyAlias {name}\n  User {ACCOUNT}\n  IdentityFile {key}\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  StrictHostKeyChecking yes\n  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile none\n  LogLevel ERROR\n",
            name = node.name,
            address = node.address,
            key = key(directory).display(),
            known_hosts = known_hosts(directory).display(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> ReachableNode {
        ReachableNode { name: "db".into(), address: Ipv4Addr::new(198, 18, 7, 2), host_key: "ssh-ed25519 AAAA root@db\n".into() }
    }

    #[test]
    fn known_hosts_contains_name_and_address() {
        assert_eq!(known_hosts_text(&[node()]), "db,198.18.7.2 ssh-ed25519 AAAA\n");
    }

    #[test]
    fn the_configuration_checks_host_keys_strictly() {
        insta::assert_snapshot!(config_text(Path::new("/lab"), &[node()]), @"
        Host db 198.18.7.2
          HostName 198.18.7.2
          HostKeyAlias db
          User autobot
          IdentityFile /lab/key
          IdentitiesOnly yes
          IdentityAgent none
          StrictHostKeyChecking yes
          UserKnownHostsFile /lab/known_hosts
          GlobalKnownHostsFile none
          LogLevel ERROR
        ");
    }
}
