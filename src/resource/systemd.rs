//! `systemd`: whether a unit is started, enabled, masked.

use std::any::Any;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Change, Contradiction, Diff, Files, Flag, Kind, Missing, NodeState, ParamError, Reach, Resource, Verdict,
    content::FileContent,
    decode,
    lock_out::service::{self, Ending},
    schema::{parameters, words},
    unit_functions,
};
use crate::question::{
    Questions, Unanswered,
    replaced::Replaced,
    unit::{Unit, full_name},
    unit_files::{DIRECTORIES, UnitFiles, template_of, wanted_by_text},
    unit_state::{ActiveState, LoadState, UnitFileState},
};

pub(super) const KIND: Kind = Kind {
    name: "systemd",
    about: "Says whether a unit of systemd runs and starts at boot",
    example: "systemd: {name: postgresql.service, state: started, enabled: true}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The unit.
        name | service | unit: String,
        /// `started` (still up two seconds later) or `stopped`. systemd reads changed files first; a service that is up gets them by a
        /// handler that restarts it.
        state: Option<State>,
        /// Whether it starts at boot, with the links that `[Install]` wants now.
        enabled: Option<Flag>,
        /// Whether nothing can start it.
        masked: Option<Flag>,
        /// Whether it is restarted if one of its processes runs a program that was replaced since, as by a package that was installed by hand.
        restart_if_replaced: Flag = false,
        /// Changes nothing: before a unit is used, systemd reads its changed files in any case.
        daemon_reload: Option<Flag>,
    }
}

words!(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Started,
    Stopped,
    Restarted,
    Reloaded,
}

#[derive(Debug)]
struct Systemd {
    unit: String,
    started: Option<bool>,
    enabled: Option<bool>,
    masked: Option<bool>,
    restart_if_replaced: bool,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let parameters: Parameters = decode(parameters)?;
    let started = match parameters.state {
        None => None,
        Some(State::Started) => Some(true),
        Some(State::Stopped) => Some(false),
        Some(State::Restarted | State::Reloaded) => {
            return Err(ParamError::parameter(
                "state",
                "a task says how things are: `started` or `stopped`; to restart or reload, notify a handler",
            ));
        }
    };
    let unit = full_name(&parameters.name).map_err(|message| ParamError::parameter("name", message))?;
    let (enabled, masked) = (parameters.enabled.map(|flag| flag.0), parameters.masked.map(|flag| flag.0));
    let restart_if_replaced = parameters.restart_if_replaced.0;
    if started.is_none() && enabled.is_none() && masked.is_none() && !restart_if_replaced {
        // Together with a state it is accepted, because systemd reads the changed files of a unit anyway before the unit is used.
        return Err(match parameters.daemon_reload {
            Some(_) => ParamError::parameter(
                "daemon_reload",
                "leave the task out: systemd reads the files of a unit that changed before a task or a handler uses it",
            ),
            None => ParamError::parameter("", "say at least one of `state`, `enabled`, `masked` and `restart_if_replaced`"),
        });
    }
    if masked == Some(true) && (started == Some(true) || enabled == Some(true)) {
        return Err(ParamError::parameter("masked", "a masked unit can be neither started nor enabled"));
    }
    if restart_if_replaced && (started == Some(false) || masked == Some(true)) {
        let message = "a unit that is stopped or masked is not restarted";
        return Err(ParamError::parameter("restart_if_replaced", message));
    }
    Ok(Box::new(Systemd { unit, started, enabled, masked, restart_if_replaced }))
}

impl Resource for Systemd {
    fn reach(&self) -> Reach<'_> {
        Reach::Unit(&self.unit)
    }

    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Unit>(self.unit.clone());
        ask.ask::<UnitFiles>(self.unit.clone());
        if self.restart_if_replaced {
            ask.ask::<Replaced>(self.unit.clone());
        }
        if service::may_be_ssh(&self.unit) {
            service::ask(ask, &self.unit);
        }
    }

    fn unit(&self) -> Option<&str> {
        Some(&self.unit)
    }

    fn contradicted(&self, node: &NodeState<'_>) -> Result<Option<Contradiction>, Unanswered> {
        let (unit, files) = (node.answers.get::<Unit>(&self.unit)?, node.answers.get::<UnitFiles>(&self.unit)?);
        let starts_at_boot = unit.file_state != UnitFileState::Static || unit.is_wanted || !files.wanted.is_empty();
        Ok((self.enabled == Some(true) && unit.exists() && !starts_at_boot).then(|| Contradiction {
            file: unit.file.clone(),
            setting: None,
            reason: format!(
                "`{}` cannot start at boot: its file has no section `[Install]` with `WantedBy`, and no other unit wants it; add that \
                 section, or leave out `enabled`",
                self.unit
            ),
        }))
    }

    /// systemd reads a file right after the task that changes it. Due are the links that its section `[Install]` wants then and that do not exist.
    fn due_after(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<Change> {
        let files = node.answers.get::<UnitFiles>(&self.unit).ok()?;
        let wants_more = |resource: &&&dyn Resource| {
            let content = (**resource as &dyn Any).downcast_ref::<FileContent>().and_then(|content| content.text(node));
            // What another kind of task makes of the file is not known.
            content.is_none_or(|text| wanted_by_text(&self.unit, &text).iter().any(|link| !files.has(link)))
        };
        let writes = |resource: &&&dyn Resource| resource.reach().path().is_some_and(|path| self.is_file_of_it(path.as_str()));
        let is_due = self.enabled == Some(true) && earlier.iter().filter(writes).any(|resource| wants_more(&resource));
        is_due.then(|| {
            let mut diff = Diff::none();
            diff.attribute("links", "of the old file", "of the file that an earlier task changes");
            let script = unit_functions::script(APPLY).arg(&self.unit).arg(READ_FILES);
            Change::new("as its new file says", script).diff(diff).replacing(true)
        })
    }

    fn refuse(&self, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Option<String> {
        let ending = Ending {
            stopped: self.started == Some(false),
            disabled: self.enabled == Some(false),
            masked: self.masked == Some(true),
        };
        let comes = |unit: &str| {
            let earlier = earlier.iter().filter_map(|resource| (*resource as &dyn Any).downcast_ref::<Self>());
            earlier
                .filter(|earlier| earlier.unit == unit)
                .any(|earlier| earlier.started == Some(true) && earlier.enabled == Some(true))
        };
        match service::refuses(node, &self.unit, ending, comes) {
            Ok(reason) => reason,
            Err(unanswered) => Some(format!("cannot determine whether this run comes in through `{}`: {unanswered}", self.unit)),
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let unit = node.answers.get::<Unit>(&self.unit)?;
        let name = &self.unit;
        let masked = unit.load == LoadState::Masked || unit.file_state.is_masked();
        // What a stopped unit has left running is no reason to start it.
        let is_down = matches!(unit.active, ActiveState::Inactive | ActiveState::Failed);
        let replaced = self.replaced_program(node)?.filter(|_| self.started == Some(true) || !is_down);
        let is_used = self.started == Some(true) || self.enabled == Some(true) || replaced.is_some();
        if masked && self.masked.is_none() && is_used {
            return Ok(Verdict::Refused(format!("`{name}` is masked; `masked: false` unmasks it")));
        }
        if self.restart_if_replaced && unit.id != *name {
            return Ok(Verdict::Refused(format!(
                "`{name}` is another name of `{}`: name that one, which has the processes",
                unit.id
            )));
        }
        if self.started == Some(true) && unit.runs_once {
            return Ok(Verdict::Refused(format!(
                "`{name}` runs once and ends (Type=oneshot without RemainAfterExit=yes), so it cannot be kept started"
            )));
        }
        let files = node.answers.get::<UnitFiles>(name)?;
        let mut diff = Diff::none();
        let mut script = unit_functions::script(APPLY).arg(name);
        let mut step = |verb: &'static str, what: &str, before: &str, after: &str| {
            diff.attribute(what, before, after);
            script = script.clone().arg(verb);
            verb
        };
        let mut verbs = Vec::new();
        let unread = unread_file(unit, files);
        if let Some(unread) = unread.filter(|_| unit.load == LoadState::Loaded && !masked) {
            verbs.push(step(READ_FILES, "files", &unread, "read by systemd"));
        }
        match self.masked {
            Some(true) if !masked => verbs.push(step("mask", "masked", "no", "yes")),
            Some(true) if unit.file_state == UnitFileState::MaskedRuntime => {
                verbs.push(step("mask", "masked", "until the next boot", "yes"));
            }
            Some(false) if masked => verbs.push(step("unmask", "masked", "yes", "no")),
            Some(_) | None => {}
        }
        match self.enabled {
            Some(true) if !unit.file_state.counts_as_enabled() => {
                verbs.push(step("enable", "enabled", describe_file_state(&unit.file_state), "enabled"));
            }
            // systemd has not read its new section `[Install]` yet.
            Some(true) if unit.file_state == UnitFileState::Static && !files.missing().is_empty() => {
                verbs.push(step("enable", "enabled", "static", "enabled"));
            }
            Some(true) if unit.file_state == UnitFileState::Enabled && unit.id == *name && !files.missing().is_empty() => {
                verbs.push(step("reenable", "links", &files.links.join(", "), &files.wanted.join(", ")));
            }
            Some(false) if !unit.file_state.counts_as_disabled() => {
                verbs.push(step("disable", "enabled", describe_file_state(&unit.file_state), "disabled"));
            }
            Some(_) | None => {}
        }
        match (replaced, self.started) {
            // A restart starts it, too.
            (Some(program), _) => verbs.push(step("restart", "program", &format!("{program} (replaced)"), &program)),
            (None, Some(true)) if !unit.is_up() => verbs.push(step("start", "state", unit.active.as_str(), "active")),
            (None, Some(false)) if !is_down => verbs.push(step("stop", "state", unit.active.as_str(), "inactive")),
            (None, Some(_) | None) => {}
        }
        if verbs.is_empty() && self.declares_no_state() {
            return Ok(Verdict::CONVERGED);
        }
        let summary = if verbs.is_empty() { "nothing more once it exists".to_owned() } else { verbs.join(", ") };
        let change = Change::new(summary, script).diff(diff).replacing(unit.exists());
        let missing = match unit.load {
            // Only a mask needs no unit.
            LoadState::NotFound if self.masked != Some(true) => Some(Missing::Unit(name.clone())),
            LoadState::BadSetting | LoadState::Error => {
                let words = format!("a unit file of `{name}` that systemd can read (`systemd-analyze verify {name}` says why)");
                Some(Missing::Other(words))
            }
            LoadState::Loaded | LoadState::Masked | LoadState::NotFound | LoadState::Other(_) => None,
        };
        Ok(match missing {
            // A missing unit is neither up nor enabled, but "stopped" and "disabled" are about a unit that exists.
            Some(missing) => Verdict::Blocked { missing: vec![missing], change },
            None if verbs.is_empty() => Verdict::Converged { note: self.other_links(unit, files) },
            None => Verdict::Change(change),
        })
    }
}

impl Systemd {
    /// Whether it only restarts a unit that runs a replaced program, so that there may be no unit.
    fn declares_no_state(&self) -> bool {
        self.started.is_none() && self.enabled.is_none() && self.masked.is_none()
    }

    /// Says which links enable it besides those that its file wants. They may be another's, so they stay.
    fn other_links(&self, unit: &Unit, files: &UnitFiles) -> Option<String> {
        let is_plain = self.enabled == Some(true) && unit.file_state == UnitFileState::Enabled && unit.id == self.unit;
        let stale = if is_plain { files.stale() } else { Vec::new() };
        (!stale.is_empty()).then(|| {
            format!(
                "also enabled by {}, which its `[Install]` does not want: `systemctl reenable {}` removes that",
                stale.join(", "),
                self.unit
            )
        })
    }

    /// Whether this is a file of the unit: the unit's, its template's, or a drop-in.
    fn is_file_of_it(&self, path: &str) -> bool {
        let below = |directory: &str| path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
        let Some(rest) = DIRECTORIES.iter().find_map(|directory| below(directory)) else { return false };
        let file = rest.split_once('/').map_or(rest, |(directory, _)| directory.strip_suffix(".d").unwrap_or_default());
        file == self.unit || template_of(&self.unit).is_some_and(|template| template == file)
    }

    /// Returns a replaced program that a process of the unit runs.
    fn replaced_program(&self, node: &NodeState<'_>) -> Result<Option<String>, Unanswered> {
        if !self.restart_if_replaced {
            return Ok(None);
        }
        Ok(node.answers.get::<Replaced>(&self.unit)?.first().map(|path| path.escape_debug().to_string()))
    }
}

/// The verb that makes systemd read the files of its units.
const READ_FILES: &str = "daemon-reload";

/// Returns what systemd has not read of the files of a unit.
pub(crate) fn unread_file(unit: &Unit, files: &UnitFiles) -> Option<String> {
    // systemd 252 does not notice the first drop-in of a unit, whose directory is new.
    match files.unread_drop_in(&unit.drop_ins) {
        _ if unit.needs_reload => Some("changed since systemd read them".to_owned()),
        Some(drop_in) => Some(format!("`{drop_in}` was not read by systemd")),
        None => None,
    }
}

fn describe_file_state(file_state: &UnitFileState) -> &str {
    if *file_state == UnitFileState::NoFile { "disabled" } else { file_state.as_str() }
}

/// `$1`: the unit; then verbs. `enable` and `disable` get the unit's own name: systemd refuses to enable an alias.
const APPLY: &str = r#"set -eu
unit=$1
shift
# A mask may be in /etc and another one in /run, until the next boot.
[ "${1-}" != unmask ] || { systemctl unmask -- "$unit"; systemctl unmask --runtime -- "$unit"; }
[ "${1-}" = mask ] || { unit_read_files "$unit"; unit_exists "$unit"; }
for verb do
  case $verb in
    mask) systemctl mask -- "$unit";;
    unmask|daemon-reload) ;;
    reenable) systemctl reenable -- "$unit";;
    enable) systemctl enable -- "$(unit_property "$unit" Id)";;
    disable) systemctl disable -- "$(unit_property "$unit" Id)";;
    start) unit_start "$unit";;
    restart) unit_restart "$unit";;
    stop) unit_job "$unit" stop "did not stop";;
  esac
done
"#;

#[cfg(test)]
mod tests;
