//! The machine that this program runs on, as the library sees it: a value that is passed in. Only the command line reads the process's own
//! environment; `tests/tidy/surroundings.rs` holds that.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long what a project brings may take on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One call of an inventory program, and a program that prints a secret. It may wait for the operator to touch a security key.
    pub program: Duration,
    /// The rendering of one template or expression.
    pub rendering: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { program: Duration::from_mins(1), rendering: Duration::from_secs(5) }
    }
}

/// The surroundings of a run on the operator's machine. The default has no variables and no home directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Controller {
    /// The variables of the environment. The programs that are run here get these and no others.
    pub variables: BTreeMap<OsString, OsString>,
    /// The names of variables that hold secrets: no program gets them.
    pub withheld: BTreeSet<OsString>,
    /// The operator's home directory.
    pub home: Option<PathBuf>,
    /// Where relative paths of programs start, and where programs are run.
    pub working_directory: PathBuf,
    /// Where temporary files are made.
    pub temporary: PathBuf,
    /// This program, which renders what could take long in a process of its own.
    pub renderer: PathBuf,
    /// How long what a project brings may take.
    pub limits: Limits,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            variables: BTreeMap::new(),
            withheld: BTreeSet::new(),
            home: None,
            working_directory: ".".into(),
            temporary: "/tmp".into(),
            // Also after the file was replaced by a newer one.
            renderer: "/proc/self/exe".into(),
            limits: Limits::default(),
        }
    }
}

// Variables may hold secrets, so they stay out of debug output.
impl fmt::Debug for Controller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Controller").field("working_directory", &self.working_directory).finish_non_exhaustive()
    }
}

impl Controller {
    /// Returns the value of a variable of the environment.
    #[must_use]
    pub fn variable(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.variables.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// Expands a leading `~` of a path on this machine to the operator's home directory, as Ansible and a shell do.
    #[must_use]
    pub fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            (Ok(_) | Err(_), Some(_) | None) => path.to_owned(),
        }
    }

    /// Returns a program's path as a path that is never searched in `PATH`.
    #[must_use]
    pub fn program(&self, path: &Path) -> PathBuf {
        self.working_directory.join(path)
    }

    /// Returns a command that runs here, with these variables only. A bare name is searched in the `PATH` among them.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let given = self.variables.iter().filter(|(name, _)| !self.withheld.contains(*name));
        command.env_clear().envs(given).current_dir(&self.working_directory);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_is_the_home_directory() {
        let controller = Controller { home: Some("/home/ann".into()), ..Controller::default() };
        assert_eq!(controller.expand(Path::new("~/.key")), Path::new("/home/ann/.key"));
        assert_eq!(controller.expand(Path::new("a/~/b")), Path::new("a/~/b"));
        assert_eq!(Controller::default().expand(Path::new("~/.key")), Path::new("~/.key"));
    }

    #[test]
    fn a_program_gets_the_given_variables_and_nothing_of_this_process() {
        let variables = BTreeMap::from([("GIVEN".into(), "yes".into())]);
        let controller = Controller { variables, ..Controller::default() };
        let output = controller.command("/usr/bin/env").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "GIVEN=yes\n");
    }

    #[test]
    fn a_program_gets_no_variable_that_holds_a_secret() {
        let variables = BTreeMap::from([("GIVEN".into(), "yes".into()), ("SECRET".into(), "hidden-value".into())]);
        let controller = Controller { variables, withheld: BTreeSet::from(["SECRET".into()]), ..Controller::default() };
        let output = controller.command("/usr/bin/env").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "GIVEN=yes\n");
        assert_eq!(controller.variable("SECRET"), Some(OsStr::new("hidden-value")));
    }

    #[test]
    fn a_bare_name_is_searched_in_the_given_path_alone() {
        let variables = BTreeMap::from([("PATH".into(), "/nowhere".into())]);
        let controller = Controller { variables, ..Controller::default() };
        assert!(controller.command("env").output().is_err(), "found in this process's own PATH");
    }

    #[test]
    fn variables_stay_out_of_debug_output() {
        let variables = BTreeMap::from([("TOKEN".into(), "hidden-value".into())]);
        let controller = Controller { variables, ..Controller::default() };
        assert!(!format!("{controller:?}").contains("hidden-value"));
    }
}
