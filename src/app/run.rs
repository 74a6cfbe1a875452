//! Checks, deploys, and looks at the health of nodes. Prints nothing: events go to a sink, and the end is returned.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rand::rngs::SysError;

use super::project_state;
use crate::{
    controller::Controller,
    engine::{self, Options, Reach, StopSignal},
    event::{Event, EventBody, Purpose, Reader, Refusal, RunEnd, RunId, RunStart, SelectionWords, Sink},
    inventory::InventorySource,
    plan::{self, Plan, Request},
    secret::ProvidedValues,
    source::{Diagnostic, Diagnostics, Trust},
};

/// How a run is carried out.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The purpose.
    pub purpose: Purpose,
    /// The number of hosts worked on at once.
    pub forks: usize,
    /// How long to wait for a node that another run holds.
    pub wait: Duration,
    /// `user@controller`, for the nodes' locks.
    pub who: String,
    /// The way in which it was started, such as `cli`.
    pub via: String,
    /// Whether the exit code reports changes.
    pub detailed_exitcode: bool,
    /// The controller's clock.
    pub clock: fn() -> Timestamp,
}

/// Loads what the request selects, for a run with this purpose. In the returned request, programs do not get the variables of the environment that
/// hold secrets.
///
/// # Errors
/// What is wrong in the project's files, nothing is left to do, or a stranger's project must not be used so.
pub fn load(mut request: Request, purpose: Purpose) -> Result<(Plan, Request), Diagnostics> {
    let strangers = (request.trust == Trust::Stranger).then(|| strangers_use(purpose, request.has_strangers_inventory()));
    if let Some(Err(refused)) = strangers {
        return Err(Diagnostics(vec![refused]));
    }
    request.only_health = matches!(purpose, Purpose::Health { .. });
    request.takes_locks = matches!(purpose, Purpose::Deploy { apply: true });
    let plan = plan::load(&request)?;
    require_something_left(&plan, purpose)?;
    let withheld = plan.variables_with_secrets();
    if !withheld.is_empty() {
        request.controller = Arc::new(Controller { withheld, ..Controller::clone(&request.controller) });
    }
    Ok((plan, request))
}

/// Refuses everything with a stranger's project but a check of hosts that the operator names.
///
/// # Errors
/// Why it is refused.
pub fn strangers_use(purpose: Purpose, has_strangers_inventory: bool) -> Result<(), Diagnostic> {
    if purpose != Purpose::CHECK {
        let title = "a project that is not trusted is only checked: its roles would run as root on the nodes";
        return Err(Diagnostic::error(title).help("add `--check`; or read the project, and leave `--untrusted` out"));
    }
    if has_strangers_inventory {
        let title = "a check of a project that is not trusted needs an inventory from elsewhere: its own could say where and how to connect";
        return Err(Diagnostic::error(title)
            .help("name an inventory of your own with `-i`, outside of the project and of the git work tree that it is in"));
    }
    Ok(())
}

/// Refuses a selection that leaves nothing, as it is a mistake: a monitor would take "0 ok" for healthy.
fn require_something_left(plan: &Plan, purpose: Purpose) -> Result<(), Diagnostics> {
    let mut roles = plan.hosts.iter().flat_map(|host| &host.roles);
    let (is_left, what) = match purpose {
        Purpose::Deploy { .. } => (roles.any(|role| !role.steps.is_empty()), "task"),
        Purpose::Health { .. } => (roles.any(|role| !role.health.is_empty()), "health check"),
    };
    let nothing = Diagnostic::error(format!("no {what} is left of the selected roles")).help("see --tags and --skip-tags");
    if is_left { Ok(()) } else { Err(Diagnostics(vec![nothing])) }
}

/// A run that is ready to start.
#[derive(Debug)]
pub struct PreparedRun {
    run: engine::Run,
    sink: Sink,
}

impl PreparedRun {
    /// Prepares a run, and looks which state of the project it is about. Nothing is contacted yet. `values` are the secrets from outside that
    /// [`super::external::fetch`] returns.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub async fn new(
        plan: Plan,
        values: ProvidedValues,
        reach: Reach,
        request: &Request,
        how: RunOptions,
    ) -> Result<Self, SysError> {
        let started = (how.clock)();
        let id = RunId::random(started)?;
        let options = Options {
            purpose: how.purpose,
            run_id: id.to_string(),
            who: how.who.clone(),
            started,
            forks: how.forks,
            wait: how.wait,
            detailed_exitcode: how.detailed_exitcode,
            controller: Arc::clone(&request.controller),
        };
        let start = RunStart {
            purpose: how.purpose,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            user: how.who,
            via: how.via,
            hosts: plan.hosts.iter().map(|host| host.name.clone()).collect(),
            roles: roles(&plan),
            selection: selection(&plan, request),
            project: project_state::of(&plan, request).await,
            plan: None,
        };
        let run = engine::Run { start, plan, values, reach, options };
        Ok(Self { run, sink: Sink::new(id, how.clock) })
    }

    /// Adds a reader of the run's events. Of lines of output and progress, it keeps at most the last `ring`.
    #[must_use]
    pub fn reader(&self, ring: usize) -> Reader {
        self.sink.reader(ring)
    }

    /// Returns the id of the run.
    #[must_use]
    pub fn id(&self) -> &RunId {
        self.sink.run()
    }

    /// Carries it out, and returns how it ended. `stop` ends it early; dropping the future ends it at once, without a last event.
    pub async fn execute(self, stop: StopSignal) -> RunEnd {
        engine::run(self.run, self.sink, stop).await
    }
}

/// Returns the only event of a run that does not begin, so that its readers see an end.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn refused(refusal: Refusal, clock: fn() -> Timestamp) -> Result<Event, SysError> {
    let at = clock();
    Ok(Event { seq: 1, at, run: RunId::random(at)?, body: EventBody::RunRefused(Box::new(refusal)) })
}

/// Returns the roles of the plan, in order, each once.
fn roles(plan: &Plan) -> Vec<String> {
    let names = plan.hosts.iter().flat_map(|host| &host.roles).map(|role| role.name.clone());
    names.collect::<indexmap::IndexSet<_>>().into_iter().collect()
}

fn selection(plan: &Plan, request: &Request) -> SelectionWords {
    SelectionWords {
        inventory: request.inventories.iter().map(InventorySource::describe).collect(),
        limit: request.limit.clone(),
        role: request.roles.clone(),
        tags: request.tags.clone(),
        skip_tags: request.skip_tags.clone(),
        variables: plan.variables_set(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Exit, source::digest_of};

    #[tokio::test]
    async fn a_run_starts_with_the_state_of_its_project() {
        let project = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("roles/toy/role.yml", "tasks:\n  - {name: Write, copy: {content: x, dest: /etc/x}}\n"),
            ("inventory/hosts.yml", "all: {hosts: {db: {autobot_roles: [toy]}}}\n"),
            // As git leaves it, so that git itself need not be there.
            (".git/HEAD", "0123456789abcdef0123456789abcdef01234567\n"),
        ] {
            let path = project.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let inventories = vec![InventorySource::Path(project.path().join("inventory"))];
        let request = Request { project: project.path().to_owned(), inventories, ..Request::default() };
        let plan = plan::load(&request).unwrap_or_else(|errors| panic!("{errors}"));
        let digest = digest_of(&plan.files);
        let how = RunOptions {
            purpose: Purpose::CHECK,
            forks: 1,
            wait: Duration::ZERO,
            who: "ops@ctl".to_owned(),
            via: "test".to_owned(),
            detailed_exitcode: false,
            clock: || Timestamp::UNIX_EPOCH,
        };
        let run = PreparedRun::new(plan, ProvidedValues::default(), Reach::new(), &request, how).await.unwrap();
        let state = run.run.start.project;
        assert_eq!((state.digest, state.dirty), (Some(digest), None), "git finds no repository that it could compare with");
        assert_eq!(state.commit.as_deref(), Some("0123456789abcdef0123456789abcdef01234567"));
    }

    #[test]
    fn a_strangers_project_is_loaded_for_a_check_of_the_operators_hosts_only() {
        let project = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("roles/toy/role.yml", "tasks:\n  - {name: Write, copy: {content: x, dest: /etc/x}}\n"),
            ("inventory/hosts.yml", "all: {hosts: {db: {autobot_roles: [toy]}}}\n"),
        ] {
            let path = project.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let load = |inventory: InventorySource, trust: Trust, purpose: Purpose| {
            let (project, roles) = (project.path().to_owned(), vec!["toy".to_owned()]);
            let limit = Some("db".to_owned());
            load(Request { project, roles, limit, inventories: vec![inventory], trust, ..Request::default() }, purpose)
        };
        let theirs = || InventorySource::Path(project.path().join("inventory"));
        let ours = || InventorySource::Hosts("db,".to_owned());
        for purpose in [Purpose::APPLY, Purpose::CHECK] {
            assert!(load(theirs(), Trust::Own, purpose).is_ok());
        }
        for purpose in [Purpose::APPLY, Purpose::HEALTH, Purpose::EXERCISE] {
            let errors = load(ours(), Trust::Stranger, purpose).unwrap_err();
            assert!(errors.0[0].title.contains("is only checked"), "{errors:?}");
        }
        let errors = load(theirs(), Trust::Stranger, Purpose::CHECK).unwrap_err();
        assert!(errors.0[0].title.contains("needs an inventory from elsewhere"), "{errors:?}");
        let (plan, _) = load(ours(), Trust::Stranger, Purpose::CHECK).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(plan.hosts.iter().all(|host| host.trust == Trust::Stranger));
    }

    #[test]
    fn a_run_that_does_not_begin_has_one_event_which_is_its_last() {
        let event = refused(Refusal::interrupted(), || Timestamp::UNIX_EPOCH).unwrap();
        assert!(event.is_last() && event.seq == 1);
        assert!(event.run.as_str().starts_with("19700101T000000Z-"), "{}", event.run);
        let EventBody::RunRefused(refusal) = event.body else { panic!("{event:?}") };
        assert_eq!((refusal.exit(), refusal.errors()), (Exit::INTERRUPTED, [].as_slice()));
    }
}
