//! The secrets of one host in one run: which exist, which must be created, and which cannot be used.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use crate::{
    event::{Outcome, Status},
    plan::{HostPlan, SecretSpec},
    question::{
        Answers,
        path::{Entry, PathInfo, PathState},
        way::WAY,
    },
    resource::{
        Change, NodeState,
        put::{Backup, Put},
    },
    script::Script,
    secret::{Encoding, EnvFile, EnvLine, Secret, SecretId, SecretRef, SecretValues},
    values::{Diff, Missing, RemotePath},
};

/// The state of a secret of another host, as its readers see it.
#[derive(Debug, Clone)]
pub(super) enum SharedSecret {
    /// It exists.
    Value(Secret),
    /// In a check: the deploy would create it.
    Planned,
    /// It is not available, with the reason.
    Missing(String),
}

/// The secrets of one host that others read.
pub(super) type SharedSecrets = HashMap<SecretRef, SharedSecret>;

/// What a host's run is made from, besides the answers of its node.
#[derive(Clone, Copy)]
pub(super) struct HostInputs<'a> {
    /// Its part of the plan.
    pub(super) plan: &'a HostPlan,
    /// The values of secrets that come from outside.
    pub(super) provided: &'a SecretValues,
    /// The secrets of other hosts.
    pub(super) shared: &'a SharedSecrets,
}

/// What is known about a host's secrets.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// The values that exist on the node or come from an outside source, and the values that the latter replace.
    pub(super) values: SecretValues,
    /// Secrets that cannot be used, such as one whose file is damaged, with the reason.
    problems: HashMap<SecretId, String>,
    /// Secrets that did not exist when the run began.
    fresh: HashSet<SecretId>,
    /// In a check: secrets of other hosts that the deploy would create there first.
    planned: HashSet<SecretId>,
    /// Secrets whose values come from an outside source, with the state of their files when the run began.
    provided: HashMap<SecretId, StoredValue>,
    /// The files whose owner, group or mode was not as declared when the run began.
    exposed: HashMap<RemotePath, Exposed>,
}

/// A secrets file whose owner, group or mode is not as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exposed {
    /// The difference in a few words: "mode 0644 → 0600".
    pub(super) summary: String,
    /// The lines to show.
    pub(super) diff: Diff,
    /// What the user must know if others could read it.
    pub(super) warning: Option<String>,
}

/// The value of a secret in its file, compared with the value from its outside source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredValue {
    Nothing,
    TheSame,
    Another,
}

impl Secrets {
    /// Reads the secrets' files from the answers.
    pub(super) fn read<'a>(specs: impl IntoIterator<Item = &'a SecretSpec>, provided: &SecretValues, answers: &Answers) -> Self {
        let mut secrets = Self { values: provided.clone(), ..Self::default() };
        for spec in specs {
            match (in_file(spec, answers), provided.declared(&spec.secret)) {
                (Ok(found), Some(provided)) => secrets.add_provided(spec, found, provided),
                (Ok(Some(value)), None) => secrets.values.insert(spec.secret.clone(), value),
                (Ok(None), None) => {
                    secrets.fresh.insert(spec.id());
                }
                (Err(problem), _) => {
                    secrets.problems.insert(spec.id(), problem);
                }
            }
        }
        secrets
    }

    /// Collects what is known about the secrets of a host and about those that it reads from other hosts.
    pub(super) fn known(inputs: &HostInputs<'_>, answers: &Answers) -> Self {
        let host = inputs.plan;
        let mut secrets = Self::read(host.secrets.iter().chain(&host.lent), inputs.provided, answers);
        secrets.borrow(&host.borrowed, inputs.shared);
        for spec in &host.secrets {
            match exposed(spec, &NodeState { answers, secrets: &secrets.values }) {
                Ok(Some(exposed)) => {
                    secrets.exposed.entry(spec.file.clone()).or_insert(exposed);
                }
                Ok(None) => {}
                // The file itself is fine: the question about an account has no answer.
                Err(problem) => {
                    secrets.problems.entry(spec.id()).or_insert(problem);
                }
            }
        }
        secrets.check_characters(host.secrets.iter().chain(&host.borrowed));
        secrets
    }

    /// Adds the secrets of other hosts.
    fn borrow(&mut self, specs: &[SecretSpec], shared: &SharedSecrets) {
        for spec in specs {
            let secret = spec.id();
            let provided = self.values.get(&secret).cloned();
            match shared.get(&spec.secret) {
                // Its own host still has the old value: until that is deployed, the new one must not be used.
                Some(SharedSecret::Value(value)) if provided.as_ref().is_some_and(|provided| provided != value) => {
                    self.problems.insert(secret, outdated_on_owner(spec));
                }
                Some(SharedSecret::Value(value)) => self.values.insert(secret, value.clone()),
                Some(SharedSecret::Planned) => {
                    self.planned.insert(secret);
                }
                Some(SharedSecret::Missing(why)) => {
                    self.problems.insert(secret, why.clone());
                }
                None => {
                    let why = format!("`{secret}` lives on `{}`, whose secrets were not read", secret.host());
                    self.problems.insert(secret, why);
                }
            }
        }
    }

    /// Finds values with characters that the programs which use them do not accept.
    fn check_characters<'a>(&mut self, specs: impl IntoIterator<Item = &'a SecretSpec>) {
        for spec in specs {
            let value = self.values.declared(&spec.secret);
            if value.is_some_and(|value| value.expose().contains(|character| spec.without.contains(character))) {
                let characters: Vec<String> = spec.without.chars().map(|character| format!("`{character}`")).collect();
                let origin = if spec.outside.is_some() { "from outside".to_owned() } else { format!("in `{}`", spec.file) };
                let why = format!(
                    "the value of `{name}` {origin} contains a character that is not allowed here: {characters}; change it there and wherever it is used, \
                     and run again",
                    name = spec.secret.name,
                    characters = characters.join(" "),
                );
                self.problems.insert(spec.id(), why);
            }
        }
    }

    /// Returns whether the secret belongs to another host and would be created there first.
    pub(super) fn is_planned(&self, secret: &SecretId) -> bool {
        self.planned.contains(secret)
    }

    fn add_provided(&mut self, spec: &SecretSpec, found: Option<Secret>, provided: &Secret) {
        let stored = match found {
            None => StoredValue::Nothing,
            Some(found) if found == *provided => StoredValue::TheSame,
            Some(found) => {
                // The old value must be redacted, too.
                self.values.hide(format!("{} before", spec.secret.name), found);
                StoredValue::Another
            }
        };
        self.provided.insert(spec.id(), stored);
    }

    /// Returns the state of a secret's file, if the value comes from an outside source.
    pub(super) fn provided(&self, secret: &SecretId) -> Option<StoredValue> {
        self.provided.get(secret).copied()
    }

    /// Returns the reason why a secret cannot be used.
    pub(super) fn problem(&self, secret: &SecretId) -> Option<&str> {
        self.problems.get(secret).map(String::as_str)
    }

    /// Whether the secret did not exist when the run began.
    pub(super) fn is_fresh(&self, secret: &SecretId) -> bool {
        self.fresh.contains(secret)
    }
}

fn outdated_on_owner(spec: &SecretSpec) -> String {
    let SecretRef { host, name } = &spec.secret;
    format!(
        "`{name}` has another value on `{host}`, where it lives, than in its outside source: deploy `{host}` first, or together with this host"
    )
}

/// Compares owner, group and mode of the secrets file with what is declared. `None` if they are the same, if there is no such file yet, or if an
/// account does not exist yet.
pub(super) fn exposed(spec: &SecretSpec, node: &NodeState<'_>) -> Result<Option<Exposed>, String> {
    let Ok(PathInfo { entry: Entry::File(file), .. }) = node.answers.get::<PathState>(&spec.question()) else { return Ok(None) };
    let attributes = &file.attributes;
    let difference = spec.access.compare(node, Some(attributes)).map_err(|error| error.to_string())?;
    if difference.summary.is_empty() || !difference.missing.is_empty() {
        return Ok(None);
    }
    let others_may = attributes.mode.0 & !spec.access.mode().map_or(0, |mode| mode.0) & 0o066 != 0;
    let warning = (others_may || difference.has_other_owner).then(|| {
        let since = jiff::Timestamp::from_second(attributes.changed).map(|time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
        let since = since.unwrap_or_else(|_| "an unknown time".to_owned());
        format!("other users could read or change the passwords in {} (mode {}, owner {}) since {since}, or longer: rotate them if that matters",
            spec.file, attributes.mode.octal(), attributes.owner)
    });
    Ok(Some(Exposed { summary: difference.summary.join(", "), diff: difference.diff, warning }))
}

/// Returns the value of a secret in its file.
pub(super) fn in_file(spec: &SecretSpec, answers: &Answers) -> Result<Option<Secret>, String> {
    Ok(current_file(spec, answers)?.get(&spec.secret.name).cloned())
}

/// Returns the current content of the secrets file; empty if there is no file.
fn current_file(spec: &SecretSpec, answers: &Answers) -> Result<EnvFile, String> {
    let file = &spec.file;
    match &answers.get::<PathState>(&spec.question()).map_err(|error| error.to_string())?.entry {
        Entry::Absent => Ok(EnvFile::default()),
        Entry::File(found) => {
            let content = found
                .content
                .as_deref()
                .ok_or_else(|| format!("`{file}` is too large to be a secrets file; nothing was changed"))?;
            EnvFile::parse(content).map_err(|error| format!("{}, nothing was changed", error.of_file(file)))
        }
        other @ (Entry::Directory(_) | Entry::Link(_) | Entry::Other(_)) => Err(format!(
            "`{file}` is {}, not a regular file; move it away or replace it by the secrets file; nothing was changed",
            other.describe()
        )),
    }
}

/// Explains why a secret that is missing from its file must not be generated again.
pub(super) fn lost_message(spec: &SecretSpec) -> String {
    format!(
        "`{name}` is not in `{file}`, but what it protects already exists: a new value would lock its users out\n\
         either restore `{file}` from a backup,\n\
         or rotate: write `{name}=<new value>` into `{file}`, set it where it is used, and run again",
        name = spec.secret.name,
        file = spec.file,
    )
}

/// Creates the directory of a secrets file if it does not exist. A role that wants another mode creates it beforehand.
pub(super) fn directory(spec: &SecretSpec) -> Script {
    Script::new(
        "set -eu
directory=${1%/*}
if [ -e \"$directory\" ] && [ ! -d \"$directory\" ]; then
  echo \"$directory is not a directory, but $1 must be created in it: move it away\" >&2
  exit 1
fi
go \"$2\" \"$1\" '' parents",
    )
    .using(WAY)
    .arg(spec.file.as_str())
    .arg(spec.access.owner.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// Returns whether `missing`, which another item needs, is a directory that [`directory`] creates.
pub(super) fn creates_directory(spec: &SecretSpec, missing: &Missing) -> bool {
    let mut above = Path::new(spec.file.as_str()).ancestors().skip(1);
    matches!(missing, Missing::Directory(path) if above.any(|directory| directory == Path::new(path.as_str())))
}

/// Returns the change that writes the secrets file anew, with owner, group and mode as declared, and a new value of the secret if `is_new`. That must be in
/// `values` before the script is sent. A new file, even for the mode alone: others may hold the old one open.
pub(super) fn persist(spec: &SecretSpec, is_new: bool, answers: &Answers, values: &mut SecretValues) -> Result<Change, String> {
    let file = current_file(spec, answers)?;
    let mut text = String::new();
    for (index, piece) in file.with(if is_new { std::slice::from_ref(&spec.secret) } else { &[] }).into_iter().enumerate() {
        match piece {
            EnvLine::Kept(line) => {
                // The line may hold other secrets, so it is sent as a token of its own.
                let kept = SecretId::FileLine { host: spec.secret.host.clone(), file: spec.file.to_string(), number: index + 1 };
                text.push_str(&kept.token(Encoding::Plain));
                values.insert(kept, Secret::new(line.expose().to_owned()));
            }
            EnvLine::Added(secret) => {
                let quotes = values.declared(&secret).and_then(|value| EnvFile::quotes(value.expose())).unwrap_or_default();
                text.push_str(&secret.name);
                text.push('=');
                text.push_str(quotes);
                text.push_str(&secret.token(Encoding::Plain));
                text.push_str(quotes);
            }
        }
        text.push('\n');
    }
    let put = Put { path: &spec.file, access: spec.access.clone(), follow: false, backup: Backup::None, validate: None };
    Ok(Change::new("make", put.script(text.into(), values)).diff(diff(spec, None)))
}

/// Returns the diff for a secret: the key, never the value.
pub(super) fn diff(spec: &SecretSpec, found: Option<StoredValue>) -> Diff {
    lines(spec, found).titled(spec.file.as_str())
}

fn lines(spec: &SecretSpec, found: Option<StoredValue>) -> Diff {
    let mut diff = Diff::none();
    let name = &spec.secret.name;
    if found == Some(StoredValue::Another) {
        diff.removed(format!("{name}=…"));
    }
    diff.added(match &spec.outside {
        Some(outside) => format!("{name}=‹{}›", outside.source.describe()),
        None => format!("{name}=‹{} new characters›", spec.length),
    });
    diff
}

/// Returns what is done about a secret and its file, if anything. `access_is_planned` says that an item before it makes owner, group and mode of the
/// file as declared.
pub(super) fn plan(spec: &SecretSpec, secrets: &Secrets, access_is_planned: bool) -> Option<Outcome> {
    let file = &spec.file;
    let found = secrets.provided(&spec.id());
    let value = match found {
        None => secrets.is_fresh(&spec.id()).then(|| format!("generate and write to {file}")),
        Some(StoredValue::TheSame) => None,
        Some(StoredValue::Nothing) => Some(format!("write to {file}")),
        Some(StoredValue::Another) => Some(format!("replace in {file}")),
    };
    let exposed = secrets.exposed.get(file).filter(|_| !access_is_planned);
    let summary = match (&value, exposed) {
        (None, None) => return None,
        (Some(value), None) => value.clone(),
        (None, Some(exposed)) => format!("{} of {file}", exposed.summary),
        (Some(value), Some(exposed)) => format!("{value}, {}", exposed.summary),
    };
    let mut diff = exposed.map_or_else(Diff::none, |exposed| exposed.diff.clone());
    if value.is_some() {
        diff.lines.extend(lines(spec, found).lines);
    }
    let warning = exposed.and_then(|exposed| exposed.warning.clone());
    Some(Outcome { diff: diff.titled(file.as_str()), warning, ..Outcome::new(Status::Changed, summary) })
}
