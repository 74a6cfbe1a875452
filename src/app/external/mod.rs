//! Fetches the values of a plan's external secrets, before the first connection. Each source is read once, even if several hosts use it, and the
//! values are kept in memory only.

mod family;
mod program;
mod value;

pub use program::read_password;

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    controller::Controller,
    engine::redact,
    event::Purpose,
    outside::{ExternalValue, Source},
    plan::{HostPlan, Plan},
    secret::{ProvidedValues, Secret, SecretId, SecretValues, generate},
    source::{Diagnostic, Diagnostics, Trust, Vaulted, open_regular},
    template::is_template,
    vault::{self, Keyring},
};

/// A shorter value cannot be distinguished from ordinary words in the output of nodes.
const MIN_LENGTH: usize = 8;

/// Where values come from.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The directory of the project, in which programs run and relative paths start.
    pub project: &'a Path,
    /// The passwords of Ansible Vault.
    pub keys: &'a Keyring,
    /// The machine whose files, variables and programs these are.
    pub controller: &'a Controller,
}

impl Here<'_> {
    /// Returns the path on this machine.
    fn local(&self, path: &str) -> PathBuf {
        // Joining an absolute path replaces the project directory.
        self.project.join(self.controller.expand(Path::new(path)))
    }
}

/// A source and the secrets that use its value.
struct Job {
    outside: ExternalValue,
    /// Whether the value is a line of a secrets file.
    is_line: bool,
    users: Vec<SecretId>,
}

/// Fetches all external values that a run with this purpose needs. Returns them with warnings.
///
/// A deploy and a check need all values. A health run compares with the secrets files of the nodes, so that it needs only the values that Ansible
/// Vault encrypted and a health check uses. A stranger's roles get none.
///
/// # Errors
/// Returns an error for every source without a usable value. No node has been contacted.
pub async fn fetch(plan: &Plan, purpose: Purpose, here: Here<'_>) -> Result<(ProvidedValues, Vec<Diagnostic>), Diagnostics> {
    let jobs = jobs(plan, purpose);
    let (mut errors, mut warnings) = (Diagnostics::default(), Vec::new());
    let mut known = SecretValues::default();
    let mut values = Vec::new();
    for job in &jobs {
        match job.value(here, &known).await {
            Ok(value) => {
                errors.extend(forbidden(plan, job, &value));
                warnings.extend(job.warnings(here, &value));
                for secret in &job.users {
                    known.insert(secret.clone(), value.clone());
                    values.push((secret.clone(), value.clone()));
                }
            }
            Err(diagnostic) => errors.push(diagnostic.at(job.outside.span.clone())),
        }
    }
    errors.into_result((for_hosts(plan, values), warnings))
}

/// Returns the value of one source for a use outside the plan's roles, such as the password for sudo. Errors name it by `secret`.
///
/// # Errors
/// The source returns no value, or a value that is not a single line.
pub async fn fetch_one(outside: &ExternalValue, secret: SecretId, here: Here<'_>) -> Result<Secret, Diagnostic> {
    let job = Job { outside: outside.clone(), is_line: false, users: vec![secret] };
    let placed = |diagnostic: Diagnostic| diagnostic.at(outside.span.clone());
    let value = job.value(here, &SecretValues::default()).await.map_err(placed)?;
    value::one_line(value).map_err(|invalid| placed(job.invalid(invalid)))
}

/// Returns an error if the value contains a character that one of its users does not allow.
fn forbidden(plan: &Plan, job: &Job, value: &Secret) -> Diagnostics {
    let specs = plan.hosts.iter().flat_map(|host| host.secrets.iter().chain(&host.borrowed));
    let spec = specs
        .filter(|spec| job.users.contains(&spec.id()))
        .find(|spec| value.expose().contains(|character| spec.without.contains(character)));
    let error = spec.map(|spec| {
        let characters: Vec<String> = spec.without.chars().map(|character| format!("`{character}`")).collect();
        let title = format!(
            "the value of the secret `{}` contains a character that is not allowed here: {}",
            spec.secret.name,
            characters.join(" ")
        );
        Diagnostic::error(title)
            .at(job.outside.span.clone())
            .help("the program that reads the value does not accept these characters; choose another value")
    });
    Diagnostics(error.into_iter().collect())
}

/// Generated replacements for external values, for rehearsals: the real values must not be on copies of nodes.
#[derive(Debug, Default)]
pub struct StandIns(Vec<(Source, Secret)>);

impl StandIns {
    /// Returns a generated value for every external secret. A source always gets the same value.
    ///
    /// # Errors
    /// Returns an error when the operating system provides no random numbers.
    pub fn values(&mut self, plan: &Plan) -> anyhow::Result<ProvidedValues> {
        let mut values = Vec::new();
        for job in jobs(plan, Purpose::APPLY) {
            let known = self.0.iter().find(|(source, _)| *source == job.outside.source).map(|(_, value)| value.clone());
            let value = if let Some(value) = known {
                value
            } else {
                let value = generate(32)?;
                self.0.push((job.outside.source, value.clone()));
                value
            };
            values.extend(job.users.into_iter().map(|secret| (secret, value.clone())));
        }
        Ok(for_hosts(plan, values))
    }
}

fn for_hosts(plan: &Plan, values: Vec<(SecretId, Secret)>) -> ProvidedValues {
    let mut provided = ProvidedValues::default();
    for (secret, value) in values {
        let needs = |host: &&HostPlan| host.name == secret.host() || host.borrowed.iter().any(|spec| secret == spec.secret);
        for host in plan.hosts.iter().filter(needs) {
            provided.insert(&host.name, secret.clone(), value.clone());
        }
    }
    provided
}

fn jobs(plan: &Plan, purpose: Purpose) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut add = |outside: &ExternalValue, is_line: bool, secret: &SecretId| match jobs
        .iter_mut()
        .find(|job| job.is_line == is_line && job.outside.source == outside.source)
    {
        Some(job) => job.users.push(secret.clone()),
        None => jobs.push(Job { outside: outside.clone(), is_line, users: vec![secret.clone()] }),
    };
    for host in plan.hosts.iter().filter(|host| host.trust == Trust::Own) {
        match purpose {
            Purpose::Deploy { .. } => {
                for spec in host.secrets.iter().chain(&host.borrowed) {
                    if let Some(outside) = &spec.outside {
                        add(outside, true, &spec.id());
                    }
                }
                host.vaulted.iter().for_each(|(secret, outside)| add(outside, false, secret));
            }
            Purpose::Health { .. } => {
                let used = host.used_by_health();
                let needed = host.vaulted.iter().filter(|(secret, _)| used.contains(secret));
                needed.for_each(|(secret, outside)| add(outside, false, secret));
            }
        }
    }
    jobs
}

impl Job {
    /// Formats the secrets of the job: `NAME` of `host`, `host`.
    fn secrets(&self) -> String {
        let mut names: Vec<String> = self.users.iter().map(ToString::to_string).collect();
        names.dedup();
        let mut hosts: Vec<&str> = self.users.iter().map(SecretId::host).collect();
        hosts.dedup();
        format!("`{}` of `{}`", names.join("`, `"), hosts.join("`, `"))
    }

    fn no_value(&self, why: &str) -> Diagnostic {
        Diagnostic::error(format!("no value for {} from {}: {why}", self.secrets(), self.outside.source.describe()))
    }

    fn invalid(&self, invalid: value::InvalidValue) -> Diagnostic {
        let diagnostic = self.no_value(&invalid.to_string());
        match invalid.remedy() {
            Some(remedy) => diagnostic.help(remedy),
            None => diagnostic,
        }
    }

    async fn value(&self, here: Here<'_>, known: &SecretValues) -> Result<Secret, Diagnostic> {
        let error = |why: &str| self.no_value(why);
        let invalid = |invalid: value::InvalidValue| self.invalid(invalid);
        let open = |text: &str| here.keys.open(text).map_err(|problem| error(&problem.to_string()).help(problem.remedy()));
        let text = match &self.outside.source {
            Source::Env(name) => {
                use std::os::unix::ffi::OsStrExt as _;
                let set = here.controller.variable(name).ok_or_else(|| {
                    error("it is not set").help(format!("set it for this run, such as with `read -rs {name} && export {name}`"))
                })?;
                value::text(set.as_bytes()).map_err(invalid)?
            }
            Source::File(path) => {
                let bytes = read(&here.local(path)).map_err(|problem| {
                    error(&problem.to_string())
                        .help("the path is on this machine; a relative path starts at the project directory")
                })?;
                let text = value::text(&bytes).map_err(invalid)?;
                if vault::is_encrypted(text.expose()) { open(text.expose())? } else { text }
            }
            Source::Command(command) => match program::output(command, here, here.controller.limits.program).await {
                Ok(bytes) => value::text(&bytes).map_err(invalid)?,
                Err(failure) => {
                    let output = masked(&failure, known);
                    let output = if output.is_empty() {
                        "it printed nothing on standard error".to_owned()
                    } else {
                        format!("it printed: {output}")
                    };
                    return Err(error(&failure.reason).help(output));
                }
            },
            Source::Vaulted(Vaulted::Decrypted(text)) => text.clone(),
            Source::Vaulted(Vaulted::Encrypted(text)) => {
                let text = open(text)?;
                if is_template(text.expose()) {
                    let help = "Ansible would render it; encrypt only the secret, or put it, tagged `!unsafe`, into a file that is encrypted as a whole";
                    return Err(error("the encrypted value is a template").help(help));
                }
                text
            }
        };
        if self.is_line { value::line(text).map_err(invalid) } else { value::checked(text).map_err(invalid) }
    }

    fn warnings(&self, here: Here<'_>, value: &Secret) -> Vec<Diagnostic> {
        let warning = |text: String| Diagnostic::warning(text).at(self.outside.span.clone());
        let mut warnings = Vec::new();
        if value.expose().chars().count() < MIN_LENGTH {
            let text = format!("the value of {} is shorter than {MIN_LENGTH} characters", self.secrets());
            warnings.push(
                warning(text).help("it is easy to guess, and cannot be distinguished from ordinary words in the output of nodes"),
            );
        }
        if let Source::File(path) = &self.outside.source
            && let Ok(metadata) = std::fs::metadata(here.local(path))
            && metadata.permissions().mode() & 0o007 != 0
        {
            let text = format!("the file `{path}` is accessible to all users of this machine");
            warnings.push(warning(text).help(format!("`chmod o= {path}`")));
        }
        warnings
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut bytes = Zeroizing::new(Vec::with_capacity(value::LONGEST + 1));
    open_regular(path)?.take(value::LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the last lines of a program's standard error, without its standard output, secrets and control characters.
fn masked(failure: &program::ProgramFailure, known: &SecretValues) -> String {
    const LINES: usize = 5;
    let mut known = known.clone();
    let printed = String::from_utf8_lossy(&failure.stdout);
    for (number, line) in printed.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let name = if number == 0 { "what it printed".to_owned() } else { format!("what it printed {number}") };
        known.hide(name, Secret::new(line.to_owned()));
    }
    let output = redact(&String::from_utf8_lossy(&failure.stderr), &known);
    let output: String =
        output.chars().map(|character| if character.is_control() && character != '\n' { ' ' } else { character }).collect();
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests;
