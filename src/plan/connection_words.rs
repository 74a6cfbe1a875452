//! The variables with which Ansible says how a host is reached and that are not obeyed here: an error where one changes who or where, a warning
//! where it changes how. None is passed over in silence.

use serde_json::Value;

use crate::{
    role::truth,
    source::{Diagnostic, diagnostic::Severity, did_you_mean},
};

/// The variables that are obeyed.
const OBEYED: [&str; 21] = [
    "ansible_host",
    "ansible_ssh_host",
    "ansible_port",
    "ansible_ssh_port",
    "ansible_user",
    "ansible_ssh_user",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_connection",
    "ansible_become",
    "ansible_become_password",
    "ansible_become_pass",
    "ansible_sudo_pass",
    "ansible_group_priority",
    "ansible_facts",
    "ansible_check_mode",
    "ansible_managed",
    "ansible_version",
];

/// The variables that say how Ansible itself works: without Python, temporary files and `sftp` they have nothing to change.
const HARMLESS: [&str; 29] = [
    "ansible_admin_users",
    "ansible_async_dir",
    "ansible_common_remote_group",
    "ansible_control_path",
    "ansible_control_path_dir",
    "ansible_delegated_vars",
    "ansible_keep_remote_files",
    "ansible_pipelining",
    "ansible_python_interpreter",
    "ansible_remote_tmp",
    "ansible_scp_executable",
    "ansible_scp_extra_args",
    "ansible_scp_if_ssh",
    "ansible_sftp_batch_mode",
    "ansible_sftp_executable",
    "ansible_sftp_extra_args",
    "ansible_shell_allow_world_readable_temp",
    "ansible_ssh_control_path",
    "ansible_ssh_control_path_dir",
    "ansible_ssh_pipelining",
    "ansible_ssh_reconnection_retries",
    "ansible_ssh_retries",
    "ansible_ssh_scp_if_ssh",
    "ansible_ssh_transfer_method",
    "ansible_ssh_use_tty",
    "ansible_ssh_usetty",
    "ansible_ssh_verbosity",
    "ansible_system_tmpdirs",
    "ansible_unsafe_writes",
];

/// The beginnings of the names of connection variables. A variable with another name belongs to the inventory's author, and roles may use it.
const FAMILIES: [&str; 19] = [
    "ansible_aws_ssm_",
    "ansible_become_",
    "ansible_connection_",
    "ansible_control_",
    "ansible_docker_",
    "ansible_doas_",
    "ansible_host_",
    "ansible_httpapi_",
    "ansible_kubectl_",
    "ansible_libssh_",
    "ansible_lxd_",
    "ansible_netconf_",
    "ansible_paramiko_",
    "ansible_private_key",
    "ansible_psrp_",
    "ansible_ssh_",
    "ansible_su_",
    "ansible_sudo_",
    "ansible_winrm_",
];

/// The variables whose value decides what is said of them.
const BY_VALUE: [&str; 18] = [
    "ansible_become_exe",
    "ansible_become_flags",
    "ansible_become_method",
    "ansible_become_user",
    "ansible_host_key_checking",
    "ansible_pkcs11_provider",
    "ansible_shell_executable",
    "ansible_shell_type",
    "ansible_ssh_executable",
    "ansible_ssh_host_key_checking",
    "ansible_ssh_pkcs11_provider",
    "ansible_ssh_timeout",
    "ansible_su",
    "ansible_sudo",
    "ansible_sudo_exe",
    "ansible_sudo_flags",
    "ansible_sudo_user",
    "ansible_timeout",
];

const PASSWORD: &str = "logins are by key only; add your public key to the account on the node";
const SU: &str = "root is reached by sudo, never by su";

/// What is said of a variable.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    severity: Severity,
    why: String,
    help: String,
}

impl Said {
    #[expect(clippy::unnecessary_wraps, reason = "what is said is one arm of several, of which others say nothing")]
    fn error(why: impl Into<String>, help: impl Into<String>) -> Option<Self> {
        Some(Self { severity: Severity::Error, why: why.into(), help: help.into() })
    }

    #[expect(clippy::unnecessary_wraps, reason = "what is said is one arm of several, of which others say nothing")]
    fn warning(why: impl Into<String>, help: impl Into<String>) -> Option<Self> {
        Some(Self { severity: Severity::Warning, why: why.into(), help: help.into() })
    }
}

/// Whether the value of this variable decides what is said of it. The value of another one, such as a password, is not looked at.
pub(super) fn is_judged_by_value(name: &str) -> bool {
    BY_VALUE.contains(&name)
}

/// Says what is not obeyed of these connection variables. `value` returns the value of one, or any where it does not matter; `becomes` is whether the run
/// becomes root.
pub(super) fn check<'a>(
    names: impl Iterator<Item = &'a String>,
    value: impl Fn(&str) -> Option<Value>,
    becomes: bool,
) -> Vec<(&'a str, Diagnostic)> {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let unread = names.into_iter().filter(|name| name.starts_with("ansible_") && !OBEYED.contains(name));
    let judged = unread.filter_map(|name| {
        let value = value(name).filter(|value| !is_nothing(value))?;
        let said = judge(name, &value, becomes)?;
        let diagnostic = Diagnostic::error(format!("`{name}` is not obeyed: {}", said.why)).help(said.help);
        Some((name, Diagnostic { severity: said.severity, ..diagnostic }))
    });
    judged.collect()
}

fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| truth(value.as_str()?))
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

/// Returns what is said of a variable with this value; nothing where it changes nothing.
fn judge(name: &str, value: &Value, becomes: bool) -> Option<Said> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = text.trim();
    match name {
        _ if HARMLESS.contains(&name) || name.ends_with("_interpreter") => None,
        "ansible_password" | "ansible_ssh_pass" | "ansible_ssh_password" => {
            Said::warning("no password is given to ssh", PASSWORD)
        }
        "ansible_sudo" | "ansible_su" => old_become(name, value, becomes),
        _ if name.starts_with("ansible_su_") || name.starts_with("ansible_doas_") => {
            becomes.then(|| Said::warning(SU, "leave it out")).flatten()
        }
        _ if name.starts_with("ansible_become_") || name.starts_with("ansible_sudo_") => {
            becomes.then(|| become_word(name, text)).flatten()
        }
        "ansible_ssh_executable" if text == "ssh" || text == "/usr/bin/ssh" => None,
        "ansible_ssh_executable" => Said::error(
            format!("`ssh` is found by PATH here, and `{text}` may lead to another machine"),
            "put its directory first in PATH under the name `ssh`, or use `ProxyCommand` in `ansible_ssh_common_args`",
        ),
        "ansible_host_key_checking" | "ansible_ssh_host_key_checking" => match flag(value) {
            Some(true) => None,
            Some(false) | None => Said::warning(
                "the keys of hosts are always compared",
                "add them to known_hosts, or accept unknown ones once with `--accept-new-host-keys`",
            ),
        },
        "ansible_timeout" | "ansible_ssh_timeout" => {
            Said::warning("the limit for connecting is an option", format!("give `--connect-timeout {text}`"))
        }
        "ansible_pkcs11_provider" | "ansible_ssh_pkcs11_provider" => {
            let help = format!("write it into `ansible_ssh_common_args`: `-o PKCS11Provider={text}`");
            Said::warning("it is an option of ssh", help)
        }
        "ansible_shell_executable" if ["/bin/sh", "sh", "/usr/bin/sh"].contains(&text) => None,
        "ansible_shell_executable" => {
            Said::warning("scripts are run by /bin/sh", "name the shell in the command itself where one needs it: `bash -c '…'`")
        }
        "ansible_shell_type" if ["powershell", "cmd"].contains(&text) => {
            Said::error("nodes run Debian, not Windows", "leave the host out with `--limit`")
        }
        "ansible_shell_type" => None,
        _ if FAMILIES.iter().any(|family| name.starts_with(family)) => {
            let near = did_you_mean(name, OBEYED);
            let help = near.map_or_else(
                || "INVENTORY.md lists those that are read; leave it out".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Said::warning("it is no connection variable that is read here", help)
        }
        _ => {
            let near = did_you_mean(name, OBEYED)?;
            Said::warning("no variable of a connection has this name", format!("did you mean `{near}`?"))
        }
    }
}

/// `ansible_sudo` and `ansible_su`, which were booleans in old versions of Ansible.
fn old_become(name: &str, value: &Value, becomes: bool) -> Option<Said> {
    match (name, flag(value)) {
        ("ansible_sudo", Some(wanted)) if wanted == becomes => None,
        ("ansible_sudo", Some(true)) => Said::error("`ansible_become` says that the run does not become root", "leave one out"),
        ("ansible_sudo", _) => Said::error("the run becomes root by sudo", "write `ansible_become: false`"),
        (_, Some(false)) => None,
        _ => Said::error(SU, "allow sudo on the node, log in as root (`ansible_user: root`), or write `ansible_become: false`"),
    }
}

/// The variables that say how a run becomes root. It becomes no other user.
fn become_word(name: &str, text: &str) -> Option<Said> {
    let word = name.trim_start_matches("ansible_become_").trim_start_matches("ansible_sudo_");
    match word {
        "user" if text == "root" => None,
        "user" => Said::error(
            format!("every run works as root, not as `{text}`"),
            "leave it out, and give the tasks that another user runs `become_user` in the role",
        ),
        "method" if ["sudo", "ansible.builtin.sudo", "ansible.legacy.sudo"].contains(&text) => None,
        "method" => Said::error(
            format!("root is reached by sudo, not by `{text}`"),
            "allow sudo on the node, log in as root (`ansible_user: root`), or write `ansible_become: false`",
        ),
        "exe" if ["sudo", "/usr/bin/sudo", "/bin/sudo"].contains(&text) => None,
        "exe" => Said::error(format!("`sudo` is found by the login's PATH, and `{text}` is another program"), "leave it out"),
        "flags" => become_flags(text),
        "pass" | "password" => None,
        _ => Said::warning("sudo is started in one way only", "leave it out"),
    }
}

/// Flags of sudo that change nothing here: the home directory, and how the password is asked for.
const USUAL_FLAGS: [&str; 8] = ["-H", "-S", "-n", "-HS", "-Hn", "-HSn", "-Sn", "--"];

fn become_flags(text: &str) -> Option<Said> {
    let others: Vec<&str> = text.split_whitespace().filter(|word| !USUAL_FLAGS.contains(word)).collect();
    // The user, the group, the host, the root directory, the SELinux role and type.
    let changes_who = |word: &&str| {
        let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or_default();
        let long = ["--user", "--group", "--host", "--chroot", "--role", "--type"];
        short.contains(['u', 'g', 'h', 'R', 'r', 't']) || long.iter().any(|option| word.starts_with(option))
    };
    if others.is_empty() {
        None
    } else if let Some(word) = others.iter().find(|word| changes_who(word)) {
        Said::error(format!("`{word}` would change as whom or where tasks run"), "leave it out: every run works as root")
    } else {
        Said::warning(format!("sudo is started without `{}`", others.join(" ")), "leave it out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(name: &str, value: &Value, becomes: bool) -> String {
        judge(name, value, becomes)
            .map_or_else(|| "-".to_owned(), |said| format!("{:?}: {} [{}]", said.severity, said.why, said.help))
    }

    #[test]
    fn what_changes_who_or_where_is_an_error_and_the_rest_a_warning() {
        let lines = [
            ("ansible_become_user", "root"),
            ("ansible_become_user", "postgres"),
            ("ansible_sudo_user", "postgres"),
            ("ansible_become_method", "sudo"),
            ("ansible_become_method", "su"),
            ("ansible_become_method", "community.general.doas"),
            ("ansible_become_exe", "/usr/bin/sudo"),
            ("ansible_become_exe", "/opt/pbrun"),
            ("ansible_become_flags", "-H -S -n"),
            ("ansible_become_flags", "-E"),
            ("ansible_become_flags", "-H -u postgres"),
            ("ansible_sudo_flags", "--user=x"),
            ("ansible_sudo_chdir", "/x"),
            ("ansible_su_user", "x"),
            ("ansible_password", "x"),
            ("ansible_ssh_pass", "x"),
            ("ansible_ssh_executable", "/usr/bin/ssh"),
            ("ansible_ssh_executable", "/opt/tsh"),
            ("ansible_timeout", "30"),
            ("ansible_shell_executable", "/bin/sh"),
            ("ansible_shell_executable", "/bin/bash"),
            ("ansible_shell_type", "powershell"),
            ("ansible_python_interpreter", "/usr/bin/python3"),
            ("ansible_ssh_pipelining", "true"),
            ("ansible_ssh_transfer_method", "piped"),
            ("ansible_ssh_pkcs11_provider", "/x.so"),
            ("ansible_ssh_private_keyfile", "/k"),
            ("ansible_winrm_transport", "x"),
            ("ansible_prot", "22"),
            ("ansible_colour_of_the_rack", "red"),
        ]
        .map(|(name, value)| format!("{name}={value}: {}", say(name, &value.into(), true)));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ansible_become_user=root: -
        ansible_become_user=postgres: Error: every run works as root, not as `postgres` [leave it out, and give the tasks that another user runs `become_user` in the role]
        ansible_sudo_user=postgres: Error: every run works as root, not as `postgres` [leave it out, and give the tasks that another user runs `become_user` in the role]
        ansible_become_method=sudo: -
        ansible_become_method=su: Error: root is reached by sudo, not by `su` [allow sudo on the node, log in as root (`ansible_user: root`), or write `ansible_become: false`]
        ansible_become_method=community.general.doas: Error: root is reached by sudo, not by `community.general.doas` [allow sudo on the node, log in as root (`ansible_user: root`), or write `ansible_become: false`]
        ansible_become_exe=/usr/bin/sudo: -
        ansible_become_exe=/opt/pbrun: Error: `sudo` is found by the login's PATH, and `/opt/pbrun` is another program [leave it out]
        ansible_become_flags=-H -S -n: -
        ansible_become_flags=-E: Warning: sudo is started without `-E` [leave it out]
        ansible_become_flags=-H -u postgres: Error: `-u` would change as whom or where tasks run [leave it out: every run works as root]
        ansible_sudo_flags=--user=x: Error: `--user=x` would change as whom or where tasks run [leave it out: every run works as root]
        ansible_sudo_chdir=/x: Warning: sudo is started in one way only [leave it out]
        ansible_su_user=x: Warning: root is reached by sudo, never by su [leave it out]
        ansible_password=x: Warning: no password is given to ssh [logins are by key only; add your public key to the account on the node]
        ansible_ssh_pass=x: Warning: no password is given to ssh [logins are by key only; add your public key to the account on the node]
        ansible_ssh_executable=/usr/bin/ssh: -
        ansible_ssh_executable=/opt/tsh: Error: `ssh` is found by PATH here, and `/opt/tsh` may lead to another machine [put its directory first in PATH under the name `ssh`, or use `ProxyCommand` in `ansible_ssh_common_args`]
        ansible_timeout=30: Warning: the limit for connecting is an option [give `--connect-timeout 30`]
        ansible_shell_executable=/bin/sh: -
        ansible_shell_executable=/bin/bash: Warning: scripts are run by /bin/sh [name the shell in the command itself where one needs it: `bash -c '…'`]
        ansible_shell_type=powershell: Error: nodes run Debian, not Windows [leave the host out with `--limit`]
        ansible_python_interpreter=/usr/bin/python3: -
        ansible_ssh_pipelining=true: -
        ansible_ssh_transfer_method=piped: -
        ansible_ssh_pkcs11_provider=/x.so: Warning: it is an option of ssh [write it into `ansible_ssh_common_args`: `-o PKCS11Provider=/x.so`]
        ansible_ssh_private_keyfile=/k: Warning: it is no connection variable that is read here [did you mean `ansible_ssh_private_key_file`?]
        ansible_winrm_transport=x: Warning: it is no connection variable that is read here [INVENTORY.md lists those that are read; leave it out]
        ansible_prot=22: Warning: no variable of a connection has this name [did you mean `ansible_port`?]
        ansible_colour_of_the_rack=red: -
        "#);
    }

    #[test]
    fn old_names_and_a_run_that_does_not_become_root() {
        let lines = [
            ("ansible_sudo", Value::Bool(true), true),
            ("ansible_sudo", Value::Bool(false), true),
            ("ansible_sudo", Value::Bool(false), false),
            ("ansible_sudo", Value::Bool(true), false),
            ("ansible_su", Value::Bool(true), true),
            ("ansible_su", Value::Bool(false), true),
            ("ansible_become_user", "postgres".into(), false),
            ("ansible_become_method", "su".into(), false),
            ("ansible_host_key_checking", Value::Bool(false), true),
            ("ansible_host_key_checking", Value::Bool(true), true),
        ]
        .map(|(name, value, becomes)| format!("{name}={value} {becomes}: {}", say(name, &value, becomes)));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ansible_sudo=true true: -
        ansible_sudo=false true: Error: the run becomes root by sudo [write `ansible_become: false`]
        ansible_sudo=false false: -
        ansible_sudo=true false: Error: `ansible_become` says that the run does not become root [leave one out]
        ansible_su=true true: Error: root is reached by sudo, never by su [allow sudo on the node, log in as root (`ansible_user: root`), or write `ansible_become: false`]
        ansible_su=false true: -
        ansible_become_user="postgres" false: -
        ansible_become_method="su" false: -
        ansible_host_key_checking=false true: Warning: the keys of hosts are always compared [add them to known_hosts, or accept unknown ones once with `--accept-new-host-keys`]
        ansible_host_key_checking=true true: -
        "#);
    }
}
