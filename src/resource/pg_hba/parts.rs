//! `pg_hba.conf` shared by several tasks: each owns a section between two marks. People may have been at the file by hand.

use std::{fmt::Write as _, ops::RangeInclusive};

use super::{FIRST, HEADER};
use crate::secret::holds_token;

/// What each mark begins with, behind the `#`.
const MARK: &str = "autobot-provision:";

/// Rules of one part, as they stand in the file.
#[derive(Debug, PartialEq, Eq)]
struct Section<'a> {
    part: &'a str,
    lines: Vec<&'a str>,
}

/// A mark: whether a section begins, and whose.
fn mark(line: &str) -> Option<(bool, &str)> {
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

/// Whether it can be a part's name: a word that a mark can hold.
pub(super) fn is_part(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    !name.is_empty() && name.len() <= 60 && name.chars().all(plain)
}

/// The sections of a file. Where one of two marks is gone, what the section held is between the other and its neighbour: to drop it would
/// lock clients out. Lines that belong to no section are left out.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut open: Option<&str> = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let Some((begins, part)) = mark(line) else {
            if line != HEADER && line != FIRST {
                lines.push(line);
            }
            continue;
        };
        let held = std::mem::take(&mut lines);
        match open.take() {
            Some(part) => sections.push(Section { part, lines: held }),
            None if !begins && !held.is_empty() => sections.push(Section { part, lines: held }),
            None => {}
        }
        open = begins.then_some(part);
    }
    if let Some(part) = open {
        sections.push(Section { part, lines });
    }
    sections
}

/// The file with the rules of one part put in the place of what it had: in order of the parts' names, those of others as they are.
///
/// # Errors
/// Why another's rules cannot be kept.
pub(super) fn with_part(old: &[u8], part: &str, rules: Option<&str>) -> Result<String, String> {
    let text = String::from_utf8_lossy(old);
    let whole = std::str::from_utf8(old).is_ok();
    let mut sections = sections(&text);
    sections.retain(|section| section.part != part);
    if let Some(rules) = rules {
        sections.push(Section { part, lines: rules.lines().collect() });
    }
    // Stable: two sections of one part stay in the order in which they counted.
    sections.sort_by_key(|section| section.part);
    let mut file = format!("{HEADER}\n{FIRST}\n");
    for Section { part: owner, lines } in &sections {
        let strange = |line: &&str| line.contains('\0') || holds_token(line) || (!whole && line.contains('\u{FFFD}'));
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

/// Whether a file has anything of a part.
pub(super) fn has_part(old: &[u8], part: &str) -> bool {
    String::from_utf8_lossy(old).lines().any(|line| mark(line).is_some_and(|(_, owner)| owner == part))
}

/// The numbers of the lines of a part, in a file as [`with_part`] makes it.
pub(super) fn lines_of(text: &str, part: &str) -> Option<RangeInclusive<usize>> {
    let span = |begins| text.lines().position(|line| mark(line) == Some((begins, part))).map(|index| index + 1);
    Some(span(true)?..=span(false)?)
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
        assert_eq!(with_part(text.as_bytes(), part, rules).unwrap(), text, "once is enough");
        text
    }

    /// A section as it is written.
    fn section(part: &str, lines: &str) -> String {
        format!("# autobot-provision: begin {part}\n{lines}# autobot-provision: end {part}\n")
    }

    #[test]
    fn parts_stand_in_the_order_of_their_names_whoever_comes_first() {
        let both = file(&format!("{}{}", section("a", A), section("b", "local b b peer\n")));
        assert_eq!(put(&put("", "a", Some(A)), "b", Some("local b b peer\n")), both);
        assert_eq!(put(&put("", "b", Some("local b b peer\n")), "a", Some(A)), both);
        let shuffled = file(&format!("{}{}", section("b", "local b b peer\n"), section("a", A)));
        assert_eq!(put(&shuffled, "b", Some("local b b peer\n")), both);
    }

    #[test]
    fn what_belongs_to_nobody_goes_and_what_is_anothers_stays() {
        let debian =
            "# a comment\nlocal all postgres peer\nlocal all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n@include x\n";
        assert_eq!(put(debian, "a", Some(A)), file(&section("a", A)));
        let by_hand = "# why\n\n\thost x  \"x y\" all md5 \\\n  # joined\r\ninclude other\n";
        let old = format!("host all all all trust\n{}local all all trust\n", section("z", by_hand));
        let new = put(&old, "a", Some(A));
        assert_eq!(new, file(&format!("{}{}", section("a", A), section("z", &by_hand.replace('\r', "")))));
    }

    #[test]
    fn a_part_is_taken_away_without_touching_the_others() {
        let both = file(&format!("{}{}", section("a", A), section("b", "local b b peer\n")));
        assert_eq!(put(&both, "a", None), file(&section("b", "local b b peer\n")));
        assert_eq!(put(&both, "c", None), both);
        assert!(has_part(both.as_bytes(), "a") && !has_part(both.as_bytes(), "c"));
        assert!(has_part(b"#autobot-provision:  end c", "c"), "half of it is something, too");
    }

    #[test]
    fn lost_marks_shut_nobody_out() {
        let (begin, end) = ("# autobot-provision: begin", "# autobot-provision: end");
        let healed = file(&format!("{}{}", section("a", A), section("b", "local b b peer\n")));
        let b = Some("local b b peer\n");
        for broken in [
            // The end of the other is gone: before our part, at the end of the file.
            format!("{begin} a\n{A}{}", section("b", "x\n")),
            format!("{}{begin} a\n{A}", section("b", "x\n")),
            // Its beginning is gone: at the beginning of the file, behind our part.
            format!("{HEADER}\n{FIRST}\n{A}{end} a\n{}", section("b", "x\n")),
            format!("{}{A}{end} a\n", section("b", "x\n")),
            // Ours is broken.
            format!("{}{begin} b\nhost all all all trust\n", section("a", A)),
            format!("{}host all all all trust\n{end} b\n", section("a", A)),
            format!("{begin} b\nhost all all all trust\n{}", section("a", A)),
            format!("{}{}{}", section("b", "x\n"), section("a", A), section("b", "y\n")),
            // Our section lost its end, the other its beginning: all that is known is that ours came first.
            format!("{}{begin} b\nx\n{end} b\n{end} b\n", section("a", A)),
            // One within the other: the outer one has what stands before the inner one.
            format!("{begin} a\n{A}{begin} b\nx\n{end} b\n{end} a\n"),
        ] {
            assert_eq!(put(&broken, "b", b), healed, "{broken}");
        }
    }

    #[test]
    fn another_part_that_is_there_twice_keeps_its_rules_in_their_order() {
        let old = format!("{}{}{}", section("z", "one\n"), section("a", "x\n"), section("z", "two\n"));
        let new = put(&old, "a", Some(A));
        assert_eq!(new, file(&format!("{}{}{}", section("a", A), section("z", "one\n"), section("z", "two\n"))));
    }

    #[test]
    fn only_a_mark_is_a_mark() {
        for line in ["# autobot-provision: begin a", "#autobot-provision:begin a", "  #  autobot-provision:  begin   a\r"] {
            assert_eq!(mark(line), Some((true, "a")), "{line}");
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
            assert_eq!(mark(line), None, "{line}");
        }
        for name in ["", "a b", "a\nb", "ä", "a#", &"x".repeat(61)] {
            assert!(!is_part(name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_unless_it_goes_anyway() {
        let strange: [&[u8]; 3] =
            [b"local all \xff peer\n", b"local all \0 peer\n", "\u{F5EC0}db\u{F5EC1}KEY\u{F5EC1}plain\u{F5EC2}\n".as_bytes()];
        for line in strange {
            let other = [b"# autobot-provision: begin z\n", line, b"# autobot-provision: end z\n"].concat();
            let refusal = with_part(&other, "a", Some(A)).unwrap_err();
            assert!(refusal.starts_with("the part `z` of pg_hba.conf was changed by hand and holds `"), "{refusal}");
            assert_eq!(with_part(&other, "z", Some(A)).unwrap(), file(&section("z", A)));
            assert_eq!(with_part(line, "a", Some(A)).unwrap(), file(&section("a", A)), "outside of all");
        }
        // A node whose file is a replacement character and nothing worse.
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
