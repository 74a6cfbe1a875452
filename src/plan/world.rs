//! The facts and results of a node, and stand-ins for them while nothing is connected.

use indexmap::IndexMap;
use serde_json::{Value, json};

/// What is known of a host when its tasks are expanded.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// `ansible_facts.*`: a map.
    pub facts: Value,
    /// The results of earlier tasks, by the name in `register`.
    pub registers: IndexMap<String, Value>,
}

impl World {
    /// Returns a Debian node, for checking a project before any node is contacted.
    #[must_use]
    pub fn stand_in() -> Self {
        // Exactly the names that `question::facts` returns: a name that exists only here would fail on the node.
        let facts = json!({
            "memtotal_mb": 4096,
            "swaptotal_mb": 0,
            "processor_vcpus": 2,
            "system": "Linux",
            "fqdn": "node.example.net",
            "kernel": "6.1.0-28-amd64",
            "architecture": "x86_64",
            "hostname": "node",
            "nodename": "node.example.net",
            "distribution": "Debian",
            "distribution_version": "12",
            "distribution_major_version": "12",
            "distribution_release": "bookworm",
            "os_family": "Debian",
            "all_ipv4_addresses": ["198.18.0.2"],
            "default_ipv4": {"address": "198.18.0.2", "gateway": "198.18.0.1", "interface": "eth0"}
        });
        Self { facts, registers: IndexMap::new() }
    }

    /// Returns a stand-in for the result of a task.
    #[must_use]
    pub fn stand_in_result(reads: bool) -> Value {
        if reads {
            json!({"changed": false, "skipped": false, "stdout": "", "stdout_lines": [], "stderr": "", "rc": 0})
        } else {
            json!({"changed": true, "skipped": false})
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, process::Command};

    use super::*;
    use crate::question::{Kind as _, Output, facts::Facts};

    fn names(facts: &Value) -> BTreeSet<String> {
        facts.as_object().into_iter().flat_map(|facts| facts.keys().cloned()).collect()
    }

    #[test]
    fn stand_in_facts_have_the_names_of_real_facts() {
        let ran = Command::new("sh").arg("-c").arg(Facts::script(&[&()]).render().unwrap()).output().unwrap();
        let output = Output { status: ran.status.code().unwrap(), stdout: ran.stdout };
        let facts = Facts::read(&[&()], &output).remove(0).unwrap();
        assert_eq!(names(&World::stand_in().facts), names(&facts));
        assert_eq!(names(&World::stand_in().facts["default_ipv4"]), names(&facts["default_ipv4"]));
    }
}
