//! What lab nodes differ in from the nodes that they are copies of: addresses, keys, and where Redis comes from.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{
    arguments::{Making, WhichLab},
    out,
};
use crate::lab::{FileServer, Lab, LabOptions, Missing, Node, Publication, RedisRepo};

/// The account of lab nodes.
const ACCOUNT: &str = "autobot";

/// The group of the lab's nodes in the inventory that `lab up` writes.
pub(super) const GROUP: &str = "lab_nodes";

/// The lab that the arguments name. Touches nothing.
///
/// # Errors
/// The id or the directory cannot be used for one.
pub(super) fn named(which: &WhichLab, making: Option<&Making>) -> Result<Lab> {
    let mut options = LabOptions { id: which.id.clone(), dir: which.dir.clone(), ..LabOptions::default() };
    if let Some(making) = making {
        options.suite.clone_from(&making.suite);
        options.missing = if making.yes { Missing::Install } else { Missing::Report };
    }
    Lab::new(options)
}

/// What is being done, on standard error.
pub(super) fn progress(text: &str) {
    out::note(text);
}

/// Serves the stand-in for Redis's apt repository to the lab's nodes.
///
/// # Errors
/// It cannot be built, or the server does not start.
pub(super) fn publish_redis(lab: &Lab, suite: &str, server: FileServer<'_>) -> Result<Publication> {
    let mut repo = RedisRepo::default();
    if !repo.suites.iter().any(|known| known == suite) {
        repo.suites.push(suite.to_owned());
    }
    let site = lab.redis_repo(&repo, &progress)?;
    lab.publish(&site, server)
}

/// Variables that the nodes of a lab need in place of the real ones, by name. Without a stand-in Redis comes from where the inventory says.
pub(super) fn variables(nodes: &[Node], suite: &str, stand_in: Option<&Publication>) -> Result<Vec<(&'static str, String)>> {
    let Some(node) = nodes.first() else { bail!("the lab has no node") };
    let [a, b, c, _] = node.address.octets();
    let mut variables = vec![("fleet_subnet", format!("{a}.{b}.{c}.0/24"))];
    if let Some(Publication { url, .. }) = stand_in {
        variables.push(("redis_repo_url", format!("{url}/deb")));
        variables.push(("redis_repo_key_url", format!("{url}/gpg")));
        variables.push(("redis_repo_suite", suite.to_owned()));
    }
    Ok(variables)
}

/// Writes an inventory that, behind the project's own, leads its hosts to the lab's nodes. Returns its path.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_inventory(lab: &Lab, nodes: &[Node], variables: &[(&str, String)]) -> Result<PathBuf> {
    let path = lab.directory().join("inventory.yml");
    fs::write(&path, inventory(lab, nodes, variables)).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

/// Variables stand with each host, because there they win over those of groups.
fn inventory(lab: &Lab, nodes: &[Node], variables: &[(&str, String)]) -> String {
    let mut text =
        format!("# The nodes of a lab. Behind the project's inventory, and only with `--limit {GROUP}`.\n{GROUP}:\n  hosts:\n");
    for node in nodes {
        // Names of nodes and the lab's paths hold nothing that YAML or ssh would give a meaning to. Writing to a String cannot fail.
        let _ = write!(
            text,
            "    \"{name}\":\n      ansible_host: {address}\n      ansible_port: 22\n      ansible_user: {ACCOUNT}\n      \
             ansible_connection: ssh\n      ansible_ssh_private_key_file: {key}\n      ansible_ssh_common_args: -F {config}\n      \
             ansible_ssh_extra_args: \"\"\n",
            name = node.name,
            address = node.address,
            key = lab.key().display(),
            config = lab.ssh_config().display(),
        );
        for (variable, value) in variables {
            let _ = writeln!(text, "      {variable}: \"{value}\"");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inventory_of_a_lab_says_all_that_differs() {
        let lab = Lab::new(LabOptions { dir: "/l".into(), ..LabOptions::default() }).unwrap();
        let [upper, root, console] = ["/u", "/r", "/c"].map(PathBuf::from);
        let node = Node { name: "db".into(), address: [198, 18, 7, 2].into(), upper, root, console };
        let variables = variables(std::slice::from_ref(&node), "bookworm", None).unwrap();
        insta::assert_snapshot!(inventory(&lab, &[node], &variables), @r#"
        # The nodes of a lab. Behind the project's inventory, and only with `--limit lab_nodes`.
        lab_nodes:
          hosts:
            "db":
              ansible_host: 198.18.7.2
              ansible_port: 22
              ansible_user: autobot
              ansible_connection: ssh
              ansible_ssh_private_key_file: /l/labs/lab/key
              ansible_ssh_common_args: -F /l/labs/lab/ssh_config
              ansible_ssh_extra_args: ""
              fleet_subnet: "198.18.7.0/24"
        "#);
    }
}
