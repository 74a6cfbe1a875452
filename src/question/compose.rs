//! What Docker Compose says of a project: its services, and the containers that it has.

use super::{Kind, Lane, Output, Unanswered};
use crate::{script::Script, values::RemotePath};

/// A project: the directory, and its files; without any, Compose looks for its usual names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Project {
    /// The directory, to which the paths in the files are relative.
    pub directory: RemotePath,
    /// The files, of which later ones override earlier ones.
    pub files: Vec<RemotePath>,
}

impl Project {
    /// Returns the options of `docker compose` that name the project.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let files = self.files.iter().flat_map(|file| ["-f".to_owned(), file.to_string()]);
        ["--project-directory".to_owned(), self.directory.to_string()].into_iter().chain(files).collect()
    }
}

/// Marker for the kind "Compose projects".
#[derive(Debug)]
pub struct Compose;

/// The answer about a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Docker cannot be asked.
    Lacks(Lack),
    /// The directory does not exist.
    NoDirectory,
    /// This file does not exist. `None`: the project names no file, and its directory has none with a usual name.
    NoFile(Option<String>),
    /// Compose does not accept the files, for this reason.
    Refused(String),
    /// What the files declare, and what there is.
    Found {
        /// The services.
        services: Vec<Service>,
        /// The containers of services, without those of `docker compose run`.
        containers: Vec<Container>,
    },
}

/// What a node lacks to run a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The program `docker`.
    Docker,
    /// Its plugin `compose`.
    Compose,
    /// An answer of its daemon.
    Daemon,
}

/// A service of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The checksum of its configuration.
    pub hash: String,
}

/// A container of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its service.
    pub service: String,
    /// The checksum of the configuration from which it was created.
    pub hash: String,
    /// Docker's word for its state: `running`, `exited`, `created`, `paused`, `restarting`, `dead`.
    pub state: String,
}

/// Arguments, for each project: the number of its options, and the options. Only the daemon's own words for a state, and strings in JSON are
/// printed of a container, so that no label can forge a line.
const SCRIPT: &str = r#"
command -v docker >/dev/null 2>&1 || { echo 'lacks docker'; exit 0; }
docker compose version >/dev/null 2>&1 || { echo 'lacks compose'; exit 0; }
docker info >/dev/null 2>&1 || { echo 'lacks daemon'; exit 0; }
format='{{.State.Status}}'
for label in service config-hash oneoff; do
  format="$format {{json (index .Config.Labels \"com.docker.compose.$label\")}}"
done
ask() {
  [ -d "$2" ] || { echo 'no-directory'; return; }
  before= given=
  for word do
    if [ "$before" = -f ]; then
      given=yes
      [ -e "$word" ] || { printf 'no-file %s\n' "$word"; return; }
    fi
    before=$word
  done
  if [ -z "$given" ]; then
    for name in compose.yaml compose.yml docker-compose.yml docker-compose.yaml; do [ ! -e "$2/$name" ] || given=yes; done
    [ -n "$given" ] || { echo 'no-file'; return; }
  fi
  if ! said=$(docker compose "$@" config --hash '*' 2>/dev/null); then
    printf 'refused '
    # Warnings come first.
    docker compose "$@" config --quiet 2>&1 | grep . | tail -n 1
    echo
    return
  fi
  [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/service /'
  ids=$(docker compose "$@" ps --all --quiet 2>/dev/null) || { echo 'failed ps'; return; }
  [ -n "$ids" ] || return 0
  set -f
  said=$(docker container inspect --format "$format" -- $ids 2>/dev/null) || { echo 'failed inspect'; return; }
  printf '%s\n' "$said" | sed 's/^/container /'
}
while [ $# -gt 0 ]; do
  count=$1
  shift
  (
    left=$count
    while [ "$left" -gt 0 ]; do set -- "$@" "$1"; shift; left=$((left - 1)); done
    shift $(($# - count))
    ask "$@"
  )
  shift "$count"
  echo end
done
"#;

impl Kind for Compose {
    type Key = Project;
    type Answer = Answer;
    const NAME: &'static str = "compose-projects";
    const LANE: Lane = Lane::Servers;

    /// The files may name others, on the node and elsewhere, which Compose fetches.
    fn runs_what_a_role_says(_: &Project) -> bool {
        true
    }

    fn script(keys: &[&Project]) -> Script {
        keys.iter().fold(Script::new(SCRIPT), |script, project| {
            let options = project.options();
            script.arg(options.len().to_string()).args(options)
        })
    }

    fn read(keys: &[&Project], output: &Output) -> Vec<Result<Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("Docker Compose", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let lack = match text.trim_end() {
            "lacks docker" => Some(Lack::Docker),
            "lacks compose" => Some(Lack::Compose),
            "lacks daemon" => Some(Lack::Daemon),
            _ => None,
        };
        let mut lines = text.lines();
        keys.iter()
            .map(|project| match lack {
                Some(lack) => Ok(Answer::Lacks(lack)),
                None => read_one(project, &mut lines),
            })
            .collect()
    }
}

fn read_one(project: &Project, lines: &mut std::str::Lines<'_>) -> Result<Answer, Unanswered> {
    let malformed =
        |line: &str| Unanswered(format!("Docker's answer about the project `{}` is malformed: {line}", project.directory));
    // Every answer is read to its end, so that the next one starts at the right line.
    let mut answer = Vec::new();
    let ended = lines.by_ref().any(|line| {
        answer.push(line);
        line == "end"
    });
    answer.pop();
    if !ended {
        return Err(malformed("it ended early"));
    }
    let (mut services, mut containers) = (Vec::new(), Vec::new());
    for line in answer.into_iter().filter(|line| !line.is_empty()) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("no-directory", _) => return Ok(Answer::NoDirectory),
            ("no-file", file) => return Ok(Answer::NoFile((!file.is_empty()).then(|| file.to_owned()))),
            ("refused", reason) => return Ok(Answer::Refused(reason.to_owned())),
            ("failed", what) => {
                return Err(Unanswered(format!("`docker compose {what}` failed for the project `{}`", project.directory)));
            }
            ("service", rest) => {
                let (name, hash) = rest.split_once(' ').ok_or_else(|| malformed(line))?;
                services.push(Service { name: name.to_owned(), hash: hash.trim().to_owned() });
            }
            ("container", rest) => containers.extend(container(rest).map_err(|NotOne| malformed(line))?),
            _ => return Err(malformed(line)),
        }
    }
    Ok(Answer::Found { services, containers })
}

/// A line that is no container.
struct NotOne;

/// Reads a container; `None` for one of `docker compose run`, which is no container of its service.
fn container(line: &str) -> Result<Option<Container>, NotOne> {
    let (state, labels) = line.split_once(' ').ok_or(NotOne)?;
    let labels = serde_json::Deserializer::from_str(labels).into_iter::<String>().collect::<Result<Vec<_>, _>>();
    let [service, hash, one_off] = <[String; 3]>::try_from(labels.map_err(|_| NotOne)?).map_err(|_| NotOne)?;
    Ok((!one_off.eq_ignore_ascii_case("true")).then(|| Container { service, hash, state: state.to_owned() }))
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
