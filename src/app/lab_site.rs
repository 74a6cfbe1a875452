//! The nodes of a lab in place of the real ones: addresses, keys, and the source of Redis.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    engine::Reach,
    lab::{FileServer, Lab, LabNode, Publication, RedisRepo, ReportStep},
    plan::{HostPlan, LAB, Plan},
    transport::{SshArguments, Target},
};

/// The account of lab nodes.
const ACCOUNT: &str = "autobot";

/// The group of the lab's nodes in the inventory that [`Site::new`] writes.
pub const GROUP: &str = "lab_nodes";

/// Serves the stand-in for Redis's apt repository to the lab's nodes.
///
/// # Errors
/// It cannot be built, or the server does not start.
pub fn publish_redis(lab: &Lab, suite: &str, server: FileServer<'_>, progress: ReportStep<'_>) -> Result<Publication> {
    let mut repo = RedisRepo::default();
    if !repo.suites.iter().any(|known| known == suite) {
        repo.suites.push(suite.to_owned());
    }
    let directory = lab.redis_repo(&repo, progress)?;
    lab.publish(&directory, server)
}

/// A lab's nodes, as roles and the engine see them. A host that is not among them cannot be reached through it.
#[derive(Debug)]
pub struct Site {
    /// The nodes.
    pub nodes: Vec<LabNode>,
    /// The variables that differ from the inventory's, by name.
    variables: Vec<(&'static str, String)>,
    /// An inventory that, after the project's own, connects its hosts to the lab's nodes.
    pub inventory: PathBuf,
    /// Ends the server with this process, if it runs within it.
    _stand_in: Option<Publication>,
}

impl Site {
    /// Describes all nodes of a lab. Redis comes from the stand-in, or from the URL, or from the repository of the inventory.
    ///
    /// # Errors
    /// The lab has no node, or its inventory cannot be written.
    pub fn new(lab: &Lab, suite: &str, stand_in: Option<Publication>, redis_repo: Option<String>) -> Result<Self> {
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
    #[must_use]
    pub fn extra_vars(&self) -> String {
        let variables = self.variables.iter().map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(value.as_str())));
        serde_json::Value::Object(variables.collect()).to_string()
    }

    /// How the hosts of a plan are reached: addresses, keys and configuration are the lab's, whatever the plan says.
    ///
    /// # Errors
    /// A host of the plan is not in the lab.
    pub fn reach(&self, lab: &Lab, plan: &Plan) -> Result<Reach> {
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
    use crate::lab::LabOptions;

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
