//! The values that reach the standard input of a command: through the pipeline that it is in, or in a here-string.

/// What the commands of one list may read from their standard input. Values are told by their numbers, of several by the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// What the list holds.
    any: Option<usize>,
    /// What the command at hand holds.
    own: Option<usize>,
    /// What its here-string holds, or the `<( )` that it reads.
    here_string: Option<usize>,
    /// What the commands before it in its pipeline hold.
    piped: Option<usize>,
    /// What those hold that feed the command around this list.
    outer: Option<usize>,
    /// The compound commands that are open in the list.
    compounds: Vec<Compound>,
    /// The command at hand begins behind a `|`.
    after_bar: bool,
}

/// `{ }`, `if`, `for`, `while`, `case`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Compound {
    /// What it holds.
    holds: Option<usize>,
    /// What the commands before it in its pipeline hold.
    piped: Option<usize>,
}

impl Input {
    /// For a list of commands within the command at hand. What this command holds reaches it, too, when it is a `>( )`.
    pub(super) fn inner(&mut self, is_process: bool) -> Self {
        self.after_bar = false;
        Self { outer: self.value().or(self.own.filter(|_| is_process)), ..Self::default() }
    }

    /// The value that the command at hand may read.
    pub(super) fn value(&self) -> Option<usize> {
        let around = || self.compounds.iter().rev().find_map(|compound| compound.piped);
        self.here_string.or(self.piped).or_else(around).or(self.outer)
    }

    /// The first value in the list.
    pub(super) fn any(&self) -> Option<usize> {
        self.any
    }

    /// The command at hand holds a value.
    pub(super) fn holds(&mut self, number: usize) {
        self.any.get_or_insert(number);
        self.own.get_or_insert(number);
        for compound in &mut self.compounds {
            compound.holds.get_or_insert(number);
        }
    }

    /// The command at hand reads a value.
    pub(super) fn reads(&mut self, number: usize) {
        self.here_string.get_or_insert(number);
    }

    /// A word was read where a reserved word may stand.
    pub(super) fn reserved(&mut self, word: &str) {
        self.after_bar = false;
        match word {
            "{" | "if" | "while" | "until" | "for" | "select" | "case" => {
                self.compounds.push(Compound { holds: None, piped: self.piped.take() });
            }
            "}" | "fi" | "done" | "esac" => {
                if let Some(closed) = self.compounds.pop() {
                    self.own = self.own.or(closed.holds);
                    self.piped = closed.piped;
                }
            }
            _ => {}
        }
    }

    /// The command at hand ends. `is_command` says whether it has words of its own.
    pub(super) fn end(&mut self, is_command: bool) {
        (self.own, self.here_string) = (None, None);
        // `a |` may go on in the next line.
        if is_command || !self.after_bar {
            (self.piped, self.after_bar) = (None, false);
        }
    }

    /// What the command behind a `|` reads, told before the one in front of it ends; nothing when it is the second `|` of a `||`.
    pub(super) fn behind_bar(&self, is_command: bool) -> Option<usize> {
        let is_or = self.after_bar && !is_command && self.own.is_none();
        self.own.or(self.piped).filter(|_| !is_or)
    }

    /// A command begins behind a `|`.
    pub(super) fn pipe(&mut self, value: Option<usize>) {
        (self.piped, self.after_bar) = (value, true);
    }
}
