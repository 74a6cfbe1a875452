//! How the hosts of a plan are reached, from their `ansible_*` variables.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use crate::{
    controller::Controller,
    engine::Reach,
    plan::{ConnectionVars, Plan},
    source::{self, Diagnostic, Diagnostics},
    transport::{ConnectionMethod, HostKeys, Target},
};

/// What the user says about connections, besides the variables.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOptions {
    /// Whether host keys that are not known yet are accepted and remembered.
    pub accept_new_host_keys: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whether connections stay for the next run, as long as `ssh_persist` says.
    pub persist: bool,
}

/// Returns each host of a plan, and each that is only read, with its variables.
pub fn hosts(plan: &Plan) -> impl Iterator<Item = (&String, &ConnectionVars)> {
    let hosts = plan.hosts.iter().map(|host| (&host.name, host.connection()));
    hosts.chain(plan.lenders.iter().map(|lender| (&lender.name, lender.connection())))
}

/// Returns how each of these hosts is reached, without passwords for sudo.
pub fn of_hosts<'a>(
    hosts: impl Iterator<Item = (&'a String, &'a ConnectionVars)>,
    options: ConnectionOptions,
    controller: &Controller,
) -> Reach {
    hosts.map(|(name, connection)| (name.clone(), target(name, connection, options, controller))).collect()
}

/// Says which private keys of these hosts ssh would not use: those that are not there, cannot be read, or that others may read.
///
/// # Errors
/// Names each of them with the place in the inventory.
pub fn check_keys<'a>(hosts: impl Iterator<Item = &'a ConnectionVars>, controller: &Controller) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    for connection in hosts.filter(|connection| !connection.local) {
        let declared = connection.key.iter().map(|key| (key.as_str(), connection.key_at.clone()));
        for (key, span) in declared.chain(connection.arguments.keys().map(|key| (key, None))) {
            // ssh puts the names of the host and the user in place of a `%` and its letter.
            if key.contains('%') {
                continue;
            }
            if let Some((title, help)) = unusable(key, &controller.expand(Path::new(key))) {
                let place = if span.is_none() { " (in the arguments for ssh)" } else { "" };
                errors.push(Diagnostic { span, ..Diagnostic::error(format!("{title}{place}")).help(help) });
            }
        }
    }
    errors.into_result(())
}

/// Returns why ssh does not use a private key, and what to do about it.
fn unusable(key: &str, path: &Path) -> Option<(String, String)> {
    let opened = std::fs::metadata(path).and_then(|found| source::open_regular(path).map(|_| found));
    match opened {
        Err(error) => {
            let title = format!("the private key `{key}` cannot be read: {error}");
            Some((title, "correct the path, or leave it out if the key is in ssh-agent or in your ssh_config".to_owned()))
        }
        // As ssh does, for files of the user who runs it.
        Ok(found) if found.mode() & 0o077 != 0 && std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == found.uid()) => {
            let title = format!(
                "others may read the private key `{key}` (mode {:04o}), so that ssh does not use it",
                found.mode() & 0o7777
            );
            Some((title, format!("`chmod 600 {key}`")))
        }
        Ok(_) => None,
    }
}

fn target(name: &str, connection: &ConnectionVars, options: ConnectionOptions, controller: &Controller) -> Target {
    Target {
        port: connection.port,
        user: connection.user.clone(),
        identity: connection.key.as_deref().map(|key| controller.expand(Path::new(key))),
        arguments: connection.arguments.clone(),
        become_root: connection.r#become,
        connection: if connection.local { ConnectionMethod::Local } else { ConnectionMethod::Ssh },
        host_keys: if options.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Strict },
        connect_timeout: options.connect_timeout,
        persist: if options.persist { connection.persist } else { Duration::ZERO },
        ..Target::new(name, connection.host.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_that_ssh_would_not_use_is_an_error_before_the_first_connection() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("key");
        let say = || unusable("~/key", &key).map(|(title, _)| title).unwrap_or_default();
        assert!(say().starts_with("the private key `~/key` cannot be read: No such file"), "{}", say());
        std::fs::write(&key, "").unwrap();
        for (mode, wanted) in [(0o600, ""), (0o400, ""), (0o640, "(mode 0640)"), (0o604, "(mode 0604)")] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(say().is_empty(), wanted.is_empty(), "{mode:o}");
            assert!(say().contains(wanted), "{}", say());
        }
        std::fs::remove_file(&key).unwrap();
        std::fs::create_dir(&key).unwrap();
        assert!(say().contains("cannot be read"), "{}", say());
    }
}
