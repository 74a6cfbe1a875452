//! The account with which this run has logged in: what must stay as it is for the next run to get in.
//!
//! Beside a local connection there is no such account, see [`logged_in`].

use super::{
    Answers, Kind, Output, Turn, Unanswered,
    account::{LOOK_UP, UserEntry, user},
    connection::OwnConnection,
};
use crate::script::Script;

/// Marker for the kind "the account of this run".
#[derive(Debug)]
pub enum OwnAccount {}

/// The account with which a run has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Its name.
    pub name: String,
    /// Its entry, with the names of its groups.
    pub entry: UserEntry,
    /// Those of its groups, the primary one among them, that sudo's or sshd's files name: it may get in, or become root, by one of them.
    pub named_groups: Vec<String>,
}

impl LoggedIn {
    /// Whether it is a member of the group, which may be its primary one.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.entry.group.as_deref() == Some(group) || self.entry.groups.iter().any(|own| own == group)
    }
}

/// Returns the account with which this run has logged in; `None` when it is on the node itself, where there is no way in to lose.
///
/// # Errors
/// When it is not known. Asked for must be both [`OwnAccount`] and [`OwnConnection`].
pub fn logged_in(answers: &Answers) -> Result<Option<&LoggedIn>, Unanswered> {
    match answers.get::<OwnConnection>(&())? {
        None => Ok(None),
        Some(_) => answers.get::<OwnAccount>(&()).map(Some),
    }
}

/// sudo tells the shell that it starts who has called it; without sudo the shell is the login's own. The last part prints the words after each `%` of
/// sudo's files, and the lines of sshd's about groups.
const SCRIPT: &str = r#"account=${SUDO_USER:-$(id -un)}
# Another kind asks for these, and takes them from here.
newline='
'
entries=$(look_up passwd -- "$account" $users) || { unset entries; return 1; }
case $entries in "$account:"*) printf '%s\n' "${entries%%"$newline"*}" ;; *) look_up passwd -- "$account" || return 1 ;; esac
printf '\0'
id -Gn -- "$account"
printf '\0'
grep -hosiE '%[a-z0-9_.-]+|^[[:space:]]*(allow|deny)groups[[:space:]=].*' /etc/sudoers /etc/sudoers.d/* /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf
return 0"#;

impl Kind for OwnAccount {
    type Key = ();
    type Answer = LoggedIn;
    const NAME: &'static str = "account";
    const TURN: Turn = Turn::Names;
    const IN_PLACE: bool = true;

    fn script(_: &[&()]) -> Script {
        Script::new(SCRIPT).using(LOOK_UP)
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<LoggedIn, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("this run's account", keys.len());
        }
        let answer = read_account(&output.stdout)
            .ok_or_else(|| Unanswered("the node does not say with which account this run has logged in".to_owned()));
        keys.iter().map(|()| answer.clone()).collect()
    }
}

fn read_account(stdout: &[u8]) -> Option<LoggedIn> {
    let text = String::from_utf8_lossy(stdout);
    let mut parts = text.splitn(3, '\0');
    let (account, groups, named) = (parts.next()?, parts.next()?, parts.next()?);
    let fields: Vec<&str> = account.lines().next()?.split(':').collect();
    let mut groups = groups.split_ascii_whitespace().map(str::to_owned);
    let primary = groups.next()?;
    let mut groups: Vec<String> = groups.filter(|group| *group != primary).collect();
    groups.sort();
    groups.dedup();
    let named: Vec<&str> = named.split(|letter: char| letter.is_whitespace() || "=%,".contains(letter)).collect();
    let mut named_groups: Vec<String> =
        groups.iter().chain([&primary]).filter(|own| named.contains(&own.as_str())).cloned().collect();
    named_groups.sort();
    let entry = UserEntry { group: Some(primary), groups, ..user(&fields)? };
    Some(LoggedIn { name: fields[0].to_owned(), entry, named_groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Questions;

    fn read(stdout: &str) -> Result<LoggedIn, Unanswered> {
        OwnAccount::read(&[&()], &Output { status: 0, stdout: stdout.into() }).remove(0)
    }

    #[test]
    fn the_account_has_its_groups_and_those_that_let_it_in() {
        let own = read(
            "ops:x:1000:1000:Operators:/home/ops:/bin/bash\n\0ops ssh sudo adm\n\0%sudo\n%wheel\n%h\nAllowGroups ssh other\n",
        )
        .unwrap();
        assert_eq!((own.name.as_str(), own.entry.uid, own.entry.home.as_str()), ("ops", 1000, "/home/ops"));
        assert_eq!(own.entry.groups, ["adm", "ssh", "sudo"]);
        assert_eq!(own.named_groups, ["ssh", "sudo"]);
        assert!(own.is_in("ops") && own.is_in("adm") && !own.is_in("wheel"));
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_no_answer() {
        let whole = "ops:x:1000:1000::/home/ops:/bin/bash\n\0ops\n\0";
        assert!(read(whole).is_ok());
        let cuts =
            ["", "\0\0", "ops:x:1000:1000::/home/ops:/bin/bash\n\0ops\n", "ops:x:1000\n\0ops\n\0", "ops:x:1:1::/h:/s\n\0\n\0"];
        for cut in cuts {
            assert!(read(cut).is_err(), "{cut:?}");
        }
        assert!(OwnAccount::read(&[&()], &Output { status: 1, stdout: whole.into() })[0].is_err());
    }

    #[test]
    fn a_shell_is_of_the_one_who_has_called_sudo_or_of_the_login_itself() {
        for (caller, name) in [(Some("daemon"), "daemon"), (None, "root"), (Some("no-such-one"), "")] {
            for shell in ["sh", "bash"] {
                let mut questions = Questions::default();
                questions.ask::<OwnAccount>(());
                let composed = questions.compose("f00dfeed").unwrap();
                let mut command = std::process::Command::new(shell);
                command.arg("-c").arg(composed.script()).env("LC_ALL", "C");
                command.env_remove("SUDO_USER").envs(caller.map(|caller| ("SUDO_USER", caller)));
                let own = composed.read(&command.output().unwrap().stdout);
                let own = own.get::<OwnAccount>(&()).cloned();
                assert_eq!(own.map(|own| own.name).unwrap_or_default(), name, "{shell}");
            }
        }
    }

    #[test]
    fn on_the_node_itself_no_account_is_asked_about() {
        let mut answers = Answers::default();
        assert!(logged_in(&answers).is_err());
        answers.set::<OwnConnection>((), Ok(None));
        assert_eq!(logged_in(&answers), Ok(None));
        let ours = crate::values::Addresses::from_ssh_connection("198.18.0.1 4 198.18.0.2 22");
        answers.set::<OwnConnection>((), Ok(ours));
        assert!(logged_in(&answers).is_err());
    }
}
