//! Variables and facts that Ansible has.

use super::Word;

const CLOCK: &str = "a clock would make every run a change: leave it out, or let the script that needs a time ask for it";
const ALL_HOSTS: &str = "the hosts of the inventory are in `groups`, such as `groups['all']`";
const HERE: &str = "paths of this machine mean nothing on a node: name templates and files by their names in the role";
const ENVIRONMENT: &str = "a node's environment differs from login to login: write the path in full, or query it with a `command` that has `reads: true`; pass a value from this machine with `-e`";
const MOUNTS: &str = "query it with a `command` that has `reads: true`, such as `findmnt -n /srv`, and `register` it";
const APT: &str = "it is always `apt`: leave the condition out";
const SYSTEMD: &str = "it is always `systemd`: leave the condition out";
const PYTHON: &str = "nodes need no Python here: leave it out";

/// Variables.
pub(crate) const VARIABLES: &[Word] = &[
    Word::new("ansible_date_time", CLOCK),
    Word::new("ansible_env", ENVIRONMENT),
    Word::new("ansible_managed", "write the line yourself, such as `# Written by autobot-provision; changes are overwritten`"),
    Word::new("ansible_mounts", MOUNTS),
    Word::new("ansible_devices", MOUNTS),
    Word::new(
        "ansible_interfaces",
        "addresses are in `ansible_facts.all_ipv4_addresses`, the first interface in `ansible_facts.default_ipv4`",
    ),
    Word::new("ansible_pkg_mgr", APT),
    Word::new("ansible_service_mgr", SYSTEMD),
    Word::new("ansible_python_version", PYTHON),
    Word::new("ansible_python", PYTHON),
    Word::new("ansible_python_interpreter", PYTHON),
    Word::new("ansible_lsb", "write `ansible_facts.distribution` or `ansible_facts.distribution_release`"),
    Word::new("ansible_memory_mb", "write `ansible_facts.memtotal_mb`"),
    Word::new("ansible_processor_cores", "write `ansible_facts.processor_vcpus`"),
    Word::new("ansible_user_id", "every task runs as root"),
    Word::new("ansible_user_dir", "every task runs as root: write the path in full"),
    Word::new("ansible_version", "leave it out: roles are checked by this program's version"),
    Word::new("ansible_play_hosts", ALL_HOSTS),
    Word::new("ansible_play_hosts_all", ALL_HOSTS),
    Word::new("ansible_play_batch", ALL_HOSTS),
    Word::new("play_hosts", ALL_HOSTS),
    Word::new("ansible_loop", "write a `loop` over maps that hold what is needed"),
    Word::new("ansible_index_var", "write a `loop` over maps that hold their number"),
    Word::new("ansible_diff_mode", "nothing may depend on how a run is shown"),
    Word::new("ansible_run_tags", "nothing may depend on which tags are selected"),
    Word::new("ansible_role_name", "write the role's name yourself"),
    Word::new("role_name", "write the role's name yourself"),
    Word::new("role_path", HERE),
    Word::new("playbook_dir", HERE),
    Word::new("inventory_dir", HERE),
    Word::new("inventory_file", HERE),
    Word::new("vars", "name the variable itself"),
    Word::new("environment", ENVIRONMENT),
];

/// Parts of `ansible_facts`.
pub(crate) const FACTS: &[Word] = &[
    Word::new("date_time", CLOCK),
    Word::new("env", ENVIRONMENT),
    Word::new("mounts", MOUNTS),
    Word::new("devices", MOUNTS),
    Word::new(
        "interfaces",
        "addresses are in `ansible_facts.all_ipv4_addresses`, the first interface in `ansible_facts.default_ipv4`",
    ),
    Word::new("pkg_mgr", APT),
    Word::new("service_mgr", SYSTEMD),
    Word::new("python", PYTHON),
    Word::new("python_version", PYTHON),
    Word::new("lsb", "write `ansible_facts.distribution` or `ansible_facts.distribution_release`"),
    Word::new(
        "services",
        "query it with a `command` that has `reads: true`, such as `systemctl is-active app`, and `register` it",
    ),
    Word::new("packages", "query it with a `command` that has `reads: true`, such as `dpkg-query -W redis`, and `register` it"),
    Word::new("user_id", "every task runs as root"),
    Word::new("processor_cores", "write `ansible_facts.processor_vcpus`"),
    Word::new("memory_mb", "write `ansible_facts.memtotal_mb`"),
];
