//! A control group for each container where no systemd of this machine hands them out.
//!
//! Containers that shared one would each be a systemd that tidies up the others' groups: units fail with `219/CGROUP`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Whether this machine's own systemd gives every container a scope.
pub(super) fn handed_out_by_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Makes a container's groups, fresh; returns the files that a process joins them by.
pub(super) fn make(lab: &str, number: u8) -> Result<Vec<PathBuf>> {
    let mut joints = Vec::new();
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name(lab)).join(number.to_string());
        remove_tree(&group);
        fs::create_dir_all(&group).with_context(|| format!("cannot create `{}`", group.display()))?;
        joints.push(group.join("cgroup.procs"));
    }
    Ok(joints)
}

/// Removes a lab's groups. Their processes have ended; `false` while the kernel still counts one.
pub(super) fn remove(lab: &str) -> bool {
    let groups = hierarchies().into_iter().map(|hierarchy| hierarchy.join(name(lab)));
    groups.fold(true, |gone, group| {
        remove_tree(&group);
        gone && !group.exists()
    })
}

fn name(lab: &str) -> String {
    format!("autobot-lab.{lab}")
}

/// Where the hierarchies are mounted that systemd keeps its units in: version 2, and in the hybrid setup its own of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, place, kind, options, ..] = fields.as_slice() else { return None };
        let systemds = *kind == "cgroup2" || (*kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"));
        systemds.then(|| PathBuf::from(place))
    };
    mounts.lines().filter_map(of).collect()
}

/// Only directories can be removed there, from the innermost outwards, and only once they are empty.
fn remove_tree(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // One that is still busy is seen by whoever looks whether it exists.
    drop(fs::remove_dir(group));
}
