//! The values that reach the standard input of a command: through the pipeline that it is in, or in a here-string.

/// What the commands of one list may read from their standard input. Values are identified by their numbers; of several, the first is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// The value that the list holds.
    any: Option<usize>,
    /// The value that the current command holds.
    own: Option<usize>,
    /// The value that its here-string holds, or the `<( )` that it reads.
    here_string: Option<usize>,
    /// The value that the commands before it in its pipeline hold.
    piped: Option<usize>,
    /// The value that reaches the command around this list.
    outer: Option<usize>,
    /// The compound commands that are open in the list.
    compounds: Vec<Compound>,
    /// Whether the current command begins after a `|`.
    after_bar: bool,
}

/// `{ }`, `if`, `for`, `while`, `case`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Compound {
    /// The value that it holds.
    holds: Option<usize>,
    /// The value that the commands before it in its pipeline hold.
    piped: Option<usize>,
}

impl Input {
    /// The input of a list of commands within the current command. A `>( )` also gets the value that this command holds.
    pub(super) fn inner(&mut self, is_process: bool) -> Self {
        self.after_bar = false;
        Self { outer: self.value().or(self.own.filter(|_| is_process)), ..Self::default() }
    }

    /// The value that the current command may read.
    pub(super) fn value(&self) -> Option<usize> {
        let around = || self.compounds.iter().rev().find_map(|compound| compound.piped);
        self.here_string.or(self.piped).or_else(around).or(self.outer)
    }

    /// The first value in the list.
    pub(super) fn any(&self) -> Option<usize> {
        self.any
    }

    /// Records that the current command holds a value.
    pub(super) fn holds(&mut self, number: usize) {
        self.any.get_or_insert(number);
        self.own.get_or_insert(number);
        for compound in &mut self.compounds {
            compound.holds.get_or_insert(number);
        }
    }

    /// Records that the current command reads a value.
    pub(super) fn reads(&mut self, number: usize) {
        self.here_string.get_or_insert(number);
    }

    /// Follows a word at a place where reserved words are recognized.
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

    /// Ends the current command. `is_command`: whether it has words.
    pub(super) fn end(&mut self, is_command: bool) {
        (self.own, self.here_string) = (None, None);
        // `a |` may continue on the next line.
        if is_command || !self.after_bar {
            (self.piped, self.after_bar) = (None, false);
        }
    }

    /// The value that the command after a `|` reads, asked before the command in front of it ends. None at the second `|` of a `||`.
    pub(super) fn behind_bar(&self, is_command: bool) -> Option<usize> {
        let is_or = self.after_bar && !is_command && self.own.is_none();
        self.own.or(self.piped).filter(|_| !is_or)
    }

    /// Begins the command after a `|`.
    pub(super) fn pipe(&mut self, value: Option<usize>) {
        (self.piped, self.after_bar) = (value, true);
    }
}
