//! Control groups for the containers, if this machine has no systemd that assigns them.
//!
//! If containers shared one, the systemd in each would remove the groups of the others, and units would fail with `219/CGROUP`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Whether this machine's own systemd creates a scope for every container.
pub(super) fn assigned_by_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Creates empty groups for a container; returns the `cgroup.procs` files through which a process joins them.
pub(super) fn make(lab: &str, number: u8) -> Result<Vec<PathBuf>> {
    let mut procs_files = Vec::new();
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name(lab)).join(number.to_string());
        remove_tree(&group);
        fs::create_dir_all(&group).with_context(|| format!("cannot create `{}`", group.display()))?;
        procs_files.push(group.join("cgroup.procs"));
    }
    Ok(procs_files)
}

/// Removes a lab's groups after their processes have ended. Returns `false` while the kernel still counts a process in one.
pub(super) fn remove(lab: &str) -> bool {
    remove_below(|hierarchy| hierarchy.join(name(lab)))
}

/// As [`remove`], for the groups of one container.
pub(super) fn remove_member(lab: &str, number: u8) -> bool {
    remove_below(|hierarchy| hierarchy.join(name(lab)).join(number.to_string()))
}

fn remove_below(group_in: impl Fn(&Path) -> PathBuf) -> bool {
    hierarchies().iter().map(|hierarchy| group_in(hierarchy)).fold(true, |removed, group| {
        remove_tree(&group);
        removed && !group.exists()
    })
}

fn name(lab: &str) -> String {
    format!("autobot-lab.{lab}")
}

/// Returns the mount points of the hierarchies in which systemd keeps its units: version 2 and, in the hybrid setup, its own of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount_point = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, path, kind, options, ..] = fields.as_slice() else { return None };
        let used_by_systemd =
            *kind == "cgroup2" || (*kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"));
        used_by_systemd.then(|| PathBuf::from(path))
    };
    mounts.lines().filter_map(mount_point).collect()
}

/// Removes a group and the groups in it. Only empty directories can be removed in a control group hierarchy, so the innermost go first.
fn remove_tree(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // If the group is still busy, the caller sees that it still exists.
    drop(fs::remove_dir(group));
}
