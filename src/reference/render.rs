//! Pages as text for a terminal and as Markdown.

use std::fmt::Write as _;

use super::{Page, Row, Section};

impl Page {
    /// The page for a terminal; lines of help are wrapped by `wrap`.
    #[must_use]
    pub fn text(&self, wrap: &dyn Fn(&str, usize) -> Vec<String>) -> String {
        let mut text = format!("{} ({})\n", self.name, self.topic.as_str());
        let paragraph = |text: &mut String, words: &str, indent: usize| {
            for line in wrap(words, indent) {
                let _ = writeln!(text, "{:indent$}{line}", "");
            }
        };
        paragraph(&mut text, &self.about, 4);
        for Section { title, rows } in self.sections.iter().filter(|section| !section.rows.is_empty()) {
            let _ = writeln!(text, "\n{title}");
            for row in rows {
                let _ = writeln!(text, "  {}", head(row));
                paragraph(&mut text, &row.help, 6);
            }
        }
        if let Some(example) = &self.example {
            text.push_str("\nexample\n");
            for line in example.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    /// The page as a section of a Markdown document.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}.\n", self.name, escaped(self.about.trim_end_matches('.')));
        for Section { title, rows } in self.sections.iter().filter(|section| !section.rows.is_empty()) {
            let typed = rows.iter().any(|row| !row.takes.is_empty());
            let defaulted = rows.iter().any(|row| row.required || row.default.is_some());
            let head = [(true, title.as_str()), (typed, "takes"), (defaulted, "default"), (true, "meaning")];
            let columns: Vec<&str> = head.iter().filter(|(shown, _)| *shown).map(|(_, column)| *column).collect();
            let _ = writeln!(text, "\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
            for row in rows {
                let mut cells =
                    vec![std::iter::once(&row.name).chain(&row.aliases).map(|name| code(name)).collect::<Vec<_>>().join(", ")];
                if typed {
                    cells.push(escaped(&row.takes));
                }
                if defaulted {
                    cells.push(match &row.default {
                        Some(default) => code(default),
                        None if row.required => "required".to_owned(),
                        None => String::new(),
                    });
                }
                cells.push(escaped(&row.help));
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
        }
        if let Some(example) = &self.example {
            let _ = writeln!(text, "\n```yaml\n{example}\n```");
        }
        text
    }
}

fn head(row: &Row) -> String {
    let mut head = row.name.clone();
    if !row.aliases.is_empty() {
        let _ = write!(head, " (also {})", row.aliases.join(", "));
    }
    if !row.takes.is_empty() {
        let _ = write!(head, ": {}", row.takes);
    }
    match &row.default {
        Some(default) => {
            let _ = write!(head, " [default: {default}]");
        }
        None if row.required => head.push_str(" [required]"),
        None => {}
    }
    head
}

/// Text in a cell: a bar would end it, `<` could be HTML.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<").replace('\n', " ")
}

/// Text as code in a cell.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('\n', " ");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}
