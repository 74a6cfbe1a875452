//! Labs as the command line names and shows them.

use anyhow::{Context as _, Result};

use super::lab_arguments::{Making, WhichLab};
use crate::{
    app::lab_site::{GROUP, Site},
    cli::{out, surroundings},
    lab::{Lab, LabOptions, OnMissing},
};

/// This program, as users call it.
pub(in crate::cli) const PROGRAM: &str = "autobot-provision";

/// The lab that the arguments name. Changes nothing.
///
/// # Errors
/// The id or the directory cannot be used for one.
pub(in crate::cli) fn named(which: &WhichLab, making: Option<&Making>) -> Result<Lab> {
    let controller = surroundings::read();
    let mut options = LabOptions { id: which.id.clone(), dir: which.dir.clone(), controller, ..LabOptions::default() };
    if let Some(making) = making {
        options.suite.clone_from(&making.suite);
        options.missing = if making.yes { OnMissing::Install } else { OnMissing::Report };
    }
    Lab::new(options)
}

/// Prints the current step on standard error.
pub(in crate::cli) fn progress(text: &str) {
    out::note(text);
}

/// The program and arguments that serve a lab's files in a process of their own.
///
/// # Errors
/// The operating system does not say where this program is.
pub(in crate::cli) fn server() -> Result<[String; 3]> {
    let program = std::env::current_exe().context("cannot determine the path of this program")?;
    Ok([program.to_string_lossy().into_owned(), "lab".to_owned(), "serve".to_owned()])
}

/// Prints how to use a lab, and how to remove it. `inventories` are the values of `-i`; `None` if there is no project.
pub(in crate::cli) fn look_around(lab: &Lab, which: &WhichLab, site: &Site, inventories: Option<&[String]>) -> String {
    let config = lab.ssh_config();
    let mut lines = vec![String::new(), "log in to the nodes, deploy to them, check their health, remove them:".to_owned()];
    lines.extend(site.nodes.iter().map(|node| format!("  ssh -F {} {}", config.display(), node.name)));
    if let Some(given) = inventories {
        let own = if given.is_empty() { "inventory".to_owned() } else { given.join(" -i ") };
        for command in ["deploy", "health"] {
            lines.push(format!("  {PROGRAM} {command} -i {own} -i {} --limit {GROUP}", site.inventory.display()));
        }
    }
    lines.push(format!("  {PROGRAM} lab down{}", options(which)));
    lines.join("\n")
}

/// The options that name a lab, as far as they differ from the defaults; each with a space before it.
pub(in crate::cli) fn options(which: &WhichLab) -> String {
    let usual = LabOptions::default();
    let id = if which.id == usual.id { String::new() } else { format!(" --lab {}", which.id) };
    let dir = if which.dir == usual.dir { String::new() } else { format!(" --lab-dir {}", which.dir.display()) };
    id + &dir
}
