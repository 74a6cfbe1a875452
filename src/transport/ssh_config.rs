//! What ssh is told: its configuration, its arguments, and the directory of a connection.

use std::{ffi::OsString, fmt::Write as _, fs, io, num::NonZeroU64, os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;

use super::{HostKeys, Target};

/// Makes the directory of a connection in the run's.
pub(super) fn connection_directory(run_directory: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("c").rand_bytes(6).permissions(fs::Permissions::from_mode(0o700)).tempdir_in(run_directory)
}

/// Returns those of the arguments that say which host it is and how it is reached.
pub(super) fn own_arguments(target: &Target) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    if let Some(port) = target.port {
        option("-p", port.to_string().into());
    }
    if let Some(user) = &target.user {
        option("-l", user.into());
    }
    if let Some(identity) = &target.identity {
        option("-o", "IdentitiesOnly=yes".into());
        option("-i", identity.into());
    }
    for (keyword, value) in &target.arguments.options {
        option("-o", format!("{keyword}={value}").into());
    }
    // A host that begins with a dash is not an option.
    option("--", (&target.host).into());
    arguments
}

/// Returns our options first, because ssh takes the first value of each, and then includes the operator's files, which `-F` would turn off.
pub(super) fn configuration_text(target: &Target) -> Result<String, String> {
    let checking = match target.host_keys {
        HostKeys::Strict => "yes",
        HostKeys::AcceptNew => "accept-new",
    };
    let connect_timeout = NonZeroU64::new(target.connect_timeout.as_secs()).map_or(1, NonZeroU64::get);
    let mut text = format!(
        "Host *\n  LogLevel INFO\n  BatchMode yes\n  RequestTTY no\n  RemoteCommand none\n  SessionType default\n  ClearAllForwardings yes\n  \
         ForwardAgent no\n  ForwardX11 no\n  PermitLocalCommand no\n  ServerAliveInterval 5\n  ServerAliveCountMax 3\n  \
         ConnectTimeout {connect_timeout}\n  StrictHostKeyChecking {checking}\n"
    );
    if let Some(known_hosts) = &target.known_hosts {
        let _ = writeln!(text, "  UserKnownHostsFile {}", quoted(known_hosts)?);
        text.push_str("  GlobalKnownHostsFile none\n");
    }
    match &target.arguments.config {
        Some(configuration) => {
            let _ = writeln!(text, "Include {}", quoted(configuration)?);
        }
        None => text.push_str("Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n"),
    }
    Ok(text)
}

/// Quotes a path for `ssh_config(5)`, in which `%` begins a token.
fn quoted(path: &Path) -> Result<String, String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\\', '\n', '$']));
    let text = text.ok_or_else(|| format!("the path `{}` cannot be written in an ssh configuration", path.display()))?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}
