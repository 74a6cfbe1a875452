//! The base image that all labs share: Debian with systemd and sshd, built once per recipe.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::{Progress, command::run, debian_sources, state::Lock};

/// What a server has before any role ran. No Python, ufw, gpg or curl: roles bring what they need.
const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,iptables,ca-certificates,procps,netbase";

/// The account that operators log in with; it may become root without a password.
pub(super) const ACCOUNT: &str = "autobot";

/// Units that would change a node behind a test's back, or that wait for hardware a container lacks.
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

/// Changes whenever the code below makes another image out of the same constants.
const RECIPE: &str = "1";

/// Returns the base image of `suite`, building it first where the cache lacks it.
///
/// # Errors
/// mmdebstrap fails, or the cache cannot be written.
pub(super) fn base(cache: &Path, suite: &str, progress: Progress<'_>) -> Result<PathBuf> {
    let sources = debian_sources::of_this_machine(suite);
    let settings = debian_sources::settings_of_this_machine();
    let image = cache.join(format!("base-{suite}-{}", recipe_hash(&[RECIPE, PACKAGES, &MASKED.concat(), &sources, &settings])));
    if image.is_dir() {
        return Ok(image);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create `{}`", cache.display()))?;
    let _lock = Lock::wait(&cache.join("lock"))?;
    if image.is_dir() {
        return Ok(image);
    }
    progress(&format!("building the base image of Debian {suite} (once, about half a minute)"));
    // Built beside its place and renamed when whole, so that a killed build never looks like an image.
    let partial = cache.join("base.partial");
    remove(&partial)?;
    build(&partial, suite, &sources, &settings, cache)
        .with_context(|| format!("cannot build the base image of Debian {suite}"))?;
    fs::rename(&partial, &image).with_context(|| format!("cannot create `{}`", image.display()))?;
    Ok(image)
}

/// Removes a directory and everything in it, if it is there.
pub(super) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", directory.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A short name for a recipe: its hash.
pub(super) fn recipe_hash(parts: &[&str]) -> String {
    let mut lengthy = Vec::new();
    for part in parts {
        // With its length, so that no two lists of parts are the same bytes.
        lengthy.extend(part.len().to_le_bytes());
        lengthy.extend(part.bytes());
    }
    Sha256::digest(lengthy)[..6].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn build(root: &Path, suite: &str, sources: &str, settings: &str, cache: &Path) -> Result<()> {
    let mut debootstrap = run("mmdebstrap")
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
    debootstrap.done()?;
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
    let in_root = |program: &str| run("chroot").arg(root).arg(program);
    in_root("useradd").args(["--create-home", "--shell", "/bin/bash", ACCOUNT]).done()?;
    in_root("install").args(["-d", "-m", "700", "-o", ACCOUNT, "-g", ACCOUNT, &format!("/home/{ACCOUNT}/.ssh")]).done()?;
    in_root("systemctl").arg("mask").args(MASKED).done()?;
    run("rm").arg("-f").args(host_keys(root)?).done()
}

/// The host keys that installing sshd made: every node gets its own instead.
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
    fn another_recipe_is_another_image() {
        assert_eq!(recipe_hash(&["a", "b"]), recipe_hash(&["a", "b"]));
        assert_ne!(recipe_hash(&["a", "b"]), recipe_hash(&["ab", ""]));
        assert_eq!(recipe_hash(&["a"]).len(), 12);
    }

    #[test]
    fn the_image_has_nothing_that_roles_must_bring() {
        for absent in ["python", "ufw", "gpg", "gnupg", "curl"] {
            assert!(!PACKAGES.contains(absent), "{absent}");
        }
    }
}
