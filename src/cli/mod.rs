//! The command line: the commands, and the exit code of each outcome. Only this module and reporters print.

mod arguments;
mod asking;
mod commands;
mod exit;
mod limits;
mod loading;
mod muscle_memory;
mod out;
mod project;
mod reach;
mod running;
mod runtime;
mod sudo;
mod surroundings;
mod terminal;
mod vault;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

use arguments::{Arguments, Command};
use commands::{deploy, doc, explain, health, inventory, lab, ping, redis, rehearse, run_jobs, schema, status, validate};
use exit::Exit;
use muscle_memory::Answer;
use project::GivenProject;

use crate::{engine::JobAction, source::Trust, template};

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == template::RENDER) {
        // Another process of this program has started this one, and hears by its end what is wrong.
        let served = template::serve(std::io::stdin().lock(), std::io::stdout().lock());
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let arguments = match parse(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    log(arguments.verbose);
    limits::raise_files();
    let exit = match run(arguments) {
        Ok(exit) => exit,
        Err(error) => {
            out::error(&format!("{error:#}"));
            Exit::FAILED
        }
    };
    exit.into()
}

fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let verbose = arguments.verbose;
    let project = arguments.project;
    let given =
        GivenProject { directory: project.as_deref(), trust: if arguments.untrusted { Trust::Stranger } else { Trust::Own } };
    if arguments.untrusted && !arguments.command.may_be_untrusted() {
        out::error(UNTRUSTED);
        return Ok(Exit::USAGE);
    }
    match arguments.command {
        Command::Deploy(deploy) => deploy::run(given, &deploy, verbose),
        Command::Doc(doc) => Ok(doc::run(given, &doc)),
        Command::Schema(schema) => Ok(schema::run(&schema)),
        Command::Explain(explain) => Ok(explain::run(given, &explain)),
        Command::Health(health) => health::run(given, &health, verbose),
        Command::Inventory(inventory) => Ok(inventory::run(given, &inventory)),
        Command::Ping(ping) => ping::run(project.as_deref(), &ping),
        Command::Status(asked) => status::run(project.as_deref(), &asked),
        Command::Attach(asked) => run_jobs::run(project.as_deref(), &asked, JobAction::Follow),
        Command::Cancel(asked) => run_jobs::run(project.as_deref(), &asked, JobAction::Cancel),
        Command::Redis(redis) => redis::run(given, &redis),
        Command::Rehearse(rehearse) => rehearse::run(given, &rehearse, verbose),
        Command::Lab(lab) => lab::run(project.as_deref(), &lab),
        Command::Validate(validate) => Ok(validate::run(given, &validate.selection, validate.output.format)),
    }
}

/// Why other commands refuse `--untrusted`.
const UNTRUSTED: &str = "`--untrusted` is for `validate`, `inventory`, `explain`, `doc`, `schema`, `deploy --check` and `deploy --list-…`: every other                          command does on hosts or on this machine what the project says";

/// Reads a command line. One in another tool's words is read as it was meant, or answered with what to type.
fn parse(mut words: Vec<OsString>) -> Result<Arguments, ExitCode> {
    loop {
        let error = match Arguments::try_parse_from(&words) {
            Ok(arguments) => return Ok(arguments),
            Err(error) => error,
        };
        match muscle_memory::answer(&error, &words) {
            Some(Answer::Means(meant)) => words = meant,
            Some(Answer::Type(text)) => {
                out::error(&text);
                return Err(Exit::USAGE.into());
            }
            None => return Err(usage(&error)),
        }
    }
}

/// clap would exit with 2, which means "changes" here.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Exit::USAGE.into() } else { ExitCode::SUCCESS }
}

/// For developers, to standard error: `-vvv`, or `AUTOBOT_PROVISION_LOG` in the form of tracing's `EnvFilter`.
fn log(verbose: u8) {
    let level = match verbose {
        0..=1 => "off",
        2 => "autobot_provision=info",
        _ => "autobot_provision=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("AUTOBOT_PROVISION_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let colour = out::colour(&std::io::stderr()) == crate::report::Colour::Yes;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).without_time().init();
}
