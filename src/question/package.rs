//! Which Debian packages are installed, in one `dpkg-query`.

use super::{Kind, Output, Turn, Unanswered};
use crate::script::Script;

/// What dpkg knows about a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Package {
    /// Not installed.
    Absent {
        /// Whether its configuration files still exist (dpkg's state `rc`); a purge would remove them.
        configuration: bool,
        /// Whether `apt-mark hold` keeps it from being installed.
        held: bool,
    },
    /// Installed and configured.
    Installed {
        /// Its full version, such as `6:8.2.3-1`.
        version: String,
        /// Whether `apt-mark hold` protects it from changes.
        held: bool,
    },
    /// Partly installed, because dpkg was interrupted or a maintainer script failed. `dpkg --configure -a` may finish the installation.
    Broken {
        /// Its version.
        version: String,
        /// dpkg's name for the state, such as `half-configured`.
        state: String,
    },
}

/// What to do about a database of dpkg's that cannot be read.
const INTERRUPTED: &str = "if dpkg was interrupted, `dpkg --configure -a` on the node finishes its work; /var/lib/dpkg/status-old is its database as it was before";

impl Kind for Package {
    type Key = String;
    type Answer = Self;
    const NAME: &'static str = "package";
    const TURN: Turn = Turn::Files;

    fn script(names: &[&String]) -> Script {
        // dpkg's fields contain neither tabs nor line breaks. Standard error is merged, because it names the packages that do not exist.
        Script::new(
            "dpkg-query -W -f '${Package}\\t${Architecture}\\t${Version}\\t${db:Status-Want}\\t${db:Status-Eflag}\\t${db:Status-Status}\\n' -- \"$@\" 2>&1",
        )
        .args(names.iter().map(|name| (*name).clone()))
    }

    fn read(names: &[&String], output: &Output) -> Vec<Result<Self, Unanswered>> {
        // Status 1 means that some names are not in dpkg's database, which is an answer.
        if !(0..=1).contains(&output.status) {
            let answers = output.unanswered("packages", names.len());
            return answers
                .into_iter()
                .map(|answer| answer.map_err(|Unanswered(why)| Unanswered(format!("{why}; {INTERRUPTED}"))))
                .collect();
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let rows: Vec<[&str; 6]> = text.lines().filter_map(row).collect();
        if let Some(error) = text.lines().find(|line| line.starts_with("dpkg-query: error")) {
            return names
                .iter()
                .map(|_| Err(Unanswered(format!("asking for packages failed: {error}; {INTERRUPTED}"))))
                .collect();
        }
        names.iter().map(|name| Ok(Self::for_name(name, &rows))).collect()
    }
}

impl Package {
    fn for_name(name: &str, rows: &[[&str; 6]]) -> Self {
        let (bare, architecture) = name.split_once(':').map_or((name, None), |(bare, architecture)| (bare, Some(architecture)));
        let mut found = Self::Absent { configuration: false, held: false };
        // A name may have a row for each architecture; an installed one takes precedence.
        for [package, row_architecture, version, want, flag, status] in rows {
            if *package != bare || architecture.is_some_and(|wanted| wanted != *row_architecture) {
                continue;
            }
            let state = Self::from_row(version, want, flag, status);
            if !matches!(state, Self::Absent { configuration: false, held: false }) && !matches!(found, Self::Installed { .. }) {
                found = state;
            }
        }
        found
    }

    fn from_row(version: &str, want: &str, flag: &str, status: &str) -> Self {
        match status {
            "not-installed" => Self::Absent { configuration: false, held: want == "hold" },
            "config-files" => Self::Absent { configuration: true, held: want == "hold" },
            // Pending triggers concern other packages; the package itself works.
            "installed" | "triggers-pending" | "triggers-awaited" if flag == "ok" => {
                Self::Installed { version: version.to_owned(), held: want == "hold" }
            }
            _ => Self::Broken { version: version.to_owned(), state: if flag == "ok" { status } else { flag }.to_owned() },
        }
    }
}

fn row(line: &str) -> Option<[&str; 6]> {
    line.split('\t').collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Questions, resource::trial};

    fn read(names: &[&str], status: i32, stdout: &str) -> Vec<Result<Package, Unanswered>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Package::read(&names.iter().collect::<Vec<_>>(), &Output { status, stdout: stdout.into() })
    }

    #[test]
    fn every_dpkg_state_has_an_answer() {
        let answers = read(
            &["redis", "gone", "kept", "half", "never", "reinst"],
            1,
            "dpkg-query: no packages found matching never\n\
             redis\tamd64\t6:8.2.3-1\thold\tok\tinstalled\n\
             gone\tamd64\t\tunknown\tok\tnot-installed\n\
             kept\tall\t1.0\tdeinstall\tok\tconfig-files\n\
             half\tall\t1.0\tinstall\tok\thalf-configured\n\
             reinst\tall\t1.0\tinstall\treinstreq\tinstalled\n",
        );
        let broken = |state: &str| Ok(Package::Broken { version: "1.0".into(), state: state.into() });
        assert_eq!(answers[0], Ok(Package::Installed { version: "6:8.2.3-1".into(), held: true }));
        assert_eq!(answers[1], Ok(Package::Absent { configuration: false, held: false }));
        assert_eq!(answers[2], Ok(Package::Absent { configuration: true, held: false }));
        assert_eq!(answers[3], broken("half-configured"));
        assert_eq!(answers[4], Ok(Package::Absent { configuration: false, held: false }));
        assert_eq!(answers[5], broken("reinstreq"));
    }

    #[test]
    fn a_foreign_architecture_is_a_different_package() {
        let rows = "libc6\tamd64\t2\tinstall\tok\tinstalled\nlibc6\ti386\t1\tdeinstall\tok\tconfig-files\n";
        let answers = read(&["libc6", "libc6:i386"], 0, rows);
        assert_eq!(answers[0], Ok(Package::Installed { version: "2".into(), held: false }));
        assert_eq!(answers[1], Ok(Package::Absent { configuration: true, held: false }));
    }

    #[test]
    fn a_database_that_cannot_be_read_is_no_answer() {
        let answers = read(&["redis"], 1, "dpkg-query: error: reading package info file '/var/lib/dpkg/updates/0000': Invalid\n");
        assert!(
            answers[0].as_ref().unwrap_err().0.contains("0000': Invalid; if dpkg was interrupted, `dpkg --configure -a`"),
            "{answers:?}"
        );
        let answers = read(&["redis"], 2, "dpkg-query: error: parsing file '/var/lib/dpkg/status' near line 1\n");
        assert!(answers[0].as_ref().unwrap_err().0.contains("near line 1"), "{answers:?}");
    }

    #[test]
    fn the_real_dpkg_answers_for_all_names_at_once() {
        let mut questions = Questions::default();
        for name in ["dash", "autobot-no-such-package", "coreutils"] {
            questions.ask::<Package>(name.to_owned());
        }
        let composed = questions.compose("f00d").unwrap();
        let done = trial::run(&Script::new("eval \"$1\"").arg(composed.script()), std::path::Path::new("/nonexistent"));
        let answers = composed.read(&done.stdout);
        assert!(matches!(answers.get::<Package>(&"dash".into()), Ok(Package::Installed { .. })));
        assert!(matches!(answers.get::<Package>(&"coreutils".into()), Ok(Package::Installed { .. })));
        assert_eq!(
            answers.get::<Package>(&"autobot-no-such-package".into()),
            Ok(&Package::Absent { configuration: false, held: false })
        );
    }
}
