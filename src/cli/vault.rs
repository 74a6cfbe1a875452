//! The passwords of Ansible Vault: from files, from programs, or from a prompt at the terminal.

use std::{path::Path, sync::Arc};

use zeroize::Zeroizing;

use super::{arguments::Passwords, terminal};
use crate::{
    app::external::read_password,
    controller::Controller,
    source::{Boundary, Diagnostic, Diagnostics, SourceFile, Span},
    vault::Keyring,
};

/// The subject of a prompt, for errors.
const VAULT: &str = "vault password";

/// The label of a password without one.
const DEFAULT: &str = "default";

/// The passwords that the arguments name; none when they name none. A program of a stranger's project is not run.
pub(super) fn keys(arguments: &Passwords, controller: &Controller, boundary: &Boundary) -> Result<Arc<Keyring>, Diagnostics> {
    let (mut keys, mut errors) = (Keyring::default(), Diagnostics::default());
    for id in &arguments.vault_id {
        let (label, source) = match id.split_once('@') {
            Some(("", source)) => (DEFAULT, source),
            Some((label, source)) => (label, source),
            None => (DEFAULT, id.as_str()),
        };
        if source.is_empty() {
            let span = Span::new(&SourceFile::new("--vault-id", id.as_str()), 0..id.len());
            errors
                .push(Diagnostic::error("`--vault-id` takes `LABEL@SOURCE`").at(span).help("the source is a file, or `prompt`"));
        } else {
            let password = match source {
                "prompt" => ask(label),
                path => read_password(Path::new(path), label, VAULT, controller, boundary),
            };
            add(&mut keys, label, errors.keep(password));
        }
    }
    // An empty variable of the environment names no file.
    for path in arguments.vault_password_file.iter().filter(|path| !path.as_os_str().is_empty()) {
        add(&mut keys, DEFAULT, errors.keep(read_password(path, DEFAULT, VAULT, controller, boundary)));
    }
    if arguments.ask_vault_pass {
        add(&mut keys, DEFAULT, errors.keep(ask(DEFAULT)));
    }
    errors.into_result(Arc::new(keys))
}

fn add(keys: &mut Keyring, label: &str, password: Option<Zeroizing<Vec<u8>>>) {
    if let Some(password) = password {
        keys.add(label, password);
    }
}

/// Asks on the terminal.
fn ask(label: &str) -> Result<Zeroizing<Vec<u8>>, Diagnostic> {
    let prompt = if label == DEFAULT { "Vault password: ".to_owned() } else { format!("Vault password ({label}): ") };
    let typed = terminal::ask(&prompt, "the vault password", "--vault-password-file")?;
    let password = Zeroizing::new(typed.trim().as_bytes().to_vec());
    if password.is_empty() { Err(Diagnostic::error("the vault password is empty")) } else { Ok(password) }
}
