//! `redis`: looks into the Redis of the nodes that have one, and cleans up in it.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::redis_progress::Watched;
use crate::{
    app::nodes::Nodes,
    cli::{
        arguments::{ConnectionArgs, InventoryArgs, Output, OutputArgs, Selection, duration},
        exit::Exit,
        loading, out,
        project::GivenProject,
        reach, running,
        runtime::{self, Interrupts},
    },
    event::RunId,
    redis_ops::{self, Cleanup, CleanupTarget, Operation, OperationError, Page, RedisServer, Sampling, parse_age},
    source::{Diagnostic, Diagnostics},
    transport::{LinkError, Lock, LockRequest, Target, Transport},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Redis {
    #[command(subcommand)]
    command: RedisCommand,
}

#[derive(Debug, Subcommand)]
enum RedisCommand {
    /// The server as a whole: version, memory, persistence, modules, keys
    Info(Asked),
    /// What each database holds: keys by the schema's patterns, TTLs, memory, and keys that do not belong there
    Databases(Databases),
    /// What the memory is used for
    Memory(Asked),
    /// Who is connected
    Clients(Asked),
    /// Settings as they are now; passwords are not shown
    Config(Config),
    /// Commands that were slow, without their data
    Slowlog(Slowlog),
    /// Delete what is old: cached answers, or analytics
    Cleanup(CleanupArguments),
}

/// Which hosts, and how the answer is shown.
#[derive(Debug, Args)]
struct Asked {
    /// Host pattern, such as `database_vm` (default: every host with a role that brings Redis)
    #[arg(value_name = "HOSTS", conflicts_with = "limit")]
    hosts: Option<String>,

    #[command(flatten)]
    rest: Rest,
}

#[derive(Debug, Args)]
struct Rest {
    #[command(flatten)]
    inventory: InventoryArgs,

    /// Roles (default: those that the inventory gives each host in `autobot_roles`)
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    role: Vec<String>,

    /// Host pattern, as HOSTS
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,

    /// Variable: `name=value`, `{json}` or `@file.yml`; wins over every other
    #[arg(short, long, value_name = "VAR")]
    extra_vars: Vec<String>,

    /// End with exit code 2 when something is marked, or was or would be deleted
    #[arg(long)]
    detailed_exitcode: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    way: ConnectionArgs,
}

#[derive(Debug, Args)]
struct Databases {
    /// Keys of each database to look at, at most; 0: all
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    sample: u64,

    /// How long to look before the rest is left out
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    time_limit: Duration,

    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
struct Config {
    /// Only settings that fit, such as `maxmem*`
    #[arg(short, long = "match", value_name = "PATTERN")]
    matching: Option<String>,

    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
struct Slowlog {
    /// How many of the newest entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    count: u64,

    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
struct CleanupArguments {
    /// `cache`: cached answers that were not used for so long; `analytics`: metrics, usage, errors and counters whose date is so long ago
    #[arg(value_name = "WHAT")]
    what: What,

    /// How old, such as 30m, 12h, 7d or 4w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Duration,

    /// Delete nothing, say what would be deleted
    #[arg(short = 'C', long)]
    check: bool,

    /// How long to wait for a node that another run holds, such as `5m`
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    wait: Duration,

    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Cache,
    Analytics,
}

impl RedisCommand {
    fn parts(&self) -> (Operation, &Asked, Duration) {
        let (operation, asked) = match self {
            Self::Info(asked) => (Operation::Info, asked),
            Self::Memory(asked) => (Operation::Memory, asked),
            Self::Clients(asked) => (Operation::Clients, asked),
            Self::Databases(Databases { sample, time_limit, asked }) => {
                (Operation::Databases(Sampling { keys: *sample, limit: *time_limit }), asked)
            }
            Self::Config(Config { matching, asked }) => (Operation::Config(matching.clone()), asked),
            Self::Slowlog(Slowlog { count, asked }) => (Operation::Slowlog(*count), asked),
            Self::Cleanup(CleanupArguments { what, older_than, check, wait, asked }) => {
                let target = match what {
                    What::Cache => CleanupTarget::Cache,
                    What::Analytics => CleanupTarget::Analytics,
                };
                let cleanup = Cleanup { target, older_than: *older_than, check: *check };
                return (Operation::Cleanup(cleanup), asked, *wait);
            }
        };
        (operation, asked, Duration::ZERO)
    }
}

/// Asks every selected host that has a Redis, and shows the answers in the inventory's order.
///
/// # Errors
/// Only what is wrong with this machine, such as a runtime that does not start.
pub(in crate::cli) fn run(given: GivenProject<'_>, arguments: &Redis) -> anyhow::Result<Exit> {
    let (operation, asked, wait) = arguments.command.parts();
    let output = asked.rest.output.format;
    let (servers, nodes) = match servers(given, asked) {
        Ok(found) => found,
        Err(errors) => return Ok(loading::wrong(&errors, output)),
    };
    let mut answers = Answers { output, hosts: Vec::new(), exit: Exit::DONE, detailed: asked.rest.detailed_exitcode };
    let since = jiff::Timestamp::now();
    let lock = if operation.writes() {
        Lock::Take(LockRequest { who: running::who(), run_id: RunId::random(since)?.to_string(), since, wait })
    } else {
        Lock::Observe
    };
    let watched = Watched::new(nodes.targets.iter().map(|target| &target.name), operation.writes());
    let operation = Arc::new(operation);
    let finished = runtime::block_on(async |interrupts: &mut Interrupts| {
        let ask = |node: usize, transport: Arc<Transport>, target: Target| {
            let (server, progress) = (servers[node].clone(), watched.progress_of(&target.name));
            let (operation, lock) = (Arc::clone(&operation), lock.clone());
            async move { redis_ops::run(&transport, &target, lock, &server, &operation, &progress).await }
        };
        tokio::select! {
            answers = nodes.each(ask, |_| {}) => Some(answers),
            () = interrupts.next() => None,
            never = watched.show(output) => match never {},
        }
    })?;
    let Some(finished) = finished else {
        match output {
            Output::Text => out::error(&watched.interrupted()),
            Output::Json => {
                out::json(&format!(
                    "{:#}",
                    json!({ "version": env!("CARGO_PKG_VERSION"), "hosts": watched.interrupted_json(), "interrupted": true })
                ));
            }
        }
        return Ok(Exit::INTERRUPTED);
    };
    for (target, answer) in nodes.targets.iter().zip(finished) {
        // A panic was printed where it happened.
        let answer = answer.unwrap_or_else(|| {
            Err(OperationError::Redis("autobot-provision itself failed; this is a bug, please report it".into()))
        });
        answers.add(&target.name, answer);
    }
    Ok(answers.end())
}

/// The servers, and the nodes that they are on, in the same order.
fn servers(given: GivenProject<'_>, asked: &Asked) -> Result<(Vec<RedisServer>, Nodes), Diagnostics> {
    let Rest { inventory, role, limit, extra_vars, way, .. } = &asked.rest;
    let limit = asked.hosts.clone().or_else(|| limit.clone());
    let named = limit.is_some();
    let (inventory, role, extra_vars) = (inventory.clone(), role.clone(), extra_vars.clone());
    let selection = Selection { inventory, role, limit, tags: Vec::new(), skip_tags: Vec::new(), extra_vars };
    let (mut plan, request) = loading::load_with_request(given, &selection.reached(way))?;
    out::warnings(&plan.warnings);
    let mut servers = Vec::new();
    let mut without = Vec::new();
    let mut errors = Diagnostics::default();
    for host in &plan.hosts {
        match RedisServer::of(host) {
            Ok(Some(server)) => servers.push((host.name.clone(), server)),
            Ok(None) => without.push(host.name.clone()),
            Err(more) => errors.extend(more),
        }
    }
    if servers.is_empty() && errors.is_empty() {
        let none = Diagnostic::error(match without.as_slice() {
            [] => "no host has a role that brings Redis".to_owned(),
            [one] => format!("`{one}` has no role that brings Redis"),
            several => format!("none of {} has a role that brings Redis", several.join(", ")),
        });
        errors.push(none.help("give a host role `redis` with `autobot_roles`, or select another one"));
    }
    errors.into_result(())?;
    if named && !without.is_empty() {
        out::note(&format!("left out, because none of their roles brings Redis: {}", without.join(", ")));
    }
    plan.hosts.retain(|host| servers.iter().any(|(name, _)| *name == host.name));
    let mut reach = reach::of_inventory(&plan, way, &request)?;
    let (servers, targets) = servers.into_iter().filter_map(|(name, server)| Some((server, reach.remove(&name)?))).unzip();
    Ok((servers, Nodes { targets, forks: way.forks, controller: request.controller }))
}

/// The answers as they are shown, and what the process ends with.
struct Answers {
    output: Output,
    hosts: Vec<(String, Value)>,
    exit: Exit,
    detailed: bool,
}

impl Answers {
    fn add(&mut self, host: &str, answer: Result<Page, OperationError>) {
        match answer {
            Ok(page) => {
                if self.detailed && page.counts_as_change {
                    self.exit = self.exit.or(Exit::CHANGES);
                }
                if self.output == Output::Text {
                    let style = out::style();
                    let gap = if self.hosts.is_empty() { "" } else { "\n" };
                    out::line(&format!("{gap}{}", style.bold(host)));
                    page.lines(style).iter().for_each(|line| out::line(line));
                }
                let mut json = json!({ "status": "ok", "error": null });
                if let (Value::Object(all), Value::Object(own)) = (&mut json, page.json) {
                    all.extend(own);
                }
                self.hosts.push((host.to_owned(), json));
            }
            Err(error) => {
                let (status, exit, help) = match &error {
                    OperationError::Redis(_) => ("failed", Exit::FAILED, None),
                    OperationError::Link(link @ LinkError::Held { .. }) => ("held", Exit::HELD, link.remedy()),
                    OperationError::Link(link) => ("unreachable", Exit::UNREACHABLE, link.remedy()),
                };
                self.exit = self.exit.or(exit);
                if self.output == Output::Text {
                    out::error(&format!("{host}: {error}"));
                    if let Some(help) = &help {
                        out::note(&format!("  {help}"));
                    }
                }
                self.hosts.push((host.to_owned(), json!({ "status": status, "error": error.to_string(), "help": help })));
            }
        }
    }

    fn end(self) -> Exit {
        if self.output == Output::Json {
            let hosts: Map<String, Value> = self.hosts.into_iter().collect();
            out::json(&format!("{:#}", json!({ "version": env!("CARGO_PKG_VERSION"), "hosts": hosts })));
        }
        self.exit
    }
}
