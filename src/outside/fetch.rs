//! Fetches the values of a plan's secrets, each source once, whoever uses it.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{Outside, Source, program, value};
use crate::{
    engine::redact,
    event::Mode,
    plan::{HostPlan, Plan},
    secret::{Secret, SecretRef, SecretValues, generate},
    source::{Diagnostic, Diagnostics, Vaulted, home},
    template::is_template,
    vault::{self, Keyring},
};

/// How long a program may take; somebody may have to touch a key or type a PIN meanwhile.
const LIMIT: Duration = Duration::from_mins(1);
/// A shorter value is not told from other words in what nodes print.
const SHORT: usize = 8;

/// A source and the secrets that it gives.
struct Job {
    outside: Outside,
    /// Whether the value is a line of a secrets file.
    is_line: bool,
    users: Vec<SecretRef>,
}

/// Fetches all values that a run in this mode needs from outside, and puts them into the plan. What looks wrong but is none of it an error.
///
/// A deploy and its check need all. Health looks at what was deployed, so the secrets files of the nodes say what is right; what Ansible Vault
/// encrypted is decrypted where a check uses it.
///
/// # Errors
/// Every source that gives no value, or none that can be used. Nothing was contacted.
pub async fn fetch(plan: &mut Plan, mode: Mode, project: &Path, keys: &Keyring) -> Result<Vec<Diagnostic>, Diagnostics> {
    let jobs = jobs(plan, mode);
    let (mut wrong, mut warnings) = (Diagnostics::default(), Vec::new());
    let mut known = SecretValues::default();
    let mut values = Vec::new();
    for job in &jobs {
        match job.value(project, keys, &known).await {
            Ok(value) => {
                wrong.extend(forbidden(plan, job, &value));
                warnings.extend(job.warnings(project, &value));
                for secret in &job.users {
                    known.insert(secret.clone(), value.clone());
                    values.push((secret.clone(), value.clone()));
                }
            }
            Err(diagnostic) => wrong.push(diagnostic.at(job.outside.place.clone())),
        }
    }
    give(plan, values);
    wrong.into_result(warnings)
}

/// The value of one source, for a use outside of the plan's roles: the password for sudo, whose `secret` names it in errors.
///
/// # Errors
/// The source gives no value, or none that is a single line.
pub async fn fetch_one(outside: &Outside, secret: SecretRef, project: &Path, keys: &Keyring) -> Result<Secret, Diagnostic> {
    let job = Job { outside: outside.clone(), is_line: false, users: vec![secret] };
    let wrong = |diagnostic: Diagnostic| diagnostic.at(outside.place.clone());
    let value = job.value(project, keys, &SecretValues::default()).await.map_err(wrong)?;
    value::one_line(value).map_err(|unfit| wrong(job.unfit(unfit)))
}

/// Signs in a value that one of its users could not be told.
fn forbidden(plan: &Plan, job: &Job, value: &Secret) -> Diagnostics {
    let specs = plan.hosts.iter().flat_map(|host| host.secrets.iter().chain(&host.borrowed));
    let spec = specs
        .filter(|spec| job.users.contains(&spec.secret))
        .find(|spec| value.expose().contains(|sign| spec.without.contains(sign)));
    let wrong = spec.map(|spec| {
        let signs: Vec<String> = spec.without.chars().map(|sign| format!("`{sign}`")).collect();
        let title =
            format!("the value of the secret `{}` holds one of the signs that it may not: {}", spec.secret.name, signs.join(" "));
        Diagnostic::error(title).at(job.outside.place.clone()).help("what reads it cannot be told these; take another value")
    });
    Diagnostics(wrong.into_iter().collect())
}

/// Stand-ins for the values from outside, for rehearsals: the real ones have no business on copies.
#[derive(Default)]
pub struct StandIns(Vec<(Source, Secret)>);

impl StandIns {
    /// Gives every secret from outside a value that was made up, the same for the same source each time.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn give(&mut self, plan: &mut Plan) -> anyhow::Result<()> {
        let mut values = Vec::new();
        for job in jobs(plan, Mode::Apply) {
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
        give(plan, values);
        Ok(())
    }
}

fn give(plan: &mut Plan, values: Vec<(SecretRef, Secret)>) {
    for (secret, value) in values {
        let needs = |host: &HostPlan| host.name == secret.host || host.borrowed.iter().any(|spec| spec.secret == secret);
        for host in plan.hosts.iter_mut().filter(|host| needs(host)) {
            host.given.insert(secret.clone(), value.clone());
        }
    }
}

fn jobs(plan: &Plan, mode: Mode) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut add = |outside: &Outside, is_line: bool, secret: &SecretRef| match jobs
        .iter_mut()
        .find(|job| job.is_line == is_line && job.outside.source == outside.source)
    {
        Some(job) => job.users.push(secret.clone()),
        None => jobs.push(Job { outside: outside.clone(), is_line, users: vec![secret.clone()] }),
    };
    for host in &plan.hosts {
        match mode {
            Mode::Check | Mode::Apply => {
                for spec in host.secrets.iter().chain(&host.borrowed) {
                    if let Some(outside) = &spec.outside {
                        add(outside, true, &spec.secret);
                    }
                }
                host.vaulted.iter().for_each(|(secret, outside)| add(outside, false, secret));
            }
            Mode::Health | Mode::Exercise => {
                let used = host.used_by_health();
                let needed = host.vaulted.iter().filter(|(secret, _)| used.contains(secret));
                needed.for_each(|(secret, outside)| add(outside, false, secret));
            }
        }
    }
    jobs
}

impl Job {
    /// `NAME` of `host, host`.
    fn secrets(&self) -> String {
        let mut names: Vec<&str> = self.users.iter().map(|secret| secret.name.as_str()).collect();
        names.dedup();
        let mut hosts: Vec<&str> = self.users.iter().map(|secret| secret.host.as_str()).collect();
        hosts.dedup();
        format!("`{}` of `{}`", names.join("`, `"), hosts.join("`, `"))
    }

    fn no_value(&self, why: &str) -> Diagnostic {
        Diagnostic::error(format!("no value for {} from {}: {why}", self.secrets(), self.outside.source.shown()))
    }

    fn unfit(&self, unfit: value::Unfit) -> Diagnostic {
        let diagnostic = self.no_value(&unfit.to_string());
        match unfit.remedy() {
            Some(remedy) => diagnostic.help(remedy),
            None => diagnostic,
        }
    }

    async fn value(&self, project: &Path, keys: &Keyring, known: &SecretValues) -> Result<Secret, Diagnostic> {
        let wrong = |why: &str| self.no_value(why);
        let unfit = |unfit: value::Unfit| self.unfit(unfit);
        let open = |text: &str| keys.open(text).map_err(|error| wrong(&error.to_string()).help(error.remedy()));
        let text = match &self.outside.source {
            Source::Env(name) => {
                use std::os::unix::ffi::OsStringExt as _;
                let set = std::env::var_os(name).ok_or_else(|| {
                    wrong("it is not set").help(format!("set it for this run, such as with `read -rs {name} && export {name}`"))
                })?;
                value::text(&Zeroizing::new(set.into_vec())).map_err(unfit)?
            }
            Source::File(path) => {
                let bytes = read(&local(path, project)).map_err(|error| {
                    wrong(&error.to_string()).help("the file is one of this machine; a relative path begins at the project")
                })?;
                let text = value::text(&bytes).map_err(unfit)?;
                if vault::is_encrypted(text.expose()) { open(text.expose())? } else { text }
            }
            Source::Command(command) => match program::output(command, project, LIMIT).await {
                Ok(bytes) => value::text(&bytes).map_err(unfit)?,
                Err(silent) => {
                    let said = masked(&silent, known);
                    let said =
                        if said.is_empty() { "it said nothing on standard error".to_owned() } else { format!("it said: {said}") };
                    return Err(wrong(&silent.why).help(said));
                }
            },
            Source::Vaulted(Vaulted::Opened(text)) => text.clone(),
            Source::Vaulted(Vaulted::Sealed(text)) => {
                let text = open(text)?;
                if is_template(text.expose()) {
                    let help = "Ansible would render it; encrypt the secret alone, or put it, tagged `!unsafe`, into a file that is encrypted as a whole";
                    return Err(wrong("what was encrypted is a template").help(help));
                }
                text
            }
        };
        if self.is_line { value::line(text).map_err(unfit) } else { value::checked(text).map_err(unfit) }
    }

    fn warnings(&self, project: &Path, value: &Secret) -> Vec<Diagnostic> {
        let warning = |text: String| Diagnostic::warning(text).at(self.outside.place.clone());
        let mut warnings = Vec::new();
        if value.expose().chars().count() < SHORT {
            let text = format!("the value of {} is shorter than {SHORT} characters", self.secrets());
            warnings.push(warning(text).help("it is soon guessed, and cannot be told from other words in what nodes print"));
        }
        if let Source::File(path) = &self.outside.source
            && let Ok(metadata) = std::fs::metadata(local(path, project))
            && metadata.permissions().mode() & 0o007 != 0
        {
            let text = format!("the file `{path}` is open to everybody on this machine");
            warnings.push(warning(text).help(format!("`chmod o= {path}`")));
        }
        warnings
    }
}

/// A path of this machine.
fn local(path: &str, project: &Path) -> PathBuf {
    // Joined with an absolute path, the project counts for nothing.
    project.join(home(Path::new(path)))
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut bytes = Zeroizing::new(Vec::with_capacity(value::LONGEST + 1));
    std::fs::File::open(path)?.take(value::LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a program said on standard error: its last lines, without anything that it printed, secrets or control characters.
fn masked(silent: &program::Silent, known: &SecretValues) -> String {
    const LINES: usize = 5;
    let mut known = known.clone();
    let printed = String::from_utf8_lossy(&silent.printed);
    for (number, line) in printed.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let name = if number == 0 { "what it printed".to_owned() } else { format!("what it printed {number}") };
        known.insert(SecretRef { host: String::new(), name }, Secret::new(line.to_owned()));
    }
    let said = redact(&String::from_utf8_lossy(&silent.said), &known);
    let said: String = said.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter }).collect();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
