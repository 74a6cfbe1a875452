//! `pg_hba.conf` shared by several tasks: each owns a section between two marks. Users may have edited the file by hand.

use std::{fmt::Write as _, ops::RangeInclusive};

use super::{FIRST, HEADER};
use crate::secret::holds_token;

/// The beginning of each mark, after the `#`.
const MARK: &str = "autobot-provision:";

/// Rules of one part, as the file has them.
#[derive(Debug, PartialEq, Eq)]
struct Section<'a> {
    part: &'a str,
    lines: Vec<&'a str>,
}

/// Reads a mark: whether a section begins, and of which part.
fn parse_mark(line: &str) -> Option<(bool, &str)> {
    let words = line.trim().strip_prefix('#')?.trim_start().strip_prefix(MARK)?;
    let mut words = words.split_ascii_whitespace();
    let begins = match words.next()? {
        "begin" => true,
        "end" => false,
        _ => return None,
    };
    let part = words.next().filter(|part| is_part(part))?;
    words.next().is_none().then_some((begins, part))
}

/// Whether this is a valid name of a part: a word that fits in a mark.
pub(super) fn is_part(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    !name.is_empty() && name.len() <= 60 && name.chars().all(plain)
}

/// Returns the sections of a file. If one mark of a section is missing, the section extends from the other mark to the neighbouring one:
/// dropping its lines would lock clients out. Lines that belong to no section are left out.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut open: Option<&str> = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let Some((begins, part)) = parse_mark(line) else {
            if line != HEADER && line != FIRST {
                lines.push(line);
            }
            continue;
        };
        let section_lines = std::mem::take(&mut lines);
        match open.take() {
            Some(part) => sections.push(Section { part, lines: section_lines }),
            None if !begins && !section_lines.is_empty() => sections.push(Section { part, lines: section_lines }),
            None => {}
        }
        open = begins.then_some(part);
    }
    if let Some(part) = open {
        sections.push(Section { part, lines });
    }
    sections
}

/// Returns the file with the rules of one part replaced. Parts are in the order of their names; the rules of other parts stay the same.
///
/// # Errors
/// The reason why the rules of another part cannot be kept.
pub(super) fn with_part(old: &[u8], part: &str, rules: Option<&str>) -> Result<String, String> {
    let text = String::from_utf8_lossy(old);
    let is_utf8 = std::str::from_utf8(old).is_ok();
    let mut sections = sections(&text);
    sections.retain(|section| section.part != part);
    if let Some(rules) = rules {
        sections.push(Section { part, lines: rules.lines().collect() });
    }
    // The sort is stable: two sections of one part stay in the order in which they applied.
    sections.sort_by_key(|section| section.part);
    let mut file = format!("{HEADER}\n{FIRST}\n");
    for Section { part: owner, lines } in &sections {
        let strange = |line: &&str| line.contains('\0') || holds_token(line) || (!is_utf8 && line.contains('\u{FFFD}'));
        if let Some(line) = lines.iter().find(|line| *owner != part && strange(line)) {
            return Err(format!(
                "the part `{owner}` of pg_hba.conf was changed by hand and holds `{}`, which is no text in UTF-8; deploy the role that owns it, or \
                 remove that line",
                line.escape_debug()
            ));
        }
        let _ = writeln!(file, "# {MARK} begin {owner}");
        for line in lines {
            let _ = writeln!(file, "{line}");
        }
        let _ = writeln!(file, "# {MARK} end {owner}");
    }
    Ok(file)
}

/// Whether a file has a mark of a part.
pub(super) fn has_part(old: &[u8], part: &str) -> bool {
    String::from_utf8_lossy(old).lines().any(|line| parse_mark(line).is_some_and(|(_, owner)| owner == part))
}

/// Returns the numbers of the lines of a part, in a file that [`with_part`] returned.
pub(super) fn lines_of(text: &str, part: &str) -> Option<RangeInclusive<usize>> {
    let number = |begins| text.lines().position(|line| parse_mark(line) == Some((begins, part))).map(|index| index + 1);
    Some(number(true)?..=number(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "host a a 198.18.0.1/32 scram-sha-256\nhost a a 198.18.0.2/32 scram-sha-256\n";

    fn file(sections: &str) -> String {
        format!("{HEADER}\n{FIRST}\n{sections}")
    }

    fn put(old: &str, part: &str, rules: Option<&str>) -> String {
        let text = with_part(old.as_bytes(), part, rules).unwrap();
        assert!(text.starts_with(&file("")), "{text}");
        assert_eq!(with_part(text.as_bytes(), part, rules).unwrap(), text, "a second time changes nothing");
        text
    }

    /// Returns a section of the file.
    fn section(part: &str, lines: &str) -> String {
        format!("# autobot-provision: begin {part}\n{lines}# autobot-provision: end {part}\n")
    }

    #[test]
    fn parts_are_in_the_order_of_their_names_whichever_is_written_first() {
        let both = file(&format!("{}{}", section("a", A), section("b", "local b b peer\n")));
        assert_eq!(put(&put("", "a", Some(A)), "b", Some("local b b peer\n")), both);
        assert_eq!(put(&put("", "b", Some("local b b peer\n")), "a", Some(A)), both);
        let shuffled = file(&format!("{}{}", section("b", "local b b peer\n"), section("a", A)));
        assert_eq!(put(&shuffled, "b", Some("local b b peer\n")), both);
    }

    #[test]
    fn lines_outside_of_sections_are_removed_and_other_parts_stay() {
        let debian =
            "# a comment\nlocal all postgres peer\nlocal all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n@include x\n";
        assert_eq!(put(debian, "a", Some(A)), file(&section("a", A)));
        let by_hand = "# why\n\n\thost x  \"x y\" all md5 \\\n  # joined\r\ninclude other\n";
        let old = format!("host all all all trust\n{}local all all trust\n", section("z", by_hand));
        let new = put(&old, "a", Some(A));
        assert_eq!(new, file(&format!("{}{}", section("a", A), section("z", &by_hand.replace('\r', "")))));
    }

    #[test]
    fn a_part_is_removed_without_touching_the_others() {
        let both = file(&format!("{}{}", section("a", A), section("b", "local b b peer\n")));
        assert_eq!(put(&both, "a", None), file(&section("b", "local b b peer\n")));
        assert_eq!(put(&both, "c", None), both);
        assert!(has_part(both.as_bytes(), "a") && !has_part(both.as_bytes(), "c"));
        assert!(has_part(b"#autobot-provision:  end c", "c"), "one mark is enough");
    }

    #[test]
    fn lost_marks_lock_no_client_out() {
        let (begin, end) = ("# autobot-provision: begin", "# autobot-provision: end");
        let healed = file(&format!("{}{}", section("a", A), section("b", "local b b peer\n")));
        let b = Some("local b b peer\n");
        for broken in [
            // The end of the other part is missing: before our part, at the end of the file.
            format!("{begin} a\n{A}{}", section("b", "x\n")),
            format!("{}{begin} a\n{A}", section("b", "x\n")),
            // Its beginning is missing: at the beginning of the file, after our part.
            format!("{HEADER}\n{FIRST}\n{A}{end} a\n{}", section("b", "x\n")),
            format!("{}{A}{end} a\n", section("b", "x\n")),
            // Ours is broken.
            format!("{}{begin} b\nhost all all all trust\n", section("a", A)),
            format!("{}host all all all trust\n{end} b\n", section("a", A)),
            format!("{begin} b\nhost all all all trust\n{}", section("a", A)),
            format!("{}{}{}", section("b", "x\n"), section("a", A), section("b", "y\n")),
            // Our section lost its end, the other its beginning: it is only known that ours came first.
            format!("{}{begin} b\nx\n{end} b\n{end} b\n", section("a", A)),
            // One section within the other: the outer one has the lines before the inner one.
            format!("{begin} a\n{A}{begin} b\nx\n{end} b\n{end} a\n"),
        ] {
            assert_eq!(put(&broken, "b", b), healed, "{broken}");
        }
    }

    #[test]
    fn another_part_with_two_sections_keeps_its_rules_in_their_order() {
        let old = format!("{}{}{}", section("z", "one\n"), section("a", "x\n"), section("z", "two\n"));
        let new = put(&old, "a", Some(A));
        assert_eq!(new, file(&format!("{}{}{}", section("a", A), section("z", "one\n"), section("z", "two\n"))));
    }

    #[test]
    fn only_a_mark_is_a_mark() {
        for line in ["# autobot-provision: begin a", "#autobot-provision:begin a", "  #  autobot-provision:  begin   a\r"] {
            assert_eq!(parse_mark(line), Some((true, "a")), "{line}");
        }
        for line in [
            "autobot-provision: begin a",
            "# autobot-provision: begin",
            "# autobot-provision: begin a b",
            "# autobot-provision: begin a/b",
            "# autobot-provision: begins a",
            "## autobot-provision: begin a",
            "local all all peer # autobot-provision: begin a",
            "# Written by autobot-provision: what is changed here is lost.",
        ] {
            assert_eq!(parse_mark(line), None, "{line}");
        }
        for name in ["", "a b", "a\nb", "ä", "a#", &"x".repeat(61)] {
            assert!(!is_part(name), "{name}");
        }
    }

    #[test]
    fn lines_that_cannot_be_kept_are_refused_unless_they_are_removed() {
        let strange: [&[u8]; 3] =
            [b"local all \xff peer\n", b"local all \0 peer\n", "\u{F5EC0}db\u{F5EC1}KEY\u{F5EC1}plain\u{F5EC2}\n".as_bytes()];
        for line in strange {
            let other = [b"# autobot-provision: begin z\n", line, b"# autobot-provision: end z\n"].concat();
            let refusal = with_part(&other, "a", Some(A)).unwrap_err();
            assert!(refusal.starts_with("the part `z` of pg_hba.conf was changed by hand and holds `"), "{refusal}");
            assert_eq!(with_part(&other, "z", Some(A)).unwrap(), file(&section("z", A)));
            assert_eq!(with_part(line, "a", Some(A)).unwrap(), file(&section("a", A)), "outside of all sections");
        }
        // A file that really contains a replacement character is valid.
        assert!(put(&section("z", "# \u{FFFD}\n"), "a", Some(A)).contains('\u{FFFD}'));
    }

    #[test]
    fn a_part_knows_its_lines() {
        let text = put(&section("b", "local b b peer\n"), "a", Some(A));
        assert_eq!(lines_of(&text, "a"), Some(3..=6));
        assert_eq!(lines_of(&text, "b"), Some(7..=9));
        assert_eq!(lines_of(&text, "c"), None);
    }
}
