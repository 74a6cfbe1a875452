//! `docker_compose`: whether the containers of a Compose project run.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Change, Diff, Files, Kind, Missing, NodeState, OneOrMany, ParamError, RemotePath, Resource, Verdict, decode,
    schema::{parameters, words},
};
use crate::{
    question::{
        Questions, Unanswered,
        compose::{Answer, Compose, Container, Lack, Project, Service},
    },
    script::{Script, quote},
};

pub(super) const KIND: Kind = Kind {
    name: "docker_compose",
    about: "Says whether the containers of a project of Docker Compose exist and run",
    example: "docker_compose: {project_src: /opt/app, files: [docker-compose.yml], state: present}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

/// What a handler does with a project: a line of shell.
pub const HANDLER: Kind<String> = Kind {
    name: "docker_compose",
    about: "Restarts or recreates the containers of a project of Docker Compose",
    example: "docker_compose: {project_src: /opt/app, recreate: always}",
    decode: handler_command,
    declared: HandlerParameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The directory of the project.
        project_src: RemotePath,
        /// Its files, in the directory or with their whole paths; without any, Compose looks for its usual names.
        files: OneOrMany<String> = [],
        /// Only these services; without any, all.
        services: OneOrMany<String> = [],
        /// `present`: each service has a container that runs; one that runs is kept as it is, so notify a handler with `recreate: always`
        /// when a file changes. `stopped`: none runs. `absent`: there is none; volumes are kept.
        state: State = "present",
        /// What to do on a node without Docker. With this, a run is refused there before its first change; without it, an earlier task may
        /// install Docker.
        help: String = "",
    }
}

parameters! {
    #[derive(Debug)]
    struct HandlerParameters {
        /// The directory of the project.
        project_src: RemotePath,
        /// Its files, as in a task.
        files: OneOrMany<String> = [],
        /// Only these services; without any, all.
        services: OneOrMany<String> = [],
        /// `restarted` keeps the containers, with the files from which they were created.
        state: Option<HandlerState>,
        /// `always` makes the containers anew, as their files are now.
        recreate: Option<Recreate>,
    }
}

words!(State);
words!(HandlerState);
words!(Recreate);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Present,
    Stopped,
    Absent,
    Restarted,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HandlerState {
    Restarted,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Recreate {
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Present,
    Stopped,
    Absent,
}

#[derive(Debug)]
struct DockerCompose {
    project: Project,
    services: Vec<String>,
    wanted: Wanted,
    help: String,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    Ok(Box::new(decode_project(parameters)?))
}

fn decode_project(parameters: Value) -> Result<DockerCompose, ParamError> {
    let Parameters { project_src, files, services, state, help } = decode(parameters)?;
    let wanted = match state {
        State::Present => Wanted::Present,
        State::Stopped => Wanted::Stopped,
        State::Absent => Wanted::Absent,
        State::Restarted => {
            return Err(ParamError::parameter(
                "state",
                "a task says how things are: `present`, `stopped` or `absent`; to restart or recreate, notify a handler",
            ));
        }
    };
    if wanted == Wanted::Absent && !services.0.is_empty() {
        return Err(ParamError::parameter("services", "`absent` removes the whole project: leave `services` out"));
    }
    Ok(DockerCompose { project: project(project_src, &files)?, services: checked(services)?, wanted, help })
}

fn project(directory: RemotePath, files: &OneOrMany<String>) -> Result<Project, ParamError> {
    let path = |file: &String| match file.as_str() {
        "" => Err("is empty".to_owned()),
        whole if whole.starts_with('/') => RemotePath::new(whole),
        name => RemotePath::new(&format!("{directory}/{name}")),
    };
    let files = files.0.iter().map(path).collect::<Result<_, _>>().map_err(|message| ParamError::parameter("files", message))?;
    Ok(Project { directory, files })
}

/// Checks names of services, which must not look like options.
fn checked(services: OneOrMany<String>) -> Result<Vec<String>, ParamError> {
    let is_name = |name: &String| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
    };
    match services.0.iter().find(|name| !is_name(name)) {
        Some(name) => Err(ParamError::parameter("services", format!("`{name}` is not the name of a service"))),
        None => Ok(services.0),
    }
}

#[expect(clippy::box_collection, reason = "each kind decodes to a box of its own trait or type")]
fn handler_command(parameters: Value, _: &mut dyn Files) -> Result<Box<String>, ParamError> {
    let HandlerParameters { project_src, files, services, state, recreate } = decode(parameters)?;
    let action: &[&str] = match (state, recreate) {
        (Some(HandlerState::Restarted), None) => &["restart"],
        (None, Some(Recreate::Always)) => &["up", "--detach", "--force-recreate"],
        (None, None) | (Some(_), Some(_)) => {
            return Err(ParamError::parameter("", "a handler has either `state: restarted` or `recreate: always`"));
        }
    };
    let (project, services) = (project(project_src, &files)?, checked(services)?);
    let words = project.options().into_iter().chain(action.iter().map(ToString::to_string)).chain(services);
    let words = words.map(|word| quote(&word)).collect::<Result<Vec<_>, _>>();
    let words = words.map_err(|error| ParamError::parameter("", error.to_string()))?;
    Ok(Box::new(format!("docker compose {}", words.join(" "))))
}

impl Resource for DockerCompose {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Compose>(self.project.clone());
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        Ok(match node.answers.get::<Compose>(&self.project)? {
            Answer::Lacks(lack) => self.without_docker(*lack),
            Answer::NoDirectory => self.without(Missing::Directory(self.project.directory.clone())),
            Answer::NoFile(file) => self.without(match file.as_deref().map(RemotePath::new) {
                Some(Ok(file)) => Missing::File(file),
                Some(Err(_)) | None => Missing::Other(format!("a compose file in `{}`", self.project.directory)),
            }),
            Answer::Refused(reason) => {
                let words = format!("a compose file in `{}` that Docker accepts ({reason})", self.project.directory);
                self.blocked(Missing::Other(words))
            }
            Answer::Found { services, containers } => self.compare_with(services, containers),
        })
    }
}

impl DockerCompose {
    fn without_docker(&self, lack: Lack) -> Verdict {
        let (missing, said) = match lack {
            Lack::Docker => ("Docker", "this node has no Docker"),
            Lack::Compose => ("Docker's plugin `compose`", "Docker has no plugin `compose` here"),
            Lack::Daemon => (
                "a Docker daemon that answers (`systemctl status docker`)",
                "the Docker daemon does not answer (systemctl status docker)",
            ),
        };
        if self.help.is_empty() {
            let missing = Missing::Other(missing.to_owned());
            return match lack {
                Lack::Docker => self.without(missing),
                // There may be containers, of which nothing is known.
                Lack::Compose | Lack::Daemon => self.blocked(missing),
            };
        }
        Verdict::Refused(format!("{said}: {}", self.help))
    }

    /// What to do without something that a project needs to exist.
    fn without(&self, missing: Missing) -> Verdict {
        match self.wanted {
            Wanted::Absent => Verdict::Converged { note: Some(format!("nothing to remove: {missing} does not exist")) },
            Wanted::Present | Wanted::Stopped => self.blocked(missing),
        }
    }

    fn blocked(&self, missing: Missing) -> Verdict {
        let summary = match self.wanted {
            Wanted::Present => "create and start",
            Wanted::Stopped => "nothing more once it exists",
            Wanted::Absent => "remove",
        };
        Verdict::Blocked { missing: vec![missing], change: Change::new(summary, self.script()) }
    }

    fn compare_with(&self, declared: &[Service], containers: &[Container]) -> Verdict {
        if let Some(name) = self.services.iter().find(|name| !declared.iter().any(|service| service.name == **name)) {
            return self.blocked(Missing::Other(format!("service `{name}` in the compose file of `{}`", self.project.directory)));
        }
        let asked = |name: &String| self.services.is_empty() || self.services.contains(name);
        let mut diff = Diff::none();
        let mut steps = Vec::new();
        match self.wanted {
            Wanted::Present => {
                let starts = declared.iter().filter(|service| asked(&service.name));
                steps.extend(starts.filter_map(|service| start(service, containers, &mut diff)));
            }
            Wanted::Stopped | Wanted::Absent => {
                let (verb, after) = if self.wanted == Wanted::Absent { ("remove", "absent") } else { ("stop", "exited") };
                let stays = |one: &&Container| self.wanted == Wanted::Stopped && !is_up(&one.state);
                for container in containers.iter().filter(|one| asked(&one.service) && !stays(one)) {
                    diff.attribute(&container.service, &container.state, after);
                    steps.push(format!("{verb} {}", container.service));
                }
            }
        }
        steps.dedup();
        if steps.is_empty() {
            return Verdict::CONVERGED;
        }
        Verdict::Change(Change::new(steps.join(", "), self.script()).diff(diff).replacing(!containers.is_empty()))
    }

    fn script(&self) -> Script {
        let action: &[&str] = match self.wanted {
            Wanted::Present => &["up", "--detach"],
            Wanted::Stopped => &["stop"],
            Wanted::Absent => &["down"],
        };
        let words = self.project.options().into_iter().chain(action.iter().map(ToString::to_string));
        Script::new("exec docker compose \"$@\"").args(words.chain(self.services.iter().cloned()))
    }
}

/// Whether a container in this state has processes, or will soon.
fn is_up(state: &str) -> bool {
    matches!(state, "running" | "restarting" | "paused")
}

/// Returns what Compose does so that a service runs. It makes a container anew if that was created from another configuration.
fn start(service: &Service, containers: &[Container], diff: &mut Diff) -> Option<String> {
    let mut own = containers.iter().filter(|container| container.service == service.name).peekable();
    let name = &service.name;
    let Some(first) = own.peek().copied() else {
        diff.attribute(name, "", "running");
        return Some(format!("create {name}"));
    };
    if own.any(|container| container.state == "running") {
        return None;
    }
    diff.attribute(name, &first.state, "running");
    let verb = if first.hash == service.hash { "start" } else { "recreate" };
    Some(format!("{verb} {name}"))
}

#[cfg(test)]
#[path = "docker_compose_tests.rs"]
mod tests;
