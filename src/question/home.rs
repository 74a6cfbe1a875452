//! Whether the home directory of a user is there.

use super::{
    Kind, Output, Turn, Unanswered,
    account::{AccountName, LOOK_UP},
    way::WAY,
};
use crate::{script::Script, values::RemotePath};

/// Marker for the kind "home directory". A home that is not there, and to which root could not go to make it, has no answer.
#[derive(Debug)]
pub enum Home {}

/// A user, and the home that is declared; without one, it is that of the user's entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HomeKey {
    /// The user.
    pub user: AccountName,
    /// The declared home.
    pub declared: Option<RemotePath>,
}

/// What is known of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeState {
    /// It is there, or the user is not.
    There,
    /// It is not there.
    Missing,
}

/// `NAMES (NAME DECLARED)...`: the names of those without a declared home first. A name may not end the look at the others, so that each has an answer.
const SCRIPT: &str = r#"exec 2>&1
users=
[ -z "$1" ] || users=$(look_up passwd -- $1) || { printf '%s\n' "$users"; exit 1; }
shift
while [ $# -ge 2 ]; do
    home=$2
    if [ -z "$home" ]; then
        while IFS=: read -r entry _ _ _ _ path _; do
            [ "$entry" != "$1" ] || { home=$path; break; }
        done <<END
$users
END
    fi
    case $home in
        /*) if [ -e "$home" ] || reach '' "$home" '' || [ "$?" = 2 ]; then
                if [ -e "$home" ]; then printf 'there'; else printf 'missing'; fi
            else
                untrusted "$home"
            fi ;;
        *) printf 'there' ;;
    esac
    printf '\0'
    shift 2
done
exit 0"#;

impl Kind for Home {
    type Key = HomeKey;
    type Answer = HomeState;
    const NAME: &'static str = "homes";
    const TURN: Turn = Turn::Names;

    fn script(keys: &[&HomeKey]) -> Script {
        let of_the_entry: Vec<&str> = keys.iter().filter(|key| key.declared.is_none()).map(|key| key.user.as_str()).collect();
        let declared = |key: &HomeKey| key.declared.as_ref().map(ToString::to_string).unwrap_or_default();
        let pairs = keys.iter().flat_map(|key| [key.user.to_string(), declared(key)]);
        Script::new(SCRIPT).using(LOOK_UP).using(WAY).arg(of_the_entry.join(" ")).args(pairs)
    }

    fn read(keys: &[&HomeKey], output: &Output) -> Vec<Result<HomeState, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("home directories", keys.len());
        }
        let mut answers = output.stdout.split_inclusive(|byte| *byte == 0).map(|answer| answer.strip_suffix(b"\0"));
        let mut next = |key: &HomeKey| match answers.next().flatten() {
            Some(b"there") => Ok(HomeState::There),
            Some(b"missing") => Ok(HomeState::Missing),
            Some(why) if !why.is_empty() => Err(Unanswered(String::from_utf8_lossy(why).trim_end().to_owned())),
            Some(_) | None => Err(Unanswered(format!("the node does not say whether the home of `{}` is there", key.user))),
        };
        keys.iter().map(|key| next(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;
    use crate::question::{Questions, tests::run};

    #[test]
    fn this_machine_says_which_homes_are_there() {
        let scratch = tempfile::tempdir().unwrap();
        let theirs = scratch.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o755)).unwrap();
        chown(&theirs, Some(7), Some(7)).unwrap();
        let path = |name: &str| Some(RemotePath::new(scratch.path().join(name).to_str().unwrap()).unwrap());
        let key = |user: &str, declared| HomeKey { user: AccountName::new(user).unwrap(), declared };
        let keys = [
            key("root", None),
            key("no-such-one", None),
            key("root", path("theirs")),
            key("root", path("a b/none")),
            key("no-such-one", path("none")),
            key("root", path("theirs/none")),
        ];
        let mut questions = Questions::default();
        for key in &keys {
            questions.ask::<Home>(key.clone());
        }
        let answers = run(questions);
        let found = keys.each_ref().map(|key| answers.get::<Home>(key));
        for (found, expected) in
            found.iter().zip([HomeState::There, HomeState::There, HomeState::There, HomeState::Missing, HomeState::Missing])
        {
            assert_eq!(found.as_ref().unwrap(), &&expected);
        }
        let why = found[5].as_ref().unwrap_err().to_string();
        assert!(why.contains("theirs` belongs to") && why.contains("autobot_trusted_owners"), "{why}");
    }

    #[test]
    fn what_is_cut_is_no_answer() {
        let key = HomeKey { user: AccountName::new("a").unwrap(), declared: None };
        let read = |stdout: &[u8], status| Home::read(&[&key, &key], &Output { status, stdout: stdout.to_vec() });
        assert_eq!(read(b"there\0missing\0", 0), [Ok(HomeState::There), Ok(HomeState::Missing)]);
        assert!(read(b"there\0missing", 0)[1].is_err() && read(b"there\0", 0)[1].is_err());
        assert!(read(b"\0there\0", 0)[0].is_err() && read(b"there\0there\0", 1)[0].is_err());
    }
}
