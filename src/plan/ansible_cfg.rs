//! An `ansible.cfg` beside the project: it is not read, and a warning says which of its settings have another place here.

use std::fmt::Write as _;

use crate::source::{Diagnostic, FilesRead, SourceFile, Span};

use super::Request;

/// A setting of Ansible, with the section that it stands in, and what has its effect here.
struct Setting(&'static str, &'static str, &'static str);

/// The settings that say who, where, or with which secrets. The others say how Ansible itself works.
const SETTINGS: [Setting; 27] = [
    Setting("defaults", "inventory", "`-i`; without it `inventory/` of the project is read"),
    Setting("defaults", "remote_user", "`ansible_user` in the inventory"),
    Setting("defaults", "remote_port", "`ansible_port` in the inventory"),
    Setting("defaults", "private_key_file", "`ansible_ssh_private_key_file` in the inventory"),
    Setting("defaults", "transport", "`ansible_connection` in the inventory"),
    Setting("defaults", "timeout", "`--connect-timeout`"),
    Setting("defaults", "forks", "`--forks`"),
    Setting("defaults", "roles_path", "roles are in `roles/` of the project"),
    Setting("defaults", "vault_password_file", "`--vault-password-file`"),
    Setting("defaults", "vault_identity_list", "`--vault-id`"),
    Setting("defaults", "ask_vault_pass", "`--ask-vault-pass`"),
    Setting("defaults", "ask_pass", "logins are by key only"),
    Setting("defaults", "host_key_checking", "the keys of hosts are always compared"),
    Setting("defaults", "hash_behaviour", "maps are replaced, never merged"),
    Setting("defaults", "executable", "scripts are run by /bin/sh"),
    Setting("privilege_escalation", "become", "every run becomes root; `ansible_become: false` says otherwise"),
    Setting("privilege_escalation", "become_user", "every run works as root; tasks have `become_user`"),
    Setting("privilege_escalation", "become_method", "root is reached by sudo"),
    Setting("privilege_escalation", "become_ask_pass", "`--ask-become-pass`"),
    Setting("privilege_escalation", "become_password_file", "`--become-password-file`"),
    Setting("defaults", "become_password_file", "`--become-password-file`"),
    Setting("ssh_connection", "ssh_args", "`ansible_ssh_common_args` in the inventory"),
    Setting("ssh_connection", "ssh_common_args", "`ansible_ssh_common_args` in the inventory"),
    Setting("ssh_connection", "ssh_extra_args", "`ansible_ssh_extra_args` in the inventory"),
    Setting("ssh_connection", "ssh_executable", "`ssh` is found by PATH"),
    Setting("ssh_connection", "host_key_checking", "the keys of hosts are always compared"),
    Setting("ssh_connection", "timeout", "`--connect-timeout`"),
];

/// Returns the warning about an `ansible.cfg` in the project's directory.
pub(super) fn warning(request: &Request, files: &FilesRead) -> Option<Diagnostic> {
    let name = "ansible.cfg";
    if !files.names_in(&request.project).iter().any(|there| there == name) {
        return None;
    }
    // Not noted among the files that the plan was loaded from: nothing of it counts.
    let file = files.apart().read(&request.project.join(name), name).ok()?;
    about(&file)
}

fn about(file: &std::sync::Arc<SourceFile>) -> Option<Diagnostic> {
    let (mut section, mut start) = ("", 0);
    let (mut found, mut others): (Vec<(&Setting, Span)>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in file.text.split_inclusive('\n') {
        let (at, text) = (start + line.len() - line.trim_start().len(), line.trim());
        start += line.len();
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.0.trim();
        } else if let Some((key, value)) = text.split_once(['=', ':'])
            && !text.starts_with(['#', ';'])
            // A line that is indented goes on with the value before it.
            && !line.starts_with([' ', '\t'])
        {
            let (key, value) = (key.trim(), value.trim());
            if value.is_empty() {
                continue;
            }
            match SETTINGS.iter().find(|Setting(in_section, name, _)| *in_section == section && *name == key) {
                Some(setting) => found.push((setting, Span::new(file, at..at + text.len()))),
                None => others.push(key),
            }
        }
    }
    let (_, span) = found.first()?.clone();
    let names: Vec<String> = found.iter().map(|(Setting(_, name, _), _)| format!("`{name}`")).collect();
    let mut title = format!("`{}` is not read: {}", file.shown, names.join(", "));
    if !others.is_empty() {
        let _ = write!(title, ", and what says how Ansible itself works: {}", others.join(", "));
    }
    let mut help = String::from("what has their effect here:");
    for (Setting(_, name, instead), _) in &found {
        let _ = write!(help, "\n{name}: {instead}");
    }
    Some(Diagnostic::warning(title).at(span).label("not read").help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str) -> String {
        about(&SourceFile::new("ansible.cfg", text)).map_or_else(String::new, |warning| warning.render(false))
    }

    #[test]
    fn names_the_settings_that_have_another_place_here() {
        insta::assert_snapshot!(say("# ours\n[defaults]\ninventory = hosts\nremote_user=admin\nretry_files_enabled = False\n;forks = 5\n\n[privilege_escalation]\nbecome: True\n\n[ssh_connection]\nssh_args = -C\n  -o ControlMaster=auto\npipelining = True\n"), @r#"
        warning: `ansible.cfg` is not read: `inventory`, `remote_user`, `become`, `ssh_args`, and what says how Ansible itself works: retry_files_enabled, pipelining
         --> ansible.cfg:3:1
          |
        3 | inventory = hosts
          | ^^^^^^^^^^^^^^^^^ not read
          |
          = help: what has their effect here:
                  inventory: `-i`; without it `inventory/` of the project is read
                  remote_user: `ansible_user` in the inventory
                  become: every run becomes root; `ansible_become: false` says otherwise
                  ssh_args: `ansible_ssh_common_args` in the inventory
        "#);
    }

    /// Nothing in such a file changes what a run does, so there is nothing to warn of.
    #[test]
    fn how_ansible_itself_works_is_no_reason_for_a_warning() {
        for text in ["", "[defaults]\nstdout_callback = yaml\nnocows = 1\n", "[defaults]\nremote_user =\n", "remote_user = x\n"] {
            assert_eq!(say(text), "", "{text}");
        }
    }
}
