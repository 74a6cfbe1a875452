//! The text of a result of an operation on Redis: titled pairs and tables that fit a terminal.

use super::Style;
use crate::redis_ops::page::{Block, Column, Page, Table};

/// The number of spaces between columns.
const GAP: usize = 2;
/// The smallest width to which a column is truncated.
const MIN_WIDTH: usize = 8;

impl Page {
    /// Returns the lines for people.
    #[must_use]
    pub fn lines(&self, style: Style) -> Vec<String> {
        let mut lines = Vec::new();
        for block in &self.blocks {
            match block {
                Block::Line(text) => lines.extend(wrapped(text, "", style.width)),
                Block::Pairs(pairs) => {
                    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
                    for (name, value) in pairs {
                        let head = format!("  {name:<width$}  ");
                        lines.extend(wrapped(value, &head, style.width).into_iter().map(|line| line.trim_end().to_owned()));
                    }
                }
                Block::Table(table) => lines.extend(table.lines(style)),
            }
        }
        for mark in &self.marks {
            let marked = wrapped(mark, "  ! ", style.width).into_iter().map(|line| style.paint("33", &line));
            lines.extend(marked);
        }
        lines
    }
}

impl Table {
    fn lines(&self, style: Style) -> Vec<String> {
        let count = self.columns.len();
        let mut widths: Vec<usize> = (0..count)
            .map(|at| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or_default())
            .collect();
        let full = 2 + widths.iter().sum::<usize>() + GAP * count.saturating_sub(1);
        if let Some((flexible, over)) = self
            .columns
            .iter()
            .position(|column| *column == Column::Flexible)
            .zip(style.width.and_then(|width| full.checked_sub(width)))
        {
            widths[flexible] = widths[flexible].saturating_sub(over).max(MIN_WIDTH);
        }
        let line = |(number, row): (usize, &Vec<String>)| {
            let cells = row.iter().zip(&self.columns).zip(&widths).map(|((cell, column), width)| match column {
                Column::Right => format!("{cell:>width$}"),
                Column::Left | Column::Flexible if cell.chars().count() > *width => {
                    cell.chars().take(width - 1).chain(['…']).collect()
                }
                Column::Left | Column::Flexible => format!("{cell:<width$}"),
            });
            let text = format!("  {}", cells.collect::<Vec<_>>().join(&" ".repeat(GAP)));
            let text = style.fit(text.trim_end(), 0);
            if number == 0 { style.bold(&text) } else { text }
        };
        self.rows.iter().enumerate().map(line).collect()
    }
}

/// Wraps text after a heading; the following lines are aligned with its first word. Words that are too long for a line are split.
fn wrapped(text: &str, head: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![format!("{head}{text}")] };
    let indent = head.chars().count();
    let room = width.saturating_sub(indent).max(MIN_WIDTH);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > room {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while word.len() > room {
            let rest = word.split_off(room);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        line.extend(word);
    }
    lines.push(line);
    let below = " ".repeat(indent);
    lines.iter().enumerate().map(|(at, line)| format!("{}{line}", if at == 0 { head } else { &below })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Colour;

    #[test]
    fn everything_fits_the_terminal() {
        let mut table = Table::new([(Column::Right, "n"), (Column::Flexible, "what"), (Column::Left, "who")]);
        table.rows.push(vec!["1000".into(), "a long text that must be cut".into(), "me".into()]);
        let page = Page {
            blocks: vec![
                Block::Pairs(vec![("name".into(), "several words that do not fit into one line".into())]),
                Block::Table(table),
            ],
            marks: vec![format!("a mark {} of some length", "x".repeat(40))],
            ..Page::default()
        };
        let lines = page.lines(Style { colour: Colour::No, width: Some(30) });
        assert!(lines.iter().all(|line| line.chars().count() <= 30), "{lines:#?}");
        insta::assert_snapshot!(lines.join("\n"), @r"
  name  several words that do
        not fit into one line
     n  what               who
  1000  a long text that…  me
  ! a mark
    xxxxxxxxxxxxxxxxxxxxxxxxxx
    xxxxxxxxxxxxxx of some
    length
        ");
        // Nothing is truncated in a pipe.
        let wide = page.lines(Style { colour: Colour::No, width: None });
        assert!(wide.iter().any(|line| line.ends_with("a long text that must be cut  me")), "{wide:#?}");
    }
}
