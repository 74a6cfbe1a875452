//! Files that Ansible Vault encrypted as a whole: read as YAML in which every text and number is a secret.

use std::sync::Arc;

use zeroize::Zeroize as _;

use super::Keyring;
use crate::{
    secret::{Secret, holds_token},
    source::{Diagnostic, Node, Place, SourceFile, Vaulted, Yaml, yaml},
    template::is_template,
};

/// Decrypts a file and reads it. Places are those of the plain text, but what they show is masked, names of keys excepted.
///
/// # Errors
/// A password that is missing or does not fit, a damaged file, plain text that is no YAML or holds templates.
pub fn read(file: &Arc<SourceFile>, keys: &Keyring) -> Result<Node, Diagnostic> {
    let first = file.text.lines().next().unwrap_or_default().len();
    let plain = keys.open(&file.text).map_err(|error| {
        let title = format!("`{}` cannot be decrypted: {error}", file.shown);
        Diagnostic::error(title).at(Place::new(file, 0..first)).help(error.remedy())
    })?;
    if holds_token(plain.expose()) {
        return Err(Diagnostic::error(format!("`{}` holds a character that is reserved for secrets", file.shown)));
    }
    let mut open = SourceFile::new(file.shown.as_str(), plain.expose());
    let parsed = yaml::parse(&open);
    let mut shown = masked(plain.expose());
    let node = match parsed {
        Ok(mut node) => {
            keep_keys(&node, plain.expose(), &mut shown);
            let shown = SourceFile::new(file.shown.as_str(), shown);
            let closed = close(&mut node, &shown);
            closed.map(|()| node)
        }
        Err(wrong) => {
            // Its own words may quote the text.
            let place = wrong.place.map_or(0..0, |place| place.range);
            Err(Diagnostic::error(format!("what is encrypted in `{}` is not valid YAML", file.shown))
                .at(Place::new(&SourceFile::new(file.shown.as_str(), shown), place))
                .label("here")
                .help(format!("look at it with `ansible-vault edit {}`", file.shown)))
        }
    };
    if let Some(open) = Arc::get_mut(&mut open) {
        open.text.zeroize();
    }
    node
}

/// The text with a mark for every visible byte.
fn masked(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            std::iter::repeat_n(
                if letter.is_whitespace() { letter } else { '*' },
                if letter.is_whitespace() { 1 } else { letter.len_utf8() },
            )
        })
        .collect()
}

/// Puts the names of keys back.
fn keep_keys(node: &Node, plain: &str, shown: &mut String) {
    match &node.value {
        Yaml::Seq(items) => items.iter().for_each(|item| keep_keys(item, plain, shown)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                let end = key.place.range.end;
                let end = if plain[end..].starts_with(':') { end + 1 } else { end };
                shown.replace_range(key.place.range.start..end, &plain[key.place.range.start..end]);
                keep_keys(value, plain, shown);
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) => {}
    }
}

/// Makes secrets of texts and numbers, and lets every place refer to what may be shown. True, false and nothing are no secrets: a variable
/// in an encrypted file may still decide something.
fn close(node: &mut Node, shown: &Arc<SourceFile>) -> Result<(), Diagnostic> {
    node.place.file = Arc::clone(shown);
    match &mut node.value {
        Yaml::Null | Yaml::Bool(_) | Yaml::Vaulted(_) => {}
        Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => {
            if node.as_bool().is_some() {
                return Ok(());
            }
            let text = node.scalar_text().unwrap_or_default().into_owned();
            if !node.verbatim && is_template(&text) {
                return Err(Diagnostic::error("a template in an encrypted file: all of it is a secret, and nothing can be made of a secret")
                    .at(node.place.clone())
                    .help("put the template into a file in clear and only its secret parts here; or, if this is the value itself, tag it `!unsafe`"));
            }
            if let Yaml::Str(old) = &mut node.value {
                old.zeroize();
            }
            node.value = Yaml::Vaulted(Vaulted::Opened(Secret::new(text)));
        }
        Yaml::Seq(items) => items.iter_mut().try_for_each(|item| close(item, shown))?,
        Yaml::Map(entries) => {
            for (key, value) in entries {
                key.place.file = Arc::clone(shown);
                close(value, shown)?;
            }
        }
    }
    Ok(())
}
