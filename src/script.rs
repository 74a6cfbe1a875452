//! Shell for a node: fixed text, quoted arguments, input, a time limit. The only place that quotes.

use std::time::Duration;

use crate::secret::Sealed;

/// How long a task's script may run unless the task says otherwise.
pub const TASK_LIMIT: Duration = Duration::from_mins(10);

/// The directory on a node that is there as long as a run holds it. What a script puts into `work` below is removed with it, whatever ended the
/// script: at the end of the run, or, where the node's whole session was killed, of the next one.
pub const RUN_DIRECTORY: &str = "/run/autobot-provision";

/// A word that no POSIX shell can take, because it holds a NUL byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a NUL byte cannot be part of a shell word")]
pub struct NulByte;

/// Quotes `word` so that any POSIX shell reads it as exactly one word.
///
/// Single quotes take everything literally except the single quote itself, which is closed, escaped and reopened
/// (POSIX.1-2024, Shell Command Language, 2.2.2).
///
/// # Errors
/// [`NulByte`] when the word holds one.
pub fn quote(word: &str) -> Result<String, NulByte> {
    if word.contains('\0') {
        return Err(NulByte);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return Ok(word.to_owned());
    }
    Ok(format!("'{}'", word.replace('\'', "'\\''")))
}

/// A piece of shell to run as root on a node.
///
/// The text is a literal of this program: what comes from users and nodes travels as positional parameters (`"$1"`...)
/// or through standard input, so it can never become code. Secrets travel through standard input only.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    functions: Vec<&'static str>,
    text: &'static str,
    arguments: Vec<String>,
    input: Sealed,
    limit: Duration,
}

impl Script {
    /// A script with this text and no arguments, under [`TASK_LIMIT`].
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self { functions: Vec::new(), text, arguments: Vec::new(), input: Sealed::default(), limit: TASK_LIMIT }
    }

    /// Puts shell functions before the text, once however often they are asked for.
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

    /// What the script reads from its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Sealed>) -> Self {
        self.input = input.into();
        self
    }

    /// How long the script may run before its process group is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How long the script may run before its process group is killed.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        self.limit
    }

    /// What the script reads from its standard input, with secrets still as tokens.
    #[must_use]
    pub fn sealed_input(&self) -> &Sealed {
        &self.input
    }

    /// The shell text: the parameters set, then functions, then the text.
    ///
    /// # Errors
    /// [`NulByte`] when an argument holds one.
    pub fn render(&self) -> Result<String, NulByte> {
        let mut shell = String::from("set --");
        for argument in &self.arguments {
            shell.push(' ');
            shell.push_str(&quote(argument)?);
        }
        shell.push('\n');
        for functions in &self.functions {
            shell.push_str(functions);
            shell.push('\n');
        }
        shell.push_str(self.text);
        shell.push('\n');
        Ok(shell)
    }
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
                line.push(' ');
                line.push_str(&quote(word).unwrap());
            }
            let output = Command::new("sh").arg("-c").arg(&line).output().unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }

    #[test]
    fn refuses_a_nul_byte() {
        assert_eq!(quote("a\0b"), Err(NulByte));
        assert_eq!(Script::new("true").arg("\0").render(), Err(NulByte));
    }

    #[test]
    fn user_text_is_only_ever_a_parameter() {
        let script = Script::new("echo \"$1\"").arg("$(reboot) '`");
        assert_eq!(script.render().unwrap(), "set -- '$(reboot) '\\''`'\necho \"$1\"\n");
    }
}
