//! The base image that all labs share: Debian with systemd and sshd, built once for each recipe.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::{ReportStep, command::Programs, debian_sources, state::FileLock};

/// The packages of a server before any role is deployed. Without Python, ufw, gpg and curl: roles install what they need.
const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,iptables,ca-certificates,procps,netbase";

/// The account that operators log in with. It may become root without a password.
pub(super) const ACCOUNT: &str = "autobot";

/// Units that would change a node during a test, or that wait for hardware that a container does not have.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-remount-fs.service",
    "console-getty.service",
    "systemd-networkd-wait-online.service",
];

/// The version of the code below. It must change whenever the code builds a different image from the same constants.
const RECIPE: &str = "1";

/// Returns the base image of `suite`. Builds it first if it is not in the cache.
///
/// # Errors
/// mmdebstrap fails, or the cache cannot be written.
pub(super) fn base(programs: &Programs, cache: &Path, suite: &str, progress: ReportStep<'_>) -> Result<PathBuf> {
    let sources = debian_sources::from_this_machine(suite);
    let settings = debian_sources::settings_from_this_machine(programs);
    let image = cache.join(format!("base-{suite}-{}", recipe_hash(&[RECIPE, PACKAGES, &MASKED.concat(), &sources, &settings])));
    if image.is_dir() {
        return Ok(image);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    let _lock = FileLock::wait(&cache.join("lock"))?;
    if image.is_dir() {
        return Ok(image);
    }
    progress(&format!("building the base image of Debian {suite} (once, about half a minute)"));
    // Built under another name and renamed when complete, so that an interrupted build is never mistaken for an image.
    let partial = cache.join("base.partial");
    remove(&partial)?;
    build(programs, &partial, suite, &sources, &settings, cache)
        .with_context(|| format!("cannot build the base image of Debian {suite}"))?;
    fs::rename(&partial, &image).with_context(|| format!("cannot create `{}`", image.display()))?;
    Ok(image)
}

/// Removes a directory and everything in it, if it exists.
pub(super) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", directory.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Returns a short hash of a recipe.
pub(super) fn recipe_hash(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        // Each part is preceded by its length, so that different lists of parts never result in the same bytes.
        bytes.extend(part.len().to_le_bytes());
        bytes.extend(part.bytes());
    }
    Sha256::digest(bytes)[..6].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn build(programs: &Programs, root: &Path, suite: &str, sources: &str, settings: &str, cache: &Path) -> Result<()> {
    let mut debootstrap = programs
        .command("mmdebstrap")
        .args(["--mode=root", "--variant=minbase", "--quiet"])
        .arg(format!("--include={PACKAGES}"))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg(suite)
        .arg(root);
    if !sources.is_empty() {
        let file = cache.join("debian.sources");
        fs::write(&file, sources).with_context(|| format!("cannot write `{}`", file.display()))?;
        debootstrap = debootstrap.arg(file);
    }
    debootstrap.run()?;
    let write = |path: &str, text: &str, mode: u32| -> Result<()> {
        let path = root.join(path);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write `{}`", path.display()))
    };
    if !settings.is_empty() {
        write("etc/apt/apt.conf.d/99controller", settings, 0o644)?;
    }
    write("etc/hostname", "node\n", 0o644)?;
    write(&format!("etc/sudoers.d/{ACCOUNT}"), &format!("{ACCOUNT} ALL=(ALL) NOPASSWD:ALL\n"), 0o440)?;
    let in_root = |program: &str| programs.command("chroot").arg(root).arg(program);
    in_root("useradd").args(["--create-home", "--shell", "/bin/bash", ACCOUNT]).run()?;
    in_root("install").args(["-d", "-m", "700", "-o", ACCOUNT, "-g", ACCOUNT, &format!("/home/{ACCOUNT}/.ssh")]).run()?;
    in_root("systemctl").arg("mask").args(MASKED).run()?;
    programs.command("rm").arg("-f").args(host_keys(root)?).run()
}

/// Returns the host keys that the installation of sshd created. They are removed, because every node gets its own.
fn host_keys(root: &Path) -> Result<Vec<PathBuf>> {
    let directory = root.join("etc/ssh");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read `{}`", directory.display()))?;
    let is_key = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_"));
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_recipes_have_different_hashes() {
        assert_eq!(recipe_hash(&["a", "b"]), recipe_hash(&["a", "b"]));
        assert_ne!(recipe_hash(&["a", "b"]), recipe_hash(&["ab", ""]));
        assert_eq!(recipe_hash(&["a"]).len(), 12);
    }

    #[test]
    fn the_image_lacks_what_roles_must_install() {
        for absent in ["python", "ufw", "gpg", "gnupg", "curl"] {
            assert!(!PACKAGES.contains(absent), "{absent}");
        }
    }
}
