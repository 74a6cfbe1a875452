//! The locales of the C library, as `locale -a` lists them.

use super::{Kind, Output, Turn, Unanswered};
use crate::script::Script;

/// Marker for the kind "locales".
#[derive(Debug)]
pub struct Locales;

impl Kind for Locales {
    type Key = ();
    /// Names such as `de_DE.utf8`.
    type Answer = Vec<String>;
    const NAME: &'static str = "locales";
    const TURN: Turn = Turn::Files;

    fn script(_: &[&()]) -> Script {
        Script::new("locale -a 2>/dev/null")
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Vec<String>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("locales", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let names: Vec<String> = text.lines().map(str::to_owned).collect();
        keys.iter().map(|()| Ok(names.clone())).collect()
    }
}

/// Returns a locale's name as `locale -a` writes it: `de_DE.UTF-8` becomes `de_DE.utf8`.
#[must_use]
pub fn listed_name(name: &str) -> String {
    let (name, modifier) = name.split_at(name.find('@').unwrap_or(name.len()));
    match name.split_once('.') {
        Some((language, _)) => format!("{language}.{}{modifier}", codeset(name)),
        None => format!("{name}{modifier}"),
    }
}

/// Returns the codeset in a locale's name as the C library compares it: `utf8` for `de_DE.UTF-8`; empty where the name has none.
#[must_use]
pub fn codeset(name: &str) -> String {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let codeset = name.split_once('.').map_or("", |(_, codeset)| codeset);
    codeset.chars().filter(char::is_ascii_alphanumeric).map(|character| character.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Questions, tests::run};

    #[test]
    fn this_machine_has_a_locale() {
        let mut questions = Questions::default();
        questions.ask::<Locales>(());
        let answers = run(questions);
        let names = answers.get::<Locales>(&()).unwrap();
        assert!(names.iter().any(|name| name == "POSIX"), "{names:?}");
    }

    #[test]
    fn a_failed_question_is_no_answer() {
        let answers = Locales::read(&[&()], &Output { status: 127, stdout: Vec::new() });
        assert_eq!(answers[0].as_ref().unwrap_err().0, "asking for locales failed with exit status 127: no output");
    }

    #[test]
    fn a_name_is_spelled_as_the_c_library_lists_it() {
        for (name, listed, codeset_of_it) in [
            ("de_DE.UTF-8", "de_DE.utf8", "utf8"),
            ("de_DE.utf8", "de_DE.utf8", "utf8"),
            ("ca_ES.UTF-8@valencia", "ca_ES.utf8@valencia", "utf8"),
            ("de_DE.ISO-8859-1", "de_DE.iso88591", "iso88591"),
            ("de_DE@euro", "de_DE@euro", ""),
            ("C", "C", ""),
            ("", "", ""),
            ("x@a.utf8", "x@a.utf8", ""),
        ] {
            assert_eq!((listed_name(name).as_str(), codeset(name).as_str()), (listed, codeset_of_it), "{name}");
        }
    }
}
