//! `apt`: Debian packages, installed or removed in one call of apt-get.

use std::time::Duration;

use serde_json::Value;

use super::{
    Change, Diff, Files, Flag, Kind, NodeState, OneOrMany, ParamError, Reach, Resource, State, Verdict, apt_functions::APT,
    decode, lock_out::service, matches_glob, schema::parameters,
};
use crate::{
    job::{JobPurpose, run_and_follow},
    question::{Questions, Unanswered, package::Package},
    script::Script,
};

/// How long packages may take to download and configure.
const LIMIT: Duration = Duration::from_mins(30);
/// Package lists of this age, in seconds, are fetched again before an installation.
const FRESH: u64 = 3600;

pub(super) const KIND: Kind = Kind {
    name: "apt",
    about: "Installs or removes Debian packages",
    example: r#"apt:
  name: [postgresql-17, "redis=6:8.2.*"]"#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// Packages; `redis=6:8.2.*` names a version, with `*` for anything.
        name | pkg: OneOrMany<String>,
        /// Whether they are installed.
        state: State = "present",
        /// Whether the package lists are fetched first; without it, when they are old or do not contain a package.
        update_cache: Option<Flag>,
        /// How old the package lists may be, in seconds, before `update_cache` fetches them.
        cache_valid_time: Option<u64>,
        /// Whether recommended packages are installed, too; without it, as apt is configured.
        install_recommends: Option<Flag>,
        /// Whether configuration files are removed with `state: absent`.
        purge: Flag = false,
    }
}

/// When the package lists are fetched before an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    /// Never, not even if a package is not in them.
    Never,
    /// If they do not exist, are older than this many seconds or than a file of package sources, or do not contain a package.
    OlderThan(u64),
}

#[derive(Debug)]
struct Apt {
    packages: Vec<Wanted>,
    state: State,
    update: Update,
    recommends: Option<bool>,
    purge: bool,
}

/// A package and the version it is pinned to, which may hold `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    name: String,
    version: Option<String>,
}

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let parameters: Parameters = decode(parameters)?;
    if parameters.name.0.is_empty() {
        return Err(ParamError::parameter("name", "name at least one package"));
    }
    let packages = parameters.name.0.iter().map(|text| parse_package(text)).collect::<Result<Vec<_>, _>>()?;
    if parameters.state == State::Absent && packages.iter().any(|package| package.version.is_some()) {
        return Err(ParamError::parameter("name", "a package to remove is named without a version"));
    }
    if parameters.purge.0 && parameters.state == State::Present {
        return Err(ParamError::parameter("purge", "only `state: absent` can purge"));
    }
    let update = match (parameters.update_cache, parameters.cache_valid_time) {
        (Some(Flag(false)), Some(_)) => {
            return Err(ParamError::parameter("cache_valid_time", "has no effect when `update_cache` is false"));
        }
        (Some(Flag(false)), None) => Update::Never,
        (_, Some(seconds)) => Update::OlderThan(seconds),
        (Some(Flag(true)), None) => Update::OlderThan(0),
        (None, None) => Update::OlderThan(FRESH),
    };
    Ok(Box::new(Apt {
        packages,
        state: parameters.state,
        update,
        recommends: parameters.install_recommends.map(|flag| flag.0),
        purge: parameters.purge.0,
    }))
}

impl Wanted {
    /// Returns the name without the architecture.
    fn bare_name(&self) -> &str {
        self.name.split_once(':').map_or(self.name.as_str(), |(name, _)| name)
    }
}

/// Reads `NAME` or `NAME=VERSION` (Debian Policy 5.6.1 and 5.6.12). Other text, such as a leading `-`, could have a meaning for apt-get.
fn parse_package(text: &str) -> Result<Wanted, ParamError> {
    let (name, version) = text.split_once('=').map_or((text, None), |(name, version)| (name, Some(version)));
    let (bare, architecture) = name.split_once(':').unwrap_or((name, "all"));
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    // A trailing `+` or `-` tells apt-get to install or remove, if no package has exactly that name.
    let named = bare.len() >= 2 && bare.bytes().all(|byte| lower(byte) || b"+-.".contains(&byte)) && lower(bare.as_bytes()[0]);
    if !named || bare.ends_with('-') || architecture.is_empty() || !architecture.bytes().all(|byte| lower(byte) || byte == b'-') {
        return Err(ParamError::parameter("name", format!("`{name}` is not the name of a Debian package")));
    }
    if let Some(version) = version
        && (version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~:*".contains(&byte)))
    {
        return Err(ParamError::parameter(
            "name",
            format!("`{version}` is not a version: write `{name}=1.2-3` or `{name}=1.2*`"),
        ));
    }
    Ok(Wanted { name: name.to_owned(), version: version.map(str::to_owned) })
}

impl Resource for Apt {
    fn reach(&self) -> Reach<'_> {
        Reach::Packages(self.packages.iter().map(|package| package.name.as_str()).collect())
    }

    fn may_satisfy_later_tasks(&self) -> bool {
        true
    }

    fn questions(&self, ask: &mut Questions) {
        for package in &self.packages {
            ask.ask::<Package>(package.name.clone());
            if self.state == State::Absent {
                service::ask_for_package(ask, package.bare_name());
            }
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let mut diff = Diff::none();
        let mut to_change = Vec::new();
        let mut replaces = false;
        for wanted in &self.packages {
            let actual = node.answers.get::<Package>(&wanted.name)?;
            if let Package::Installed { version, held: true } = actual
                && !self.satisfied(wanted, actual)
            {
                let name = &wanted.name;
                return Ok(Verdict::Refused(format!("`{name}` is held at {version}; `apt-mark unhold {name}` lets it change")));
            }
            if self.satisfied(wanted, actual) {
                continue;
            }
            if let Package::Absent { held: true, .. } = actual {
                let name = &wanted.name;
                return Ok(Verdict::Refused(format!(
                    "`{name}` is held, so that it is not installed; `apt-mark unhold {name}` lets it be"
                )));
            }
            if self.state == State::Absent
                && let Some(reason) = service::refuses_removal(node, wanted.bare_name())?
            {
                return Ok(Verdict::Refused(reason));
            }
            replaces |= !matches!(actual, Package::Absent { .. });
            to_change.push(wanted);
            self.show(&mut diff, wanted, actual);
        }
        if to_change.is_empty() {
            return Ok(Verdict::CONVERGED);
        }
        let list = to_change.iter().map(|wanted| wanted.name.as_str()).collect::<Vec<_>>().join(", ");
        let (verb, script) = match self.state {
            State::Present => ("install", self.installation(&to_change)),
            State::Absent => (if self.purge { "purge" } else { "remove" }, self.removal(&to_change)),
        };
        // dpkg leaves a package half installed if it is killed while it unpacks: a lost link must not end it.
        let script = run_and_follow(script, JobPurpose::APT);
        Ok(Verdict::Change(Change::new(format!("{verb} {list}"), script).diff(diff).replacing(replaces)))
    }
}

impl Apt {
    fn satisfied(&self, wanted: &Wanted, actual: &Package) -> bool {
        match (self.state, actual) {
            (State::Present, Package::Installed { version, .. }) => {
                wanted.version.as_deref().is_none_or(|pattern| matches_glob(pattern, version))
            }
            (State::Absent, Package::Absent { configuration, .. }) => !(self.purge && *configuration),
            (State::Present, Package::Absent { .. } | Package::Broken { .. })
            | (State::Absent, Package::Installed { .. } | Package::Broken { .. }) => false,
        }
    }

    fn show(&self, diff: &mut Diff, wanted: &Wanted, actual: &Package) {
        let name = &wanted.name;
        match actual {
            Package::Absent { configuration: true, .. } if self.state == State::Absent => {
                diff.removed(format!("{name} (configuration)"));
            }
            Package::Absent { .. } => {}
            Package::Installed { version, .. } => diff.removed(format!("{name} {version}")),
            Package::Broken { version, state } => diff.removed(format!("{name} {version} ({state})")),
        }
        if self.state == State::Present {
            diff.added(wanted.version.as_ref().map_or_else(|| name.clone(), |version| format!("{name} {version}")));
        }
    }

    fn installation(&self, packages: &[&Wanted]) -> Script {
        let age = match self.update {
            Update::Never => "never".to_owned(),
            Update::OlderThan(seconds) => seconds.to_string(),
        };
        let recommends = match self.recommends {
            None => "",
            Some(true) => "APT::Install-Recommends=true",
            Some(false) => "APT::Install-Recommends=false",
        };
        Script::new(INSTALL)
            .using(APT)
            .using(REPAIR)
            .using(STALE)
            .arg(age)
            .arg(recommends)
            .arg(self.names())
            .args(packages.iter().map(|wanted| match &wanted.version {
                Some(version) => format!("{}={version}", wanted.name),
                None => wanted.name.clone(),
            }))
            .limit(LIMIT)
    }

    /// Returns the names of all packages of the task, also of those that are as declared: they may change with the others.
    fn names(&self) -> String {
        self.packages.iter().map(|wanted| wanted.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn removal(&self, packages: &[&Wanted]) -> Script {
        Script::new(REMOVE)
            .using(APT)
            .using(REPAIR)
            .arg(if self.purge { "purge" } else { "remove" })
            .arg(self.names())
            .args(packages.iter().map(|wanted| wanted.name.clone()))
            .limit(LIMIT)
    }
}

/// Finishes an interrupted dpkg operation; apt-get would only print the advice to do so. While another dpkg runs, its database looks
/// interrupted too: then the script waits for the lock and checks again.
const REPAIR: &str = r#"
repair() {
  while interrupted; do
    echo "finishing an interrupted package operation: dpkg --configure -a" >&2
    apt_try dpkg --force-confdef --force-confold --configure -a
    [ "$status" != 0 ] || return 0
    [ "$locked" = yes ] || { echo "an earlier package operation was interrupted, and \`dpkg --configure -a\` could not finish it: see above" >&2; exit 1; }
    apt_waits
  done
}
interrupted() {
  for update in /var/lib/dpkg/updates/[0-9]*; do
    [ ! -e "$update" ] || return 0
  done
  [ -n "$(dpkg --audit 2>&1)" ]
}
"#;

/// `stale SECONDS STAMP LISTS ETC`: whether the lists must be fetched again.
///
/// The time of the last fetch is kept in a separate file: the time of apt's directory also changes when only one repository was fetched.
const STALE: &str = r#"
stale() {
  [ -e "$2" ] || return 0
  for list in "$3"/*Release; do [ -e "$list" ] || return 0; done
  for source in "$4/sources.list" "$4/sources.list.d" "$4"/sources.list.d/*; do
    if [ "$source" -nt "$2" ]; then return 0; fi
  done
  [ "$(( $(date +%s) - $(stat -c %Y -- "$2") ))" -ge "$1" ]
}
"#;

/// `$1`: seconds that lists stay fresh, or `never`; `$2`: an option or nothing; `$3`: the packages that may change; then packages to install.
const INSTALL: &str = r#"set -eu
age=$1 option=$2 named=$3
shift 3
stamp=/var/lib/autobot-provision/apt-updated
updated=no
update() {
  apt_get update
  [ "$status" = 0 ] || { echo "\`apt-get update\` failed: a package source of this node cannot be fetched or verified, see above" >&2; exit 1; }
  mkdir -p "${stamp%/*}"
  : > "$stamp"
  updated=yes
}
repair
# apt-get considers packages installed whose unpacking was interrupted, dependencies too; only --reinstall unpacks them again.
torn=$(dpkg-query -W -f '${db:Status-Eflag} ${binary:Package}\n' 2>/dev/null | sed -n 's/^reinstreq //p')
if [ "$age" != never ] && stale "$age" "$stamp" /var/lib/apt/lists /etc/apt; then update; fi
install() {
  apt_spare "$named $torn" ${option:+-o "$option"} install ${torn:+--reinstall} -- "$@" $torn
  apt_get ${option:+-o "$option"} install ${torn:+--reinstall} -- "$@" $torn
}
install "$@"
if [ "$status" != 0 ] && [ "$found" = no ] && [ "$updated" = no ] && [ "$age" != never ]; then update; install "$@"; fi
[ "$status" = 0 ] || {
  if [ "$found" = no ]; then
    echo "no package source of this node has what was asked for: $*; see above which, and check its name, its version and the sources for this release ($(. /etc/os-release; echo "${PRETTY_NAME:-unknown}"))" >&2
  else
    echo "apt-get could not install: $*" >&2
  fi
  exit 1
}
"#;

/// `$1`: `remove` or `purge`; `$2`: the packages that may change; then packages to remove.
const REMOVE: &str = r#"set -eu
repair
verb=$1 named=$2
shift 2
apt_spare "$named" "$verb" -- "$@"
apt_get "$verb" -- "$@"
[ "$status" = 0 ] || { echo "apt-get could not $verb $*" >&2; exit 1; }
"#;

#[cfg(test)]
mod tests;
