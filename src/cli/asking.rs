//! Asks something of the hosts that a command names: which they are, and a line that shows which of them have not answered yet.

use std::{
    cell::RefCell,
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Instant,
};

use super::{
    arguments::HostArgs,
    out, project, reach,
    running::TICK,
    runtime::{self, Interrupts},
    surroundings, vault,
};
use crate::{
    app::nodes::Nodes,
    plan::{self, Request},
    report::format_duration,
    source::{Boundary, Diagnostic, Diagnostics},
};

/// Finds the hosts that are asked for, and how they are reached.
pub(super) fn nodes(given: Option<&Path>, command: &str, arguments: &HostArgs) -> Result<Nodes, Diagnostics> {
    let selection = arguments.selection();
    let project = project::find_for(given, &selection.inventory.sources).map_err(|error| Diagnostics(vec![error]))?;
    let controller = surroundings::read();
    let request = Request {
        inventories: project::inventories(&project, &selection.inventory.sources),
        project,
        limit: selection.limit,
        extra_vars: selection.extra_vars,
        vault: vault::keys(&selection.inventory.vault, &controller, &Boundary::default())?,
        controller,
        ..Request::default()
    };
    let contacts = plan::contacts(&request).map_err(|errors| explained(errors, command, arguments.names_hosts()))?;
    out::warnings(&contacts.warnings);
    let mut reach = reach::of_hosts(contacts.hosts.iter().map(|host| (&host.name, &host.connection)), &arguments.way, &request)?;
    let targets = contacts.hosts.iter().filter_map(|host| reach.remove(&host.name)).collect();
    Ok(Nodes { targets, forks: arguments.way.forks, controller: request.controller })
}

/// Says how to find hosts. HOSTS is no option, so an error in it has no place to show.
fn explained(mut errors: Diagnostics, command: &str, is_operand: bool) -> Diagnostics {
    let of_limit = |error: &&mut Diagnostic| error.span.as_ref().is_some_and(|span| span.file.shown == "--limit");
    for error in errors.0.iter_mut().filter(of_limit) {
        if error.help.is_none() {
            let is_here = error.span.as_ref().is_some_and(|span| matches!(span.text(), "localhost" | "127.0.0.1"));
            let help = if is_here {
                format!("this machine is a host like any other: `{command} -i localhost, -c local`")
            } else {
                format!("`inventory list` shows the hosts; `{command} -i HOST,` takes one that is in no inventory")
            };
            error.help = Some(help.into());
        }
        if is_operand {
            error.span = None;
        }
    }
    errors
}

/// Asks all nodes while a line shows which have not answered. `ask` gets what it has to call with the index of each that has. `None`: it was interrupted.
///
/// # Errors
/// The asynchronous runtime does not start.
pub(super) fn ask_all<T>(
    command: &'static str,
    nodes: &Nodes,
    ask: impl AsyncFnOnce(&mut dyn FnMut(usize)) -> Vec<T>,
) -> anyhow::Result<Option<Vec<T>>> {
    let names = nodes.targets.iter().map(|target| target.name.clone()).collect();
    let waiting = RefCell::new(Waiting::begin(command, names));
    runtime::block_on(async |interrupts: &mut Interrupts| {
        let mut answered = |index: usize| waiting.borrow_mut().answered(&nodes.targets[index].name);
        let redrawn = async {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                waiting.borrow().draw();
            }
        };
        tokio::select! {
            answers = ask(&mut answered) => Some(answers),
            () = interrupts.next() => None,
            never = redrawn => never,
        }
    })
}

/// A line on standard error that is redrawn, and erased in the end. There is none if either stream is no terminal.
struct Waiting {
    command: &'static str,
    names: Vec<String>,
    since: Instant,
    is_shown: bool,
}

impl Waiting {
    /// Shows that these hosts are waited for.
    fn begin(command: &'static str, names: Vec<String>) -> Self {
        let is_shown = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let waiting = Self { command, names, since: Instant::now(), is_shown };
        waiting.draw();
        waiting
    }

    /// Takes a host out that has answered.
    fn answered(&mut self, name: &str) {
        self.names.retain(|waiting| waiting != name);
        self.draw();
    }

    /// Draws the line again.
    fn draw(&self) {
        self.print(&self.text());
    }

    fn text(&self) -> String {
        let Some(first) = self.names.first() else { return String::new() };
        let others = if self.names.len() > 1 { format!(" (+{} more)", self.names.len() - 1) } else { String::new() };
        format!("{first}: {}{others} {}", self.command, format_duration(self.since.elapsed()))
    }

    fn print(&self, text: &str) {
        if self.is_shown {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r\x1b[K{}", out::style().fit(text, 1));
            let _ = stderr.flush();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.print("");
    }
}
