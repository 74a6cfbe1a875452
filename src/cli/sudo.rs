//! The passwords for sudo: each host's own, or one for all others that is asked for.

use super::{arguments::ConnectionArgs, terminal};
use crate::{
    app::external::{self, Here, read_password},
    engine::Reach,
    outside::{ExternalValue, Source},
    plan::{ConnectionVars, Request},
    secret::{Secret, SecretRef},
    source::{Diagnostic, Diagnostics},
};

/// Gives every host that becomes root the password that its variables or the command line name. Asks at most once.
///
/// # Errors
/// Every source that gives no password. Nothing was contacted.
pub(super) fn give<'a>(
    reach: &mut Reach,
    hosts: impl Iterator<Item = (&'a String, &'a ConnectionVars)>,
    way: &ConnectionArgs,
    request: &Request,
) -> Result<(), Diagnostics> {
    let common = common(way, request).map_err(|error| Diagnostics(vec![error]))?;
    let (mut errors, mut fetched) = (Diagnostics::default(), Fetched::default());
    for (name, connection) in hosts.filter(|(_, connection)| connection.r#become) {
        let own = connection.become_password.as_ref().map(|outside| fetched.password(outside, name, request)).transpose();
        if let Some(own) = errors.keep(own)
            && let Some(target) = reach.get_mut(name)
        {
            target.become_password = own.or_else(|| common.clone());
        }
    }
    errors.into_result(())
}

/// The password that the command line names.
fn common(way: &ConnectionArgs, request: &Request) -> Result<Option<Secret>, Diagnostic> {
    let password = if way.ask_become_pass {
        terminal::ask("BECOME password: ", "the password for sudo", "--become-password-file")?
    } else if let Some(path) = &way.become_password_file {
        let bytes = read_password(path, "become", "password for sudo", &request.controller, &request.files().boundary)?;
        let text = std::str::from_utf8(&bytes).map(str::to_owned);
        text.map_err(|_| Diagnostic::error(format!("the password for sudo in `{}` is not UTF-8 text", path.display())))?.into()
    } else {
        return Ok(None);
    };
    if password.is_empty() {
        return Err(Diagnostic::error("the password for sudo is empty")
            .help("leave `--ask-become-pass` out where sudo asks for no password"));
    }
    if password.contains(char::is_control) {
        return Err(Diagnostic::error("the password for sudo has more than one line, or holds a control character"));
    }
    Ok(Some(Secret::new(password.to_string())))
}

/// The values of sources: each is read once, for all hosts that use it.
#[derive(Default)]
struct Fetched(Vec<(Source, Secret)>);

impl Fetched {
    fn password(&mut self, outside: &ExternalValue, host: &str, request: &Request) -> Result<Secret, Diagnostic> {
        if let Some((_, known)) = self.0.iter().find(|(source, _)| *source == outside.source) {
            return Ok(known.clone());
        }
        let here = Here { project: &request.project, keys: &request.vault, controller: &request.controller };
        let secret = SecretRef { host: host.to_owned(), name: "ansible_become_password".to_owned() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Diagnostic::error(format!("cannot read the password for sudo: {error}")))?;
        let password = runtime.block_on(external::fetch_one(outside, secret.into(), here))?;
        self.0.push((outside.source.clone(), password.clone()));
        Ok(password)
    }
}
