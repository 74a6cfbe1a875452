//! What a node says about itself, and what stands in for it while nothing is connected.

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
    /// A Debian node, for checking a project before anything is contacted.
    #[must_use]
    pub fn stand_in() -> Self {
        let facts = json!({
            "os_family": "Debian",
            "distribution": "Debian",
            "distribution_version": "12.8",
            "distribution_release": "bookworm",
            "distribution_major_version": "12",
            "hostname": "node",
            "nodename": "node",
            "fqdn": "node.example.net",
            "domain": "example.net",
            "architecture": "x86_64",
            "machine": "x86_64",
            "system": "Linux",
            "kernel": "6.1.0-28-amd64",
            "service_mgr": "systemd",
            "memtotal_mb": 4096,
            "memfree_mb": 2048,
            "swaptotal_mb": 0,
            "processor_cores": 2,
            "processor_count": 1,
            "processor_nproc": 2,
            "processor_vcpus": 2,
            "default_ipv4": {
                "address": "198.18.0.2", "interface": "eth0", "gateway": "198.18.0.1", "netmask": "255.255.0.0",
                "network": "198.18.0.0", "prefix": "16", "macaddress": "02:00:00:00:00:02"
            },
            "all_ipv4_addresses": ["198.18.0.2"],
            "all_ipv6_addresses": [],
            "interfaces": ["lo", "eth0"],
            "virtualization_type": "kvm",
            "virtualization_role": "guest",
            "env": {},
            "user_id": "root"
        });
        Self { facts, registers: IndexMap::new() }
    }

    /// What stands in for the result of a task.
    #[must_use]
    pub fn stand_in_result(reads: bool) -> Value {
        if reads {
            json!({"changed": false, "skipped": false, "stdout": "", "stdout_lines": [], "stderr": "", "rc": 0})
        } else {
            json!({"changed": true, "skipped": false})
        }
    }
}
