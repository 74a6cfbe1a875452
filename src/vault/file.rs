//! Reads files that Ansible Vault encrypted as a whole: YAML in which every text and number is a secret.

use std::sync::Arc;

use zeroize::Zeroize as _;

use super::Keyring;
use crate::{
    secret::{Secret, holds_token},
    source::{Diagnostic, Node, SourceFile, Span, Vaulted, Yaml, yaml},
    template::is_template,
};

/// Decrypts a file and reads it. Places are those of the plain text, but everything except the names of keys is masked.
///
/// # Errors
/// No password fits, the file is damaged, or the plain text is not YAML or contains templates.
pub fn read(file: &Arc<SourceFile>, keys: &Keyring) -> Result<Node, Diagnostic> {
    let first = file.text.lines().next().unwrap_or_default().len();
    let plain = keys.open(&file.text).map_err(|error| {
        let title = format!("`{}` cannot be decrypted: {error}", file.shown);
        Diagnostic::error(title).at(Span::new(file, 0..first)).help(error.remedy())
    })?;
    read_plain(&file.shown, plain.expose())
}

/// Reads the plain text of a file that was encrypted.
pub(crate) fn read_plain(shown: &str, plain: &str) -> Result<Node, Diagnostic> {
    if holds_token(plain) {
        return Err(Diagnostic::error(format!("`{shown}` contains a character that is reserved for secrets")));
    }
    let mut open = SourceFile::new(shown, plain);
    let parsed = yaml::parse(&open);
    let mut text = masked(plain);
    let node = match parsed {
        Ok(mut node) => {
            unmask_keys(&node, plain, &mut text);
            let sealed = seal(&mut node, &SourceFile::new(shown, text));
            sealed.map(|()| node)
        }
        Err(error) => {
            // The parser's message may quote the text, so it is not shown.
            let span = error.span.map_or(0..0, |span| span.range);
            Err(Diagnostic::error(format!("the plain text of `{shown}` is not valid YAML"))
                .at(Span::new(&SourceFile::new(shown, text), span))
                .label("here")
                .help(format!("inspect it with `ansible-vault edit {shown}`")))
        }
    };
    if let Some(open) = Arc::get_mut(&mut open) {
        open.text.zeroize();
    }
    node
}

/// Replaces every visible byte of a text with an asterisk.
fn masked(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            std::iter::repeat_n(
                if character.is_whitespace() { character } else { '*' },
                if character.is_whitespace() { 1 } else { character.len_utf8() },
            )
        })
        .collect()
}

/// Restores the names of keys in the masked text.
fn unmask_keys(node: &Node, plain: &str, shown: &mut String) {
    match &node.value {
        Yaml::Seq(items) => items.iter().for_each(|item| unmask_keys(item, plain, shown)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                let end = key.span.range.end;
                let end = if plain[end..].starts_with(':') { end + 1 } else { end };
                shown.replace_range(key.span.range.start..end, &plain[key.span.range.start..end]);
                unmask_keys(value, plain, shown);
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => {}
    }
}

/// Turns texts and numbers into secrets, and makes every place refer to the masked text. Booleans and null are not secrets: a variable
/// in an encrypted file may still be used in a condition.
fn seal(node: &mut Node, shown: &Arc<SourceFile>) -> Result<(), Diagnostic> {
    node.span.file = Arc::clone(shown);
    match &mut node.value {
        Yaml::Null | Yaml::Bool(_) | Yaml::Vaulted(_) => {}
        Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => {
            if node.as_bool().is_some() {
                return Ok(());
            }
            let text = node.scalar_text().unwrap_or_default().into_owned();
            if !node.verbatim && is_template(&text) {
                return Err(Diagnostic::error("a template in an encrypted file: its whole text is a secret, and a secret cannot be rendered")
                    .at(node.span.clone())
                    .help("move the template to an unencrypted file and keep only its secret parts here; or, if the braces are part of the value, tag it `!unsafe`"));
            }
            if let Yaml::Str(old) = &mut node.value {
                old.zeroize();
            }
            node.value = Yaml::Vaulted(Vaulted::Decrypted(Secret::new(text)));
        }
        Yaml::Seq(items) => items.iter_mut().try_for_each(|item| seal(item, shown))?,
        Yaml::Map(entries) => {
            for (key, value) in entries {
                key.span.file = Arc::clone(shown);
                seal(value, shown)?;
            }
        }
    }
    Ok(())
}
