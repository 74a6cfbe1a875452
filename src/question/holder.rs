//! Who has a number, or a group as the primary one: what stands in the way of a new account and of a group's removal.

use super::{
    Kind, Output, Turn, Unanswered,
    account::{AccountName, LOOK_UP, group, user},
};
use crate::script::Script;

/// Marker for the kind "who has this"; the answer holds names, sorted, and is empty if it is free.
#[derive(Debug)]
pub enum Holder {}

/// What an account may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Held {
    /// The number of a user.
    Uid(u32),
    /// The number of a group.
    Gid(u32),
    /// The group of this name as a user's primary one.
    Primary(AccountName),
}

/// `UIDS GROUPS ALL`: the words of the first two are numbers and names. All users are listed only where `ALL` says so.
const SCRIPT: &str = r#"exec 2>&1
[ -z "$1" ] || look_up passwd -- $1 || exit 1
printf '\0'
[ -z "$2" ] || look_up group -- $2 || exit 1
printf '\0'
[ -z "$3" ] || look_up passwd"#;

impl Kind for Holder {
    type Key = Held;
    type Answer = Vec<String>;
    const NAME: &'static str = "holders";
    const TURN: Turn = Turn::Names;

    fn script(keys: &[&Held]) -> Script {
        let (mut uids, mut groups, mut all) = (Vec::new(), Vec::new(), "");
        for key in keys {
            match key {
                Held::Uid(uid) => uids.push(uid.to_string()),
                Held::Gid(gid) => groups.push(gid.to_string()),
                Held::Primary(name) => {
                    groups.push(name.to_string());
                    all = "all";
                }
            }
        }
        Script::new(SCRIPT).using(LOOK_UP).arg(uids.join(" ")).arg(groups.join(" ")).arg(all)
    }

    fn read(keys: &[&Held], output: &Output) -> Vec<Result<Vec<String>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("the holders of numbers", keys.len());
        }
        let Some(found) = Found::parse(&output.stdout) else {
            let error = || Err(Unanswered("the node's answer about the holders of numbers is malformed".to_owned()));
            return keys.iter().map(|_| error()).collect();
        };
        keys.iter().map(|key| Ok(found.of(key))).collect()
    }
}

/// Names with numbers: of the users and groups that were asked for, and of all users with their primary groups.
struct Found {
    uids: Vec<(String, u32)>,
    gids: Vec<(String, u32)>,
    primary: Vec<(String, u32)>,
}

impl Found {
    fn parse(stdout: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(stdout);
        let sections: Vec<&str> = text.split('\0').collect();
        let [users, groups, all] = sections[..] else { return None };
        let numbers = |section: &str, number: fn(&[&str]) -> Option<u32>| {
            section
                .lines()
                .map(|line| {
                    let fields: Vec<&str> = line.split(':').collect();
                    Some((fields[0].to_owned(), number(&fields)?))
                })
                .collect::<Option<Vec<_>>>()
        };
        Some(Self {
            uids: numbers(users, |fields| user(fields).map(|user| user.uid))?,
            gids: numbers(groups, |fields| group(fields).map(|group| group.gid))?,
            primary: numbers(all, |fields| user(fields).map(|user| user.gid))?,
        })
    }

    fn of(&self, key: &Held) -> Vec<String> {
        let with = |entries: &[(String, u32)], wanted: u32| {
            entries.iter().filter(|(_, number)| *number == wanted).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let mut names = match key {
            Held::Uid(uid) => with(&self.uids, *uid),
            Held::Gid(gid) => with(&self.gids, *gid),
            Held::Primary(group) => match self.gids.iter().find(|(name, _)| name == group.as_str()) {
                Some((_, gid)) => with(&self.primary, *gid),
                None => Vec::new(),
            },
        };
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Questions, tests::run};

    fn name(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    #[test]
    fn this_machine_says_who_has_a_number_and_a_group() {
        let mut questions = Questions::default();
        let keys = [Held::Uid(0), Held::Gid(0), Held::Uid(4_000_000_000), Held::Gid(4_000_000_000), Held::Primary(name("root"))];
        for key in &keys {
            questions.ask::<Holder>(key.clone());
        }
        questions.ask::<Holder>(Held::Primary(name("no-such-one")));
        let answers = run(questions);
        let found = keys.each_ref().map(|key| answers.get::<Holder>(key).unwrap().clone());
        assert_eq!(found[..4], [vec!["root".to_owned()], vec!["root".to_owned()], vec![], vec![]]);
        assert!(found[4].contains(&"root".to_owned()), "{found:?}");
        assert!(answers.get::<Holder>(&Held::Primary(name("no-such-one"))).unwrap().is_empty());
    }

    #[test]
    fn all_holders_are_named_and_what_is_cut_is_no_answer() {
        let stdout = "b:x:7:9:::\na:x:7:9:::\n\0gu1:x:9:\n\0b:x:7:9:::\na:x:7:9:::\nc:x:1:1:::\n";
        let read = |stdout: &str, status| {
            Holder::read(
                &[&Held::Uid(7), &Held::Gid(9), &Held::Primary(name("gu1")), &Held::Uid(8)],
                &Output { status, stdout: stdout.into() },
            )
        };
        let found: Vec<Vec<String>> = read(stdout, 0).into_iter().map(Result::unwrap).collect();
        assert_eq!(found, [vec!["a", "b"], vec!["gu1"], vec!["a", "b"], vec![]]);
        for (wrong, status) in [("", 0), ("a:x:7:9:::\n\0\0a:x\n", 0), (&stdout[..stdout.len() - 20], 0), (stdout, 1), ("\0", 0)]
        {
            assert!(read(wrong, status)[0].is_err(), "{wrong:?}");
        }
    }
}
