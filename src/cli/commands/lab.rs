//! `lab`: throw-away nodes on this machine.

use std::{os::unix::process::CommandExt as _, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{
    lab_arguments::{Lab as Arguments, LabCommand, LabServe, LabSsh, LabUp, WhichLab},
    lab_nodes,
};
use crate::{
    app::lab_site::{Site, publish_redis},
    cli::{
        exit::Exit,
        out, project,
        runtime::{self, Interrupts},
        surroundings, vault,
    },
    inventory::Inventory,
    lab::{self, FileServer, Lab, NewNode, Power},
    script::quote,
    source::{Boundary, Diagnostics, FilesRead},
};

/// Runs a command of `lab`.
///
/// # Errors
/// Something is missing on this machine, or the lab's commands fail.
pub(in crate::cli) fn run(project_arg: Option<&Path>, arguments: &Arguments) -> Result<Exit> {
    let making = match &arguments.command {
        LabCommand::Up(up) => Some(&up.making),
        LabCommand::Down | LabCommand::Status | LabCommand::Ssh(_) | LabCommand::SshConfig | LabCommand::Serve(_) => None,
    };
    let lab = lab_nodes::named(&arguments.lab, making)?;
    match &arguments.command {
        LabCommand::Up(up_arguments) => {
            require_root()?;
            return up(project_arg, &lab, &arguments.lab, up_arguments);
        }
        LabCommand::Down => {
            require_root()?;
            let existed = lab.directory().exists();
            lab.down()?;
            if existed {
                out::line(&format!("removed lab `{}`", arguments.lab.id));
            } else {
                no_such_lab(&arguments.lab.id)?;
            }
        }
        LabCommand::Status => status(&lab, &arguments.lab.id)?,
        LabCommand::Ssh(ssh) => {
            require_root()?;
            return log_in(&lab, ssh);
        }
        LabCommand::SshConfig => out::line(&lab.ssh_config().display().to_string()),
        LabCommand::Serve(serve) => return self::serve(serve),
    }
    Ok(Exit::DONE)
}

/// Only root may make namespaces and mounts and read the lab's key.
///
/// # Errors
/// The user is not root; the error names the command to run.
pub(in crate::cli) fn require_root() -> Result<()> {
    if lab::is_root() {
        return Ok(());
    }
    let words = std::env::args().map(|word| quote(&word)).collect::<Result<Vec<_>, _>>();
    bail!("labs need root's rights: `sudo {}`", words.unwrap_or_default().join(" "))
}

fn up(project_arg: Option<&Path>, lab: &Lab, which: &WhichLab, arguments: &LabUp) -> Result<Exit> {
    let project = project::find(project_arg);
    let names = if arguments.names.is_empty() {
        let hosts = project.as_ref().map_err(|error| Diagnostics(vec![error.clone()])).and_then(|project| {
            let controller = surroundings::read();
            let keys = vault::keys(&arguments.inventory.vault, &controller, &Boundary::default())?;
            let inventory = Inventory::load_with(
                &project::inventories(project, &arguments.inventory.sources),
                project,
                &keys,
                &controller,
                &FilesRead::default(),
            )?;
            Ok(inventory.hosts.into_keys().collect())
        });
        match hosts {
            Ok(hosts) => hosts,
            Err(errors) => {
                out::diagnostics(&errors);
                return Ok(Exit::WRONG_FILES);
            }
        }
    } else {
        arguments.names.clone()
    };
    let wanted: Vec<NewNode> = names.into_iter().map(NewNode::bare).collect();
    // Names everything that is missing at once, and not one by one.
    lab.prepare(true, &lab_nodes::progress)?;
    lab.up(&wanted, &lab_nodes::progress)?;
    let server = lab_nodes::server()?;
    let stand_in = publish_redis(lab, &arguments.making.suite, FileServer::Detached(&server), &lab_nodes::progress)?;
    let site = Site::new(lab, &arguments.making.suite, Some(stand_in), None)?;
    status(lab, &which.id)?;
    let inventories = project.is_ok().then_some(arguments.inventory.sources.as_slice());
    out::line(&lab_nodes::look_around(lab, which, &site, inventories));
    Ok(Exit::DONE)
}

/// Prints that the lab does not exist, and which labs do.
fn no_such_lab(id: &str) -> Result<()> {
    out::line(&format!("there is no lab `{id}`"));
    for (other, dir) in lab::labs()? {
        out::line(&format!("  but `{other}` in {}", dir.display()));
    }
    Ok(())
}

fn status(lab: &Lab, id: &str) -> Result<()> {
    let status = lab.status()?;
    if status.nodes.is_empty() && status.clients.is_empty() {
        return no_such_lab(id);
    }
    let names = status.nodes.iter().map(|(node, _)| &node.name).chain(status.clients.iter().map(|client| &client.name));
    let width = names.map(String::len).max().unwrap_or_default();
    for (node, power) in &status.nodes {
        let power = match power {
            Power::On => "on",
            Power::Off => "off",
        };
        out::line(&format!("{:<width$}  {:<14}  {power}", node.name, node.address));
    }
    for client in &status.clients {
        out::line(&format!("{:<width$}  {:<14}  client", client.name, client.address));
    }
    if let Some(url) = status.url {
        out::line(&format!("stand-in for Redis's apt repository: {url}/deb, signed by {url}/gpg"));
    }
    Ok(())
}

/// Replaces this process with ssh.
fn log_in(lab: &Lab, arguments: &LabSsh) -> Result<Exit> {
    let error = lab.ssh(&arguments.name, &arguments.command)?.exec();
    Err(error).context("cannot start `ssh`")
}

fn serve(arguments: &LabServe) -> Result<Exit> {
    let serve = lab::serve(arguments.root.clone(), arguments.address);
    runtime::block_on(async |interrupts: &mut Interrupts| {
        tokio::select! {
            result = serve => result.map(|()| Exit::DONE),
            () = interrupts.next() => Ok(Exit::INTERRUPTED),
        }
    })?
}
