//! Splits a line into words, as a shell and Ansible's INI reader do.

use std::ops::Range;

/// A word without its quotes, and its position in the line with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) range: Range<usize>,
    /// The offset of a `#` inside the word that began a comment. Ansible cuts the word there, even in a password.
    pub(super) cut_at: Option<usize>,
}

/// The characters that separate words. Other blanks, such as a no-break space, belong to words.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a line up to its comment.
///
/// # Errors
/// Returns the offset of a quote that is not closed, or of a backslash at the end.
pub(super) fn split(line: &str) -> Result<Vec<Word>, usize> {
    let mut words = Vec::new();
    let mut characters = line.char_indices().peekable();
    while let Some(&(start, character)) = characters.peek() {
        if BLANKS.contains(&character) {
            characters.next();
            continue;
        }
        if character == '#' {
            break;
        }
        let (mut text, mut end, mut cut_at) = (String::new(), line.len(), None);
        while let Some((at, character)) = characters.next() {
            match character {
                blank if BLANKS.contains(&blank) => {
                    end = at;
                    break;
                }
                '#' => {
                    (end, cut_at) = (at, Some(at));
                    break;
                }
                '\\' => text.push(characters.next().ok_or(at)?.1),
                '"' | '\'' => loop {
                    match characters.next().ok_or(at)?.1 {
                        close if close == character => break,
                        '\\' if character == '"' => {
                            let escaped = characters.next().ok_or(at)?.1;
                            if !['"', '\\'].contains(&escaped) {
                                text.push('\\');
                            }
                            text.push(escaped);
                        }
                        other => text.push(other),
                    }
                },
                other => text.push(other),
            }
        }
        words.push(Word { text, range: start..end, cut_at });
        if cut_at.is_some() {
            break;
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(texts("db1  a=1 b='x y' c=\"p\\\"q\\n\" d=x\\ y # rest"), ["db1", "a=1", "b=x y", "c=p\"q\\n", "d=x y"]);
        assert_eq!(texts("a= ''"), ["a=", ""]);
        assert_eq!(texts("# all"), Vec::<String>::new());
    }

    #[test]
    fn a_comment_inside_a_word_is_noticed() {
        let words = split("p=a#b c").unwrap();
        assert_eq!((words.len(), words[0].text.as_str(), words[0].cut_at), (1, "p=a", Some(3)));
    }

    #[test]
    fn an_unclosed_quote_is_an_error_at_its_beginning() {
        assert_eq!(split("a='x"), Err(2));
        assert_eq!(split("é=\"x\\"), Err(3));
        assert_eq!(split("a\\"), Err(1));
    }
}
