//! `validate`: checks everything that can be checked without a connection to a node.

use clap::Args;
use serde_json::json;

use crate::cli::{
    arguments::{Output, OutputArgs, Selection},
    exit::Exit,
    loading::{load, wrong},
    out,
    project::GivenProject,
};

/// The arguments of `validate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Validate {
    #[command(flatten)]
    pub(in crate::cli) selection: Selection,

    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Loads everything for every host.
pub(in crate::cli) fn run(given: GivenProject<'_>, selection: &Selection, output: Output) -> Exit {
    match load(given, selection) {
        Err(errors) => wrong(&errors, output),
        Ok(plan) => {
            out::warnings(&plan.warnings);
            let tasks: usize = plan.hosts.iter().flat_map(|host| &host.roles).map(|role| role.steps.len()).sum();
            match output {
                Output::Json => out::json(&format!("{:#}", json!({ "errors": [] }))),
                Output::Text => {
                    out::line(&format!("{}, {} checked: no errors", count(plan.hosts.len(), "host"), count(tasks, "task")));
                }
            }
            Exit::DONE
        }
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
