//! The differences between lab nodes and the nodes that they copy: addresses, keys, and the source of Redis.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use super::lab_arguments::{Making, WhichLab};
use crate::{
    cli::{out, surroundings},
    engine::Reach,
    lab::{FileServer, Lab, LabNode, LabOptions, OnMissing, Publication, RedisRepo},
    plan::{HostPlan, LAB, Plan},
    transport::{SshArguments, Target},
};

/// This program, as users call it.
pub(in crate::cli) const PROGRAM: &str = "autobot-provision";

/// The account of lab nodes.
const ACCOUNT: &str = "autobot";

/// The group of the lab's nodes in the inventory that `lab up` writes.
const GROUP: &str = "lab_nodes";

/// The lab that the arguments name. Changes nothing.
///
/// # Errors
/// The id or the directory cannot be used for one.
pub(in crate::cli) fn named(which: &WhichLab, making: Option<&Making>) -> Result<Lab> {
    let controller = surroundings::read();
    let mut options = LabOptions { id: which.id.clone(), dir: which.dir.clone(), controller, ..LabOptions::default() };
    if let Some(making) = making {
        options.suite.clone_from(&making.suite);
        options.missing = if making.yes { OnMissing::Install } else { OnMissing::Report };
    }
    Lab::new(options)
}

/// Prints the current step on standard error.
pub(in crate::cli) fn progress(text: &str) {
    out::note(text);
}

/// Serves the stand-in for Redis's apt repository to the lab's nodes.
///
/// # Errors
/// It cannot be built, or the server does not start.
pub(in crate::cli) fn publish_redis(lab: &Lab, suite: &str, server: FileServer<'_>) -> Result<Publication> {
    let mut repo = RedisRepo::default();
    if !repo.suites.iter().any(|known| known == suite) {
        repo.suites.push(suite.to_owned());
    }
    let directory = lab.redis_repo(&repo, &progress)?;
    lab.publish(&directory, server)
}

/// The program and arguments that serve a lab's files in a process of their own.
///
/// # Errors
/// The operating system does not say where this program is.
pub(in crate::cli) fn server() -> Result<[String; 3]> {
    let program = std::env::current_exe().context("cannot determine the path of this program")?;
    Ok([program.to_string_lossy().into_owned(), "lab".to_owned(), "serve".to_owned()])
}

/// A lab's nodes, as roles and the engine see them. A host that is not among them cannot be reached through it.
pub(in crate::cli) struct Site {
    nodes: Vec<LabNode>,
    /// The variables that differ from the inventory's, by name.
    variables: Vec<(&'static str, String)>,
    /// An inventory that, after the project's own, connects its hosts to the lab's nodes.
    pub(in crate::cli) inventory: PathBuf,
    /// Ends the server with this process, if it runs within it.
    _stand_in: Option<Publication>,
}

impl Site {
    /// Describes all nodes of a lab. Redis comes from the stand-in, or from the URL, or from the repository of the inventory.
    ///
    /// # Errors
    /// The lab has no node, or its inventory cannot be written.
    pub(in crate::cli) fn new(lab: &Lab, suite: &str, stand_in: Option<Publication>, redis_repo: Option<String>) -> Result<Self> {
        let nodes: Vec<LabNode> = lab.status()?.nodes.into_iter().map(|(node, _)| node).collect();
        let Some(first) = nodes.first() else { bail!("the lab has no node") };
        let [a, b, c, _] = first.address.octets();
        let mut variables = vec![("fleet_subnet", format!("{a}.{b}.{c}.0/24"))];
        if let Some(Publication { url, .. }) = &stand_in {
            variables.push(("redis_repo_url", format!("{url}/deb")));
            variables.push(("redis_repo_key_url", format!("{url}/gpg")));
            variables.push(("redis_repo_suite", suite.to_owned()));
        }
        variables.extend(redis_repo.map(|url| ("redis_repo_url", url)));
        let inventory = lab.directory().join("inventory.yml");
        let text = inventory_text(lab, &nodes, &variables);
        fs::write(&inventory, text).with_context(|| format!("cannot write `{}`", inventory.display()))?;
        Ok(Self { nodes, variables, inventory, _stand_in: stand_in })
    }

    /// The variables in the form of `-e`.
    pub(in crate::cli) fn extra_vars(&self) -> String {
        let variables = self.variables.iter().map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(value.as_str())));
        serde_json::Value::Object(variables.collect()).to_string()
    }

    /// How the hosts of a plan are reached: addresses, keys and configuration are the lab's, whatever the plan says.
    ///
    /// # Errors
    /// A host of the plan is not in the lab.
    pub(in crate::cli) fn reach(&self, lab: &Lab, plan: &Plan) -> Result<Reach> {
        // Replaces the operator's own configuration, which might lead elsewhere.
        let arguments = SshArguments::parse(&format!("-F {}", lab.ssh_config().display()))?;
        let target = |host: &HostPlan| {
            let name = &host.name;
            let node =
                self.nodes.iter().find(|node| &node.name == name).with_context(|| format!("`{name}` is not in the lab"))?;
            let target = Target {
                port: Some(22),
                user: Some(ACCOUNT.to_owned()),
                identity: Some(lab.key()),
                known_hosts: Some(lab.known_hosts()),
                arguments: arguments.clone(),
                ..Target::new(name, node.address.to_string())
            };
            Ok((name.clone(), target))
        };
        plan.hosts.iter().map(target).collect()
    }
}

/// Prints how to use a lab, and how to remove it. `inventories` are the values of `-i`; `None` if there is no project.
pub(in crate::cli) fn look_around(lab: &Lab, which: &WhichLab, site: &Site, inventories: Option<&[String]>) -> String {
    let config = lab.ssh_config();
    let mut lines = vec![String::new(), "log in to the nodes, deploy to them, check their health, remove them:".to_owned()];
    lines.extend(site.nodes.iter().map(|node| format!("  ssh -F {} {}", config.display(), node.name)));
    if let Some(given) = inventories {
        let own = if given.is_empty() { "inventory".to_owned() } else { given.join(" -i ") };
        for command in ["deploy", "health"] {
            lines.push(format!("  {PROGRAM} {command} -i {own} -i {} --limit {GROUP}", site.inventory.display()));
        }
    }
    lines.push(format!("  {PROGRAM} lab down{}", options(which)));
    lines.join("\n")
}

/// The options that name a lab, as far as they differ from the defaults; each with a space before it.
pub(in crate::cli) fn options(which: &WhichLab) -> String {
    let usual = LabOptions::default();
    let id = if which.id == usual.id { String::new() } else { format!(" --lab {}", which.id) };
    let dir = if which.dir == usual.dir { String::new() } else { format!(" --lab-dir {}", which.dir.display()) };
    id + &dir
}

/// Variables are set for each host, because host variables win over those of groups.
fn inventory_text(lab: &Lab, nodes: &[LabNode], variables: &[(&str, String)]) -> String {
    let mut text =
        format!("# The nodes of a lab. Use it after the project's inventory, only with `--limit {GROUP}`.\n{GROUP}:\n  hosts:\n");
    for node in nodes {
        // The names of nodes and the lab's paths contain nothing that is special in YAML or ssh. Writing to a String cannot fail.
        let _ = write!(
            text,
            "    \"{name}\":\n      ansible_host: {address}\n      ansible_port: 22\n      ansible_user: {ACCOUNT}\n      \
             ansible_connection: ssh\n      ansible_ssh_private_key_file: {key}\n      ansible_ssh_common_args: -F {config}\n      \
             ansible_ssh_extra_args: \"\"\n      {LAB}: {lab}\n",
            lab = lab.directory().display(),
            name = node.name,
            address = node.address,
            key = lab.key().display(),
            config = lab.ssh_config().display(),
        );
        for (variable, value) in variables {
            let _ = writeln!(text, "      {variable}: {}", serde_json::Value::from(value.as_str()));
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
        let node = LabNode { name: "db".into(), address: [198, 18, 7, 2].into(), upper, root, console };
        let variables = [("fleet_subnet", "198.18.7.0/24".to_owned())];
        insta::assert_snapshot!(inventory_text(&lab, &[node], &variables), @r#"
        # The nodes of a lab. Use it after the project's inventory, only with `--limit lab_nodes`.
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
              autobot_lab: /l/labs/lab
              fleet_subnet: "198.18.7.0/24"
        "#);
    }
}
