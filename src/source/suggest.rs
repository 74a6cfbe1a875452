//! "did you mean": the known name nearest to a wrong one.

/// The known name that `wrong` is most likely a slip of, if any is near enough.
///
/// Differences in case cost nothing and a transposition counts as one slip; one slip is allowed per three letters.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let letters = wrong.chars().count();
    known
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let allowed = (letters.max(lower.chars().count()) / 3).max(1);
            // Half a word is a slip of its own kind: `child` for `children`.
            let is_start = letters > 2 && lower != wrong && lower.starts_with(&wrong);
            let slips = if is_start { 1 } else { strsim::damerau_levenshtein(&wrong, &lower) };
            // A name of one or two letters is one slip away from everything.
            (slips, slips <= allowed && (slips == 0 || letters > 1 && slips < letters), name)
        })
        .filter(|(_, near, _)| *near)
        .min_by_key(|(slips, _, _)| *slips)
        .map(|(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_transpositions_and_wrong_case() {
        let known = ["hosts", "children", "vars", "ansible_host"];
        assert_eq!(did_you_mean("host", known), Some("hosts"));
        assert_eq!(did_you_mean("chidlren", known), Some("children"));
        assert_eq!(did_you_mean("Vars", known), Some("vars"));
        assert_eq!(did_you_mean("child", known), Some("children"));
        assert_eq!(did_you_mean("ansible_hots", known), Some("ansible_host"));
    }

    #[test]
    fn the_nearest_name_wins_and_the_first_of_equals() {
        assert_eq!(did_you_mean("prot", ["port", "proto"]), Some("port"));
        assert_eq!(did_you_mean("wbe1", ["web1", "web2"]), Some("web1"));
    }

    #[test]
    fn says_nothing_rather_than_nonsense() {
        assert_eq!(did_you_mean("zebra", ["hosts", "vars"]), None);
        assert_eq!(did_you_mean("x", ["y", "z"]), None);
        assert_eq!(did_you_mean("", ["y"]), None);
    }
}
