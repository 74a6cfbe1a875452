//! Shell scripts for a node: fixed text, quoted arguments, input, and a time limit. The only module that quotes for a shell.

use std::time::Duration;

use crate::secret::Sealed;

/// How long a task's script may run unless the task says otherwise.
pub const TASK_LIMIT: Duration = Duration::from_mins(10);

/// The directory on a node that exists while a run holds the node. Files that a script puts into its subdirectory `work` are removed with it,
/// however the script ended: at the end of the run or, if the node's whole session was killed, at the end of the next run.
pub const RUN_DIRECTORY: &str = "/run/autobot-provision";

/// A word that no POSIX shell accepts, because it contains a NUL byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a NUL byte cannot be part of a shell word")]
pub struct NulByte;

/// Which quotes a word gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quotes {
    /// `'…'` where the word holds anything that may mean something to a shell.
    WhereNeeded,
    /// `'…'`, always.
    Single,
    /// `"…"`, always.
    Double,
    /// As [`Quotes::WhereNeeded`], but `"…"` where that is shorter within a text that is itself quoted once: SQL is full of single quotes.
    Shortest,
}

/// Quotes `word` where it needs it, so that any POSIX shell reads it as exactly one word.
///
/// # Errors
/// [`NulByte`] if the word contains one.
pub fn quote(word: &str) -> Result<String, NulByte> {
    quote_with(word, Quotes::WhereNeeded)
}

/// Quotes `word` so that any POSIX shell reads it as exactly one word.
///
/// Single quotes take everything literally except the single quote itself, which is closed, escaped and reopened
/// (POSIX.1-2024, Shell Command Language, 2.2.2); in double quotes a backslash takes the meaning of `$`, `` ` ``, `"` and itself (2.2.3).
///
/// # Errors
/// [`NulByte`] if the word contains one.
pub fn quote_with(word: &str, style: Quotes) -> Result<String, NulByte> {
    if word.contains('\0') {
        return Err(NulByte);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    Ok(match style {
        Quotes::WhereNeeded | Quotes::Shortest if !word.is_empty() && word.bytes().all(plain) => word.to_owned(),
        Quotes::Shortest if word.matches(['\\', '$', '`', '"']).count() < 9 * word.matches('\'').count() => {
            return quote_with(word, Quotes::Double);
        }
        Quotes::WhereNeeded | Quotes::Shortest | Quotes::Single => format!("'{}'", word.replace('\'', "'\\''")),
        Quotes::Double => {
            let mut quoted = String::from("\"");
            for letter in word.chars() {
                if matches!(letter, '\\' | '$' | '`' | '"') {
                    quoted.push('\\');
                }
                quoted.push(letter);
            }
            quoted.push('"');
            quoted
        }
    })
}

/// A piece of shell to run as root on a node.
///
/// The text is a literal of this program. Values from users and nodes are passed as positional parameters (`"$1"`...)
/// or through standard input, so they can never become code. Secrets are passed through standard input only.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    functions: Vec<&'static str>,
    text: &'static str,
    arguments: Vec<String>,
    input: Sealed,
    limit: Duration,
    tells_limit: bool,
    carrier: Option<Carrier>,
}

/// Shell text that runs a script in a way of its own: its last two positional parameters are the script's limit in seconds, and the script's whole text.
///
/// The script's input is the carrier's, too.
#[derive(Debug, Clone, PartialEq)]
pub struct Carrier {
    /// The text.
    pub text: String,
    /// The positional parameters before those two.
    pub arguments: Vec<String>,
    /// How much longer than the script the carrier may run.
    pub grace: Duration,
}

/// How a script that asks several kinds of questions is run again, kind by kind, after all together took too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// The word that ends each kind's output.
    pub mark: String,
    /// The kinds, which the script finds in `$only`, with their limits.
    pub parts: Vec<(&'static str, Duration)>,
    /// Whether one of them may leave something running.
    pub may_leave: bool,
}

impl Script {
    /// Creates a script with this text, no arguments, and the limit [`TASK_LIMIT`].
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self {
            functions: Vec::new(),
            text,
            arguments: Vec::new(),
            input: Sealed::default(),
            limit: TASK_LIMIT,
            tells_limit: false,
            carrier: None,
        }
    }

    /// Puts shell functions before the text. Adding the same functions again has no effect.
    #[must_use]
    pub fn using(mut self, functions: &'static str) -> Self {
        if !self.functions.contains(&functions) {
            self.functions.push(functions);
        }
        self
    }

    /// Appends a positional parameter.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Appends positional parameters.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the standard input of the script.
    #[must_use]
    pub fn input(mut self, input: impl Into<Sealed>) -> Self {
        self.input = input.into();
        self
    }

    /// Sets how long the script may run before its process group is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Tells the functions and the text the limit, in whole seconds, as `$time_limit`: a script that waits can then end by itself and say
    /// what it waited for. One that is killed at its limit cannot.
    #[must_use]
    pub fn telling_limit(mut self) -> Self {
        self.tells_limit = true;
        self
    }

    /// Lets another shell text run the script.
    #[must_use]
    pub fn carried_by(mut self, carrier: Carrier) -> Self {
        self.carrier = Some(carrier);
        self
    }

    /// Returns whether the node finishes the script by itself when the link is lost: it is carried by a job.
    #[must_use]
    pub fn is_job(&self) -> bool {
        self.carrier.is_some()
    }

    /// Returns how long the script may run before its process group is killed, or its carrier ends it.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        self.limit
    }

    /// Returns how long all that is run for the script may take.
    #[must_use]
    pub fn whole_limit(&self) -> Duration {
        self.limit + self.carrier.as_ref().map_or(Duration::ZERO, |carrier| carrier.grace)
    }

    /// Returns the shell functions that the script uses: scripts that are put into one text share them.
    #[must_use]
    pub(crate) fn functions(&self) -> &[&'static str] {
        &self.functions
    }

    /// Returns the shell text without its functions: the positional parameters, then the text, without comments and indentation.
    ///
    /// # Errors
    /// [`NulByte`] if an argument contains one.
    pub(crate) fn render_body(&self) -> Result<String, NulByte> {
        Ok(self.parameters(Quotes::Shortest)? + &condensed(self.text))
    }

    /// Returns the lines that set what the functions and the text are told.
    fn parameters(&self, quotes: Quotes) -> Result<String, NulByte> {
        let mut shell = set_parameters(&self.arguments, quotes)?;
        if self.tells_limit {
            shell.push_str("time_limit=");
            shell.push_str(&self.limit.as_secs().to_string());
            shell.push('\n');
        }
        Ok(shell)
    }

    /// Returns the standard input of the script, with secrets still as tokens.
    #[must_use]
    pub fn sealed_input(&self) -> &Sealed {
        &self.input
    }

    /// Renders the shell text: the positional parameters, then the limit if it is told, then the functions, then the text; within its
    /// carrier, if it has one.
    ///
    /// # Errors
    /// [`NulByte`] if an argument contains one.
    pub fn render(&self) -> Result<String, NulByte> {
        let mut shell = self.parameters(Quotes::WhereNeeded)?;
        for text in self.functions.iter().chain([&self.text]) {
            shell.push_str(text);
            shell.push('\n');
        }
        let Some(carrier) = &self.carrier else { return Ok(shell) };
        let seconds = whole_seconds(self.limit).to_string();
        Ok(set_parameters(carrier.arguments.iter().chain([&seconds, &shell]), Quotes::WhereNeeded)? + &carrier.text)
    }
}

/// Returns the line that sets the positional parameters.
fn set_parameters<'a>(arguments: impl IntoIterator<Item = &'a String>, quotes: Quotes) -> Result<String, NulByte> {
    let mut line = String::from("set --");
    for argument in arguments {
        line.push(' ');
        line.push_str(&quote_with(argument, quotes)?);
    }
    line.push('\n');
    Ok(line)
}

/// Leaves out comments, indentation and empty lines, which cost bytes on the way.
#[must_use]
pub fn condensed(text: &str) -> String {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Rounds a limit up: shells need whole seconds, and 0 would mean "no limit".
#[must_use]
pub fn whole_seconds(limit: Duration) -> u64 {
    limit.as_secs() + u64::from(limit.subsec_nanos() > 0 || limit.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_real_shell_reads_back_every_word(words in proptest::collection::vec("[^\0]{0,40}", 1..8)) {
            let mut line = String::from("printf '%s\\0'");
            for word in &words {
                for quotes in [Quotes::WhereNeeded, Quotes::Single, Quotes::Double, Quotes::Shortest] {
                    line.push(' ');
                    line.push_str(&quote_with(word, quotes).unwrap());
                }
            }
            let output = Command::new("sh").arg("-c").arg(&line).output().unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat().repeat(4)).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }

    #[test]
    fn a_nul_byte_is_refused() {
        assert_eq!(quote("a\0b"), Err(NulByte));
        assert_eq!(Script::new("true").arg("\0").render(), Err(NulByte));
    }

    #[test]
    fn the_limit_that_is_told_is_the_one_that_was_set_last() {
        let script = Script::new("true").telling_limit().limit(Duration::from_secs(5));
        assert_eq!(script.limit(Duration::from_mins(2)).render().unwrap(), "set --\ntime_limit=120\ntrue\n");
    }

    #[test]
    fn user_text_is_only_ever_a_parameter() {
        let script = Script::new("echo \"$1\"").arg("$(reboot) '`");
        assert_eq!(script.render().unwrap(), "set -- '$(reboot) '\\''`'\necho \"$1\"\n");
    }
}
