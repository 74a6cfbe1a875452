//! The requirements of the lab. Everything that is missing is reported at once, with the command that installs it.

use std::fs;

use anyhow::{Result, bail};

use super::{ReportStep, command::Programs};

/// What to do about missing programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// Report them in an error, with the command that installs them.
    #[default]
    Report,
    /// Install them with apt (`--yes`).
    Install,
}

/// A program and the Debian package that contains it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// The tools for booting nodes.
pub(super) const NODES: &[Tool] = &[
    tool("systemd-nspawn", "systemd-container"),
    tool("mmdebstrap", "mmdebstrap"),
    tool("ip", "iproute2"),
    tool("nft", "nftables"),
    tool("ssh", "openssh-client"),
    tool("ssh-keygen", "openssh-client"),
    tool("mount", "mount"),
    tool("setsid", "util-linux"),
    tool("nsenter", "util-linux"),
    tool("kill", "procps"),
];

/// The tools for building the stand-in for Redis's repository.
pub(super) const REDIS_REPO: &[Tool] =
    &[tool("python3", "python3"), tool("dpkg-deb", "dpkg"), tool("gpg", "gnupg"), tool("gzip", "gzip")];

/// Whether this process runs as root, which everything except reading the status of a lab requires.
#[must_use]
pub fn is_root() -> bool {
    // "Uid: real effective saved filesystem", proc_pid_status(5).
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            Some(ids.split_whitespace().nth(1)? == "0")
        })
        .unwrap_or(false)
}

/// The capabilities of a machine. A trait, so that the error messages can be tested without changing a machine.
pub(super) trait Machine {
    fn is_root(&self) -> bool;
    fn has_program(&self, program: &str) -> bool;
    fn has_overlay(&self) -> bool;
    fn has_pip(&self) -> bool;
}

/// The machine that this process runs on.
impl Machine for Programs {
    fn is_root(&self) -> bool {
        is_root()
    }

    fn has_program(&self, program: &str) -> bool {
        self.has(program)
    }

    fn has_overlay(&self) -> bool {
        let is_listed = || {
            let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
            filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay"))
        };
        // If the driver is a module, it is listed only after it was loaded.
        is_listed() || (self.command("modprobe").arg("overlay").run().is_ok() && is_listed())
    }

    fn has_pip(&self) -> bool {
        self.command("python3").args(["-m", "pip", "--version"]).run().is_ok()
    }
}

/// Whether pip is needed as well. It is a Python module, not a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pip {
    Needed,
    NotNeeded,
}

/// Makes sure that the machine has the tools.
///
/// # Errors
/// Lists everything that is missing, with the command that installs it; or returns the error of apt.
pub(super) fn require(programs: &Programs, tools: &[Tool], pip: Pip, missing: OnMissing, progress: ReportStep<'_>) -> Result<()> {
    let packages = missing_packages(tools, pip, programs);
    if missing == OnMissing::Install && !packages.is_empty() && programs.is_root() {
        progress(&format!("installing {}", packages.join(" ")));
        let quiet = |line: &str| progress(line);
        programs.command("apt-get").arg("update").env("DEBIAN_FRONTEND", "noninteractive").run_with_progress(&quiet)?;
        programs
            .command("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .run_with_progress(&quiet)?;
    }
    match describe_missing(tools, pip, programs) {
        None => Ok(()),
        Some(message) => bail!(message),
    }
}

/// Returns the packages that contain what is missing, without duplicates.
pub(super) fn missing_packages(tools: &[Tool], pip: Pip, machine: &dyn Machine) -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        tools.iter().filter(|tool| !machine.has_program(tool.program)).map(|tool| tool.package).collect();
    if pip == Pip::Needed && !machine.has_pip() {
        packages.push("python3-pip");
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn describe_missing(tools: &[Tool], pip: Pip, machine: &dyn Machine) -> Option<String> {
    let mut lines = Vec::new();
    if !machine.is_root() {
        lines.push("root privileges: run the command with `sudo`".to_owned());
    }
    if !machine.has_overlay() {
        lines.push("the kernel's overlay filesystem: `modprobe overlay` fails".to_owned());
    }
    let packages = missing_packages(tools, pip, machine);
    if !packages.is_empty() {
        let programs = tools.iter().filter(|tool| !machine.has_program(tool.program)).map(|tool| format!("`{}`", tool.program));
        let pip = (pip == Pip::Needed && !machine.has_pip()).then(|| "`pip`".to_owned());
        let programs: Vec<String> = programs.chain(pip).collect();
        lines.push(format!(
            "{}: `apt-get install --no-install-recommends {}` (or `--yes`, which does that)",
            programs.join(", "),
            packages.join(" ")
        ));
    }
    (!lines.is_empty())
        .then(|| format!("the lab needs the following, which is missing on this machine:\n  {}", lines.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controller::Controller;

    struct Bare;
    impl Machine for Bare {
        fn is_root(&self) -> bool {
            false
        }
        fn has_program(&self, program: &str) -> bool {
            program == "mount" || program == "ip"
        }
        fn has_overlay(&self) -> bool {
            false
        }
        fn has_pip(&self) -> bool {
            false
        }
    }

    struct Full;
    impl Machine for Full {
        fn is_root(&self) -> bool {
            true
        }
        fn has_program(&self, _: &str) -> bool {
            true
        }
        fn has_overlay(&self) -> bool {
            true
        }
        fn has_pip(&self) -> bool {
            true
        }
    }

    #[test]
    fn everything_missing_is_reported_at_once_with_the_command_that_installs_it() {
        insta::assert_snapshot!(describe_missing(NODES, Pip::NotNeeded, &Bare).unwrap(), @"
        the lab needs the following, which is missing on this machine:
          root privileges: run the command with `sudo`
          the kernel's overlay filesystem: `modprobe overlay` fails
          `systemd-nspawn`, `mmdebstrap`, `nft`, `ssh`, `ssh-keygen`, `setsid`, `nsenter`, `kill`: `apt-get install --no-install-recommends mmdebstrap nftables openssh-client procps systemd-container util-linux` (or `--yes`, which does that)
        ");
        insta::assert_snapshot!(describe_missing(REDIS_REPO, Pip::Needed, &Bare).unwrap(), @"
        the lab needs the following, which is missing on this machine:
          root privileges: run the command with `sudo`
          the kernel's overlay filesystem: `modprobe overlay` fails
          `python3`, `dpkg-deb`, `gpg`, `gzip`, `pip`: `apt-get install --no-install-recommends dpkg gnupg gzip python3 python3-pip` (or `--yes`, which does that)
        ");
    }

    #[test]
    fn a_program_is_searched_in_the_given_path_and_in_sbin() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("only-here"), "").unwrap();
        let variables = [("PATH".into(), directory.path().into())].into();
        let programs = Programs::new(Arc::new(Controller { variables, ..Controller::default() }));
        assert!(programs.has_program("only-here") && programs.has_program("chroot"));
        assert!(!programs.has_program("env"), "found in this process's own PATH");
        assert!(!Programs::default().has_program("only-here") && Programs::default().has_program("env"));
    }

    #[test]
    fn nothing_is_reported_on_a_machine_that_has_everything() {
        assert_eq!(describe_missing(NODES, Pip::Needed, &Full), None);
    }
}
