//! The secrets of one host in one run: which exist, which are yet to be made, and what stands in the way.

use std::collections::{HashMap, HashSet};

use super::lending::{Found, Shelf};
use crate::{
    plan::{HostPlan, SecretSpec},
    question::{
        Answers,
        path::{Entry, Look, PathState},
    },
    resource::{
        Change, Diff,
        put::{Backup, Put},
    },
    secret::{Encoding, EnvFile, Piece, Secret, SecretRef, SecretValues},
};

/// What is known of a host's secrets.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// The values that exist on the node.
    pub(super) values: SecretValues,
    /// Secrets whose file is there but cannot be trusted, and why.
    problems: HashMap<SecretRef, String>,
    /// Secrets that did not exist when the run began.
    fresh: HashSet<SecretRef>,
    /// In a check: secrets of other hosts that the deploy would make there first.
    coming: HashSet<SecretRef>,
}

impl Secrets {
    /// Reads the secrets' files from the answers.
    pub(super) fn read<'a>(specs: impl IntoIterator<Item = &'a SecretSpec>, answers: &Answers) -> Self {
        let mut secrets = Self::default();
        for spec in specs {
            match current_file(spec, answers) {
                Ok(file) => match file.get(&spec.secret.name) {
                    Some(value) => secrets.values.insert(spec.secret.clone(), value.clone()),
                    None => {
                        secrets.fresh.insert(spec.secret.clone());
                    }
                },
                Err(problem) => {
                    secrets.problems.insert(spec.secret.clone(), problem);
                }
            }
        }
        secrets
    }

    /// All that is known of the secrets of a host and of those that it reads from others.
    pub(super) fn known(host: &HostPlan, shelf: &Shelf, answers: &Answers) -> Self {
        let mut secrets = Self::read(host.secrets.iter().chain(&host.lent), answers);
        secrets.borrow(&host.borrowed, shelf);
        secrets
    }

    /// Adds what is known of other hosts' secrets.
    fn borrow(&mut self, specs: &[SecretSpec], shelf: &Shelf) {
        for spec in specs {
            let secret = spec.secret.clone();
            match shelf.get(&secret) {
                Some(Found::Value(value)) => self.values.insert(secret, value.clone()),
                Some(Found::Coming) => {
                    self.coming.insert(secret);
                }
                Some(Found::Missing(why)) => {
                    self.problems.insert(secret, why.clone());
                }
                None => {
                    let why = format!("`{}` lives on `{}`, of which nothing is known", secret.name, secret.host);
                    self.problems.insert(secret, why);
                }
            }
        }
    }

    /// Whether the secret is another host's, and would be made there first.
    pub(super) fn is_coming(&self, secret: &SecretRef) -> bool {
        self.coming.contains(secret)
    }

    /// Why a secret cannot be used at all.
    pub(super) fn problem(&self, secret: &SecretRef) -> Option<&str> {
        self.problems.get(secret).map(String::as_str)
    }

    /// Whether the secret did not exist when the run began.
    pub(super) fn is_fresh(&self, secret: &SecretRef) -> bool {
        self.fresh.contains(secret)
    }
}

/// The secrets file as it stands; empty when it is not there.
fn current_file(spec: &SecretSpec, answers: &Answers) -> Result<EnvFile, String> {
    let file = &spec.file;
    match &answers.get::<PathState>(&Look::content(file)).map_err(|error| error.to_string())?.entry {
        Entry::Absent => Ok(EnvFile::default()),
        Entry::File(found) => {
            let content = found.content.as_deref().ok_or_else(|| format!("`{file}` is too large to be a secrets file"))?;
            EnvFile::parse(content).map_err(|error| {
                format!("`{file}` cannot be trusted: {error}; repair it or restore it from a backup, nothing was changed")
            })
        }
        Entry::Directory(_) | Entry::Link(_) | Entry::Other(_) => Err(format!("`{file}` is not a regular file")),
    }
}

/// Why a secret that is not in its file may not simply be made anew.
pub(super) fn lost(spec: &SecretSpec) -> String {
    format!(
        "`{name}` is not in `{file}`, but what it protects already exists: a new value would lock its users out\n\
         either restore `{file}` from a backup,\n\
         or rotate: write `{name}=<new value>` into `{file}`, set it where it is used, and run again",
        name = spec.secret.name,
        file = spec.file,
    )
}

/// What it takes to put a new secret into its file. The value must be in `values` before the script is sent.
pub(super) fn persist(spec: &SecretSpec, answers: &Answers, values: &mut SecretValues) -> Result<Change, String> {
    let file = current_file(spec, answers)?;
    let mut text = String::new();
    for (index, piece) in file.with(std::slice::from_ref(&spec.secret)).into_iter().enumerate() {
        match piece {
            Piece::Kept(line) => {
                // Other people's secrets: the line travels as a token of its own.
                let kept = SecretRef { host: spec.secret.host.clone(), name: format!("line {} of {}", index + 1, spec.file) };
                text.push_str(&kept.token(Encoding::Plain));
                values.insert(kept, Secret::new(line.expose().to_owned()));
            }
            Piece::Added(secret) => {
                text.push_str(&secret.name);
                text.push('=');
                text.push_str(&secret.token(Encoding::Plain));
            }
        }
        text.push('\n');
    }
    let put = Put { path: &spec.file, access: spec.access.clone(), follow: false, backup: Backup::None, validate: None };
    Ok(Change::new("make", put.script(text.into(), values)).diff(diff(spec)))
}

/// What people see of it.
pub(super) fn diff(spec: &SecretSpec) -> Diff {
    let mut diff = Diff::none();
    diff.added(format!("{}=‹{} new characters›", spec.secret.name, spec.length));
    diff.titled(spec.file.as_str())
}
