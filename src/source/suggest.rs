//! "did you mean": the known name nearest to a misspelled one.

/// Returns the known name that `misspelled` most likely misspells, if any is near enough.
///
/// Differences in case cost nothing and a transposition counts as one typo; one typo is allowed per three characters.
pub fn did_you_mean<'a>(misspelled: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let misspelled = misspelled.to_lowercase();
    let length = misspelled.chars().count();
    known
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let allowed = (length.max(lower.chars().count()) / 3).max(1);
            // The beginning of a word counts as one typo: `child` for `children`.
            let is_start = length > 2 && lower != misspelled && lower.starts_with(&misspelled);
            let typos = if is_start { 1 } else { strsim::damerau_levenshtein(&misspelled, &lower) };
            // A name of one or two characters is one typo away from everything.
            (typos, typos <= allowed && (typos == 0 || length > 1 && typos < length), name)
        })
        .filter(|(_, near, _)| *near)
        .min_by_key(|(typos, _, _)| *typos)
        .map(|(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_transpositions_and_wrong_case() {
        let known = ["hosts", "children", "vars", "ansible_host"];
        assert_eq!(did_you_mean("host", known), Some("hosts"));
        assert_eq!(did_you_mean("chidlren", known), Some("children"));
        assert_eq!(did_you_mean("Vars", known), Some("vars"));
        assert_eq!(did_you_mean("child", known), Some("children"));
        assert_eq!(did_you_mean("ansible_hots", known), Some("ansible_host"));
    }

    #[test]
    fn the_nearest_name_wins_and_the_first_among_equals() {
        assert_eq!(did_you_mean("prot", ["port", "proto"]), Some("port"));
        assert_eq!(did_you_mean("wbe1", ["web1", "web2"]), Some("web1"));
    }

    #[test]
    fn suggests_nothing_rather_than_nonsense() {
        assert_eq!(did_you_mean("zebra", ["hosts", "vars"]), None);
        assert_eq!(did_you_mean("x", ["y", "z"]), None);
        assert_eq!(did_you_mean("", ["y"]), None);
    }
}
