//! The table of the command `health`: a row for each check of each host.

use super::{Style, style::harmless};
use crate::event::{HostEnd, HostStatus, Item, Outcome, Status};

/// The rows, in the order of the hosts.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    host: String,
    role: String,
    check: String,
    state: &'static str,
    /// The status that decides the colour.
    status: Status,
    found: String,
}

/// The number of spaces between columns.
const GAP: usize = 2;
/// If fewer columns than this are left for the finding, it is written below the check.
const MIN_FINDING_WIDTH: usize = 34;
const HEADS: [&str; 5] = ["HOST", "ROLE", "CHECK", "STATE", "FOUND"];

impl Table {
    /// Adds the result of a check. `at` is the place of its declaration, if that is to be shown.
    pub(super) fn item(&mut self, host: &str, item: &Item, outcome: &Outcome, at: Option<String>) {
        let summary = &outcome.summary;
        let (state, status, found) = match (outcome.status, &outcome.warning) {
            // A warning has the colour of a change.
            (Status::Ok, Some(warning)) if summary.is_empty() => ("warning", Status::Changed, warning.clone()),
            (Status::Ok, Some(warning)) => ("warning", Status::Changed, format!("{warning}; {summary}")),
            (Status::Ok, None) => ("ok", Status::Ok, summary.clone()),
            (Status::Skipped, _) => ("skipped", Status::Skipped, summary.clone()),
            (status @ (Status::Failed | Status::Changed | Status::Unknown), _) => {
                ("failed", status, outcome.error.as_ref().unwrap_or(summary).clone())
            }
        };
        let found = at.into_iter().fold(found, |found, at| format!("{found}\n{at}"));
        self.push(host, &item.role, &item.name, state, status, &found);
    }

    /// Adds the error of a host whose checks did not start or did not finish.
    pub(super) fn host(&mut self, host: &str, end: &HostEnd) {
        let Some(error) = end.result.error() else { return };
        let state = match end.status() {
            HostStatus::Unreachable => "unreachable",
            HostStatus::Held => "held",
            HostStatus::Ok | HostStatus::Changed | HostStatus::Failed | HostStatus::Interrupted => "failed",
        };
        let help = end.result.help().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
        self.push(host, "", "", state, Status::Failed, &format!("{error}{help}"));
    }

    fn push(&mut self, host: &str, role: &str, check: &str, state: &'static str, status: Status, found: &str) {
        let cell = |text: &str| if text.is_empty() { "-".to_owned() } else { harmless(text).replace('\n', " ") };
        self.rows.push(Row {
            host: host.to_owned(),
            role: cell(role),
            check: cell(check),
            state,
            status,
            found: harmless(found).trim().to_owned(),
        });
    }

    /// Returns the lines of the table, grouped by host in the given order. Without a terminal each row is one line of any length.
    pub(super) fn lines<'a>(&mut self, style: Style, hosts: impl Iterator<Item = &'a String>) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let order: Vec<&String> = hosts.collect();
        self.rows.sort_by_key(|row| order.iter().position(|host| **host == row.host));
        let widest = |head: usize, cell: fn(&Row) -> &str| {
            let cells = self.rows.iter().map(|row| cell(row).chars().count());
            cells.chain([HEADS[head].len()]).max().unwrap_or_default()
        };
        let widths =
            [widest(0, |row| &row.host), widest(1, |row| &row.role), widest(2, |row| &row.check), widest(3, |row| row.state)];
        let all: usize = widths.iter().map(|width| width + GAP).sum();
        match style.width {
            None => self.flat(style, widths, None),
            Some(width) if width >= all + MIN_FINDING_WIDTH => self.flat(style, widths, Some(width - all)),
            Some(width) => self.stacked(style, widths, width),
        }
    }

    /// Lays out all five columns, with the finding wrapped to `room` columns.
    fn flat(&self, style: Style, widths: [usize; 4], room: Option<usize>) -> Vec<String> {
        let [host, role, check, state] = widths;
        let mut lines =
            vec![style.bold(&format!(
                "{:host$}  {:role$}  {:check$}  {:state$}  {}",
                HEADS[0], HEADS[1], HEADS[2], HEADS[3], HEADS[4]
            ))];
        let indent = " ".repeat(widths.iter().map(|width| width + GAP).sum());
        for row in &self.rows {
            let found = match room {
                Some(room) => wrapped(&row.found, room),
                None => vec![row.found.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")],
            };
            let mut found = found.into_iter();
            let state = style.status(row.status, &format!("{:state$}", row.state));
            let line = format!("{:host$}  {:role$}  {:check$}  {state}  ", row.host, row.role, row.check);
            lines.push(format!("{line}{}", found.next().unwrap_or_default()).trim_end().to_owned());
            lines.extend(found.map(|found| format!("{indent}{found}")));
        }
        lines
    }

    /// Lays out the check as the last column, with the finding below it.
    fn stacked(&self, style: Style, widths: [usize; 4], width: usize) -> Vec<String> {
        let [host, role, _, state] = widths;
        let mut lines =
            vec![style.bold(&format!("{:host$}  {:role$}  {:state$}  {}, {}", HEADS[0], HEADS[1], HEADS[3], HEADS[2], HEADS[4]))];
        let used = host + role + state + 3 * GAP;
        // A terminal that is narrower than the names wraps the lines itself.
        let room = width.saturating_sub(used).max(20);
        let indent = " ".repeat(used);
        for row in &self.rows {
            let mut check = wrapped(&row.check, room).into_iter();
            let state = style.status(row.status, &format!("{:state$}", row.state));
            lines.push(format!("{:host$}  {:role$}  {state}  {}", row.host, row.role, check.next().unwrap_or_default()));
            lines.extend(check.map(|check| format!("{indent}{check}")));
            lines.extend(wrapped(&row.found, room - 2).into_iter().map(|found| format!("{indent}  {found}")));
        }
        lines
    }
}

/// Wraps text into lines of at most `room` characters, between words where possible.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        let mut length = 0;
        for word in line.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            if length > 0 && length + 1 + word.len() > room {
                lines.push(std::mem::take(&mut current));
                length = 0;
            }
            while word.len() > room {
                let rest = word.split_off(room);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            if length > 0 {
                current.push(' ');
                length += 1;
            }
            length += word.len();
            current.extend(word);
        }
        if !current.is_empty() {
            lines.push(current);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{HostResult, ItemSubject},
        report::Colour,
    };

    fn table() -> Table {
        let mut table = Table::default();
        let mut add = |host: &str, role: &str, name: &str, outcome: Outcome| {
            let item = Item {
                id: format!("{role}/{name}"),
                subject: ItemSubject::Health("redis".into()),
                role: role.into(),
                name: name.into(),
                file: "roles/redis/role.yml".into(),
                line: 12,
            };
            table.item(host, &item, &outcome, None);
        };
        let ok = |found: &str| Outcome::new(Status::Ok, found);
        let redis = "Redis answers with the password and refuses without it";
        add(
            "slm",
            "postgresql",
            "The SLM backend is healthy",
            Outcome { warning: Some("2 nodes offline".into()), ..ok("healthy, postgresql, 3 of 5 nodes online") },
        );
        add(
            "database_vm",
            "redis",
            redis,
            ok("PONG, NOAUTH without password; saved 3 min ago, 12 changes since; AOF on, last write ok"),
        );
        add("database_vm", "user_management_db", "Migrations", Outcome::new(Status::Skipped, "there is no database `slm`"));
        let stranger = "`nc\u{1b}[31m` (pid 4711, evil.service) listens on 0.0.0.0:4444; stop it, or add the port to the variable `listening_allowed`";
        add("database_vm", "", "Nothing listens that should not", Outcome::failed(stranger));
        table
    }

    fn unreachable(table: &mut Table) {
        let help = Some("`ssh -v bear` shows more".to_owned());
        let error = "ssh: connect to host 198.18.0.9 port 22: Connection timed out".to_owned();
        table.host("bear", &HostEnd::new(HostResult::Unreachable { error, help }));
    }

    fn lines(width: Option<usize>) -> Vec<String> {
        let mut table = table();
        unreachable(&mut table);
        let hosts = ["database_vm", "slm", "bear"].map(str::to_owned);
        table.lines(Style { colour: Colour::No, width }, hosts.iter())
    }

    #[test]
    fn it_fits_into_eighty_columns() {
        let lines = lines(Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        insta::assert_snapshot!(lines.join("\n"), @"
        HOST         ROLE                STATE        CHECK, FOUND
        database_vm  redis               ok           Redis answers with the password
                                                      and refuses without it
                                                        PONG, NOAUTH without password;
                                                        saved 3 min ago, 12 changes
                                                        since; AOF on, last write ok
        database_vm  user_management_db  skipped      Migrations
                                                        there is no database `slm`
        database_vm  -                   failed       Nothing listens that should not
                                                        `nc�[31m` (pid 4711,
                                                        evil.service) listens on
                                                        0.0.0.0:4444; stop it, or add
                                                        the port to the variable
                                                        `listening_allowed`
        slm          postgresql          warning      The SLM backend is healthy
                                                        2 nodes offline; healthy,
                                                        postgresql, 3 of 5 nodes online
        bear         -                   unreachable  -
                                                        ssh: connect to host 198.18.0.9
                                                        port 22: Connection timed out
                                                        help: `ssh -v bear` shows more
        ");
    }

    #[test]
    fn a_wide_terminal_shows_all_columns() {
        let lines = lines(Some(160));
        assert!(lines.iter().all(|line| line.chars().count() <= 160));
        insta::assert_snapshot!(lines.join("\n"), @"
        HOST         ROLE                CHECK                                                   STATE        FOUND
        database_vm  redis               Redis answers with the password and refuses without it  ok           PONG, NOAUTH without password; saved 3 min ago, 12 changes
                                                                                                              since; AOF on, last write ok
        database_vm  user_management_db  Migrations                                              skipped      there is no database `slm`
        database_vm  -                   Nothing listens that should not                         failed       `nc�[31m` (pid 4711, evil.service) listens on
                                                                                                              0.0.0.0:4444; stop it, or add the port to the variable
                                                                                                              `listening_allowed`
        slm          postgresql          The SLM backend is healthy                              warning      2 nodes offline; healthy, postgresql, 3 of 5 nodes online
        bear         -                   -                                                       unreachable  ssh: connect to host 198.18.0.9 port 22: Connection timed
                                                                                                              out
                                                                                                              help: `ssh -v bear` shows more
        ");
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_row() {
        let lines = lines(None);
        assert_eq!(lines.len(), 6);
        insta::assert_snapshot!(lines.join("\n"), @"
        HOST         ROLE                CHECK                                                   STATE        FOUND
        database_vm  redis               Redis answers with the password and refuses without it  ok           PONG, NOAUTH without password; saved 3 min ago, 12 changes since; AOF on, last write ok
        database_vm  user_management_db  Migrations                                              skipped      there is no database `slm`
        database_vm  -                   Nothing listens that should not                         failed       `nc�[31m` (pid 4711, evil.service) listens on 0.0.0.0:4444; stop it, or add the port to the variable `listening_allowed`
        slm          postgresql          The SLM backend is healthy                              warning      2 nodes offline; healthy, postgresql, 3 of 5 nodes online
        bear         -                   -                                                       unreachable  ssh: connect to host 198.18.0.9 port 22: Connection timed out; help: `ssh -v bear` shows more
        ");
    }

    #[test]
    fn narrow_terminals_and_long_words_lose_no_text() {
        for width in 1..100 {
            let text: String = lines(Some(width)).concat().split_whitespace().collect();
            assert!(text.contains("addtheporttothevariable") && text.contains("`listening_allowed`"), "{width}");
        }
        assert_eq!(wrapped("aaaaaaaaaa bb\n\nc", 4), ["aaaa", "aaaa", "aa", "bb", "c"]);
        assert_eq!(wrapped("", 4), Vec::<String>::new());
    }

    #[test]
    fn only_states_are_coloured() {
        let painted = table().lines(Style { colour: Colour::Yes, width: Some(200) }, std::iter::empty());
        assert!(painted.iter().any(|line| line.contains("\x1b[1;31mfailed \x1b[0m")), "{painted:?}");
        assert!(painted.iter().any(|line| line.contains("\x1b[33mwarning\x1b[0m")), "{painted:?}");
        assert!(Table::default().lines(Style { colour: Colour::No, width: None }, std::iter::empty()).is_empty());
    }
}
