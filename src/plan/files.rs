//! The files of a role, as a resource sees them while it is decoded.

use crate::{
    resource::Files,
    secret::Sealed,
    source::{Diagnostic, Span},
};

use super::{
    expand::ItemSource,
    scope::{Failed, Scope, Secrets, any_text},
    secret_flow::{secret_not_passed_unchanged, with_real_tokens},
};

/// The files of a role, as a resource sees them.
pub(super) struct RoleFiles<'a> {
    pub(super) part: &'a ItemSource,
    pub(super) scope: &'a Scope<'a>,
    /// The span of the name of the file.
    pub(super) span: &'a Span,
    /// The error about the first missing file.
    pub(super) missing: Option<Diagnostic>,
    /// Whether the scope has already noted the errors.
    pub(super) reported: bool,
}

impl RoleFiles<'_> {
    /// Renders a template. Errors in the template's own text name the task too, because several tasks may render it.
    fn rendered(&self, name: &str) -> Result<Sealed, Failed> {
        let earlier = self.scope.take_errors();
        let rendered = self.render(name);
        let own = format!("templates/{}/", self.part.role);
        let in_template =
            |diagnostic: &Diagnostic| diagnostic.span.as_ref().is_some_and(|span| span.file.shown.starts_with(&own));
        let new = self.scope.take_errors().0.into_iter().map(|diagnostic| {
            if in_template(&diagnostic) { diagnostic.also(self.span.clone(), "rendered here") } else { diagnostic }
        });
        for diagnostic in earlier.0.into_iter().chain(new) {
            self.scope.fail(diagnostic);
        }
        rendered
    }

    fn render(&self, name: &str) -> Result<Sealed, Failed> {
        let file = self.part.project.file(&self.part.role, name, self.span);
        let (template, sources) = match file.as_ref() {
            Ok(file) => file,
            Err(errors) => {
                for diagnostic in &errors.0 {
                    self.scope.fail(diagnostic.clone());
                }
                return Err(Failed);
            }
        };
        self.scope.secrets.set(Secrets::Tokens);
        let rendered = self.scope.render_file(template, sources)?;
        if self.scope.used_secret() {
            let other = self.scope.again(Secrets::OtherTokens);
            let others = other.render_file(template, sources).map(|others| with_real_tokens(self.scope, others));
            if others.ok().as_ref() != Some(&rendered) || any_text(&rendered, &|text| !self.scope.tokens_are_whole(text)) {
                return Err(self.scope.fail(secret_not_passed_unchanged(Span::new(&sources[0], 0..0))));
            }
        }
        Ok(Sealed::from(rendered.as_str().unwrap_or_default()))
    }
}

impl Files for RoleFiles<'_> {
    fn template(&mut self, name: &str) -> Result<Sealed, Diagnostic> {
        let folder = format!("templates/{}", self.part.role);
        let found = self.part.project.existing(&folder, name, "template", self.span);
        let found = found.and_then(|_| self.part.project.no_jinja(&self.part.role, name, self.span));
        if let Err(error) = found.map_err(Diagnostic::from) {
            self.missing = Some(error.clone());
            return Err(error);
        }
        self.rendered(name).map_err(|Failed| {
            self.reported = true;
            Diagnostic::error(format!("the template `{name}` cannot be rendered"))
        })
    }

    fn file(&mut self, name: &str) -> Result<Sealed, Diagnostic> {
        let folder = format!("roles/{}/files", self.part.role);
        let found = self.part.project.existing(&folder, name, "file", self.span).map_err(Diagnostic::from);
        let shown = found.inspect_err(|missing| self.missing = Some(missing.clone()))?;
        let bytes = self.part.project.files.bytes(&self.part.project.path.join(&shown));
        let bytes = bytes.map_err(|error| Diagnostic::error(format!("cannot read `{shown}`: {error}")).at(self.span.clone()))?;
        if bytes.starts_with(b"$ANSIBLE_VAULT;") {
            let errors =
                Diagnostic::error(format!("`{shown}` is encrypted with Ansible Vault, but a file is copied without decryption"));
            return Err(errors.at(self.span.clone()).help("encrypt its content as a variable, and write that with `content:`"));
        }
        Sealed::public(bytes).ok_or_else(|| {
            Diagnostic::error(format!("`{shown}` contains a character that is reserved for secrets")).at(self.span.clone())
        })
    }
}
