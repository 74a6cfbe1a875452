//! Secrets in templates: they are tokens where they are allowed, and errors elsewhere.

use std::collections::HashSet;

use serde_json::Value;

use super::{Failed, Origin, Scope};
use crate::{
    plan::lending,
    secret::{Encoding, SecretId, SecretRef, holds_token},
    source::{Diagnostic, Node, Span, Vaulted, did_you_mean},
    template::Template,
    vault,
};

/// How secrets may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Secrets {
    /// Not at all; the text says where, for the error.
    Forbidden(&'static str),
    /// As tokens.
    Tokens,
    /// As other tokens: if the result differs, it depends on the value of a secret.
    OtherTokens,
}

impl Scope<'_> {
    /// Reports a value that was rendered with a secret and is used where secrets are not allowed.
    pub(super) fn is_forbidden(&self, holds_token: bool, origin: Origin<'_>) -> bool {
        let Secrets::Forbidden(here) = self.secrets.get() else { return false };
        let forbidden = self.used_secret.get() && holds_token;
        if forbidden {
            self.fail(Diagnostic::error(format!("a secret cannot be used {here}")).at(origin.span(0, &(0..0))));
        }
        forbidden
    }

    /// Returns the secrets as tokens if the template uses them only in allowed ways.
    pub(super) fn check_secrets(&self, template: &Template, origin: Origin<'_>) -> Result<Value, Failed> {
        self.used_secret.set(true);
        let declared: HashSet<&str> = self.roles.iter().flat_map(|role| role.secrets.keys().map(String::as_str)).collect();
        let mut failed = None;
        for member in template.members("secrets") {
            let span = origin.span(member.file, &member.range);
            let invalid = |title: String| Diagnostic::error(title).at(span.clone());
            let diagnostic = match (&member.name, self.secrets.get()) {
                (_, Secrets::Forbidden(here)) => self.forbidden(here, &span),
                (None, _) => invalid("a secret must be used by its name".to_owned()).help("write `secrets.NAME`"),
                (Some(name), _) if !declared.contains(name.as_str()) => {
                    let diagnostic = invalid(format!("undeclared secret `{name}`"));
                    match did_you_mean(name, declared.iter().copied()) {
                        Some(name) => diagnostic.suggest(Some(name)),
                        None => diagnostic.help("declare it under `secrets:` of the role"),
                    }
                }
                (Some(name), _) => match &member.filter {
                    Some((filter, range)) if filter != "urlencode" => {
                        let span = origin.span(member.file, range);
                        Diagnostic::error(format!("`{filter}` cannot be used on the secret `{name}`"))
                            .at(span)
                            .help("`urlencode` is the only filter for secrets: their values are inserted on the node")
                    }
                    _ if member.compared => invalid(format!("nothing can depend on the value of the secret `{name}`"))
                        .help("its value is inserted on the node"),
                    Some(_) | None => continue,
                },
            };
            failed = Some(self.fail(diagnostic));
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        let tokens = declared.into_iter().map(|name| (name.to_owned(), Value::String(self.token(&self.declared_secret(name)))));
        Ok(Value::Object(tokens.collect()))
    }

    fn forbidden(&self, here: &str, span: &Span) -> Diagnostic {
        let diagnostic = Diagnostic::error(format!("a secret cannot be used {here}")).at(span.clone());
        let outermost = self.outermost.borrow().clone().filter(|_| !self.resolving.borrow().is_empty());
        let diagnostic = match outermost {
            Some(outermost) => diagnostic.at(outermost).also(span.clone(), "the secret"),
            None => diagnostic,
        };
        diagnostic.help("secrets go into the content of files, and into parameters that take a password")
    }

    /// Returns the token of a value encrypted with Ansible Vault. As with any secret, the value is inserted on the node.
    pub(super) fn vaulted(&self, node: &Node, value: &Vaulted) -> Result<Value, Failed> {
        self.used_secret.set(true);
        if let Secrets::Forbidden(here) = self.secrets.get() {
            return Err(self.fail(self.forbidden(here, &node.span)));
        }
        if let Vaulted::Encrypted(text) = value
            && let Err(error) = vault::check(text)
        {
            let diagnostic = Diagnostic::error(format!("this value is not what `ansible-vault` writes: {error}"));
            return Err(self.fail(diagnostic.at(node.span.clone()).help(error.remedy())));
        }
        let variable = self.resolving.borrow().last().cloned();
        let secret = self.project.vaulted(self.host.name(), variable.as_deref(), &node.span, value);
        let token = self.token(&secret);
        self.met.borrow_mut().insert(secret);
        Ok(Value::String(token))
    }

    /// Returns a variable of a task that is not rendered yet, and records the encrypted values behind it.
    pub(super) fn noting_vaulted(&self, name: &str) -> Result<Option<Value>, Failed> {
        self.again(Secrets::Tokens).variable(name)
    }

    /// Reports a comparison with a secret: with a token it would silently never hold.
    pub(super) fn is_compared(&self, name: &str, holds_token: bool, template: &Template, origin: Origin<'_>) -> bool {
        if self.secrets.get() == Secrets::OtherTokens || !holds_token {
            return false;
        }
        let places = template.compared(name);
        for (file, range) in &places {
            let diagnostic = Diagnostic::error(format!("`{name}` holds a secret: nothing can depend on its value"));
            self.fail(diagnostic.at(origin.span(*file, range)).help("its value is inserted on the node"));
        }
        !places.is_empty()
    }

    /// Returns all secrets that the rendered text may contain.
    fn all_secrets(&self) -> Vec<SecretId> {
        let declared = self.roles.iter().flat_map(|role| role.secrets.keys().map(|name| self.declared_secret(name)));
        declared.chain(self.met.borrow().iter().cloned()).collect()
    }

    pub(super) fn declared_secret(&self, name: &str) -> SecretId {
        SecretRef { host: self.owner(name), name: name.to_owned() }.into()
    }

    fn token(&self, secret: &SecretId) -> String {
        match self.secrets.get() {
            Secrets::OtherTokens => secret.other().token(Encoding::Plain),
            Secrets::Tokens | Secrets::Forbidden(_) => secret.token(Encoding::Plain),
        }
    }

    /// Returns the host on which a secret lives. Errors in its declaration are reported where the host's secrets are collected.
    fn owner(&self, name: &str) -> String {
        if let Some(owner) = self.owners.borrow().get(name) {
            return owner.clone();
        }
        let declared = self.roles.iter().find_map(|role| role.secrets.get(name).map(|source| (*role, source)));
        let owner = declared.and_then(|(role, source)| lending::owner(self.project, self.host, role, source).ok());
        let owner = owner.unwrap_or_else(|| self.host.name_in_token().to_owned());
        self.owners.borrow_mut().insert(name.to_owned(), owner.clone());
        owner
    }

    /// Replaces the tokens of [`Secrets::OtherTokens`] with the real ones.
    pub(in crate::plan) fn with_real_tokens(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.all_secrets() {
            for encoding in [Encoding::Plain, Encoding::Url] {
                text = text.replace(&secret.other().token(encoding), &secret.token(encoding));
            }
        }
        text
    }

    /// Whether every token of a text is whole.
    pub(in crate::plan) fn tokens_are_whole(&self, text: &str) -> bool {
        let mut text = text.to_owned();
        for secret in &self.all_secrets() {
            for encoding in [Encoding::Plain, Encoding::Url] {
                text = text.replace(&secret.token(encoding), "");
            }
        }
        !holds_token(&text)
    }
}
