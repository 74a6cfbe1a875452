//! What all hosts of a run share: the roles, the inventory, `-e`, and the templates, which are compiled once.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use indexmap::IndexMap;

use crate::{
    inventory::Inventory,
    outside::ExternalValue,
    role::{Role, VarType, misplaced_template, reserved},
    secret::SecretId,
    source::{Diagnostic, Diagnostics, FilesRead, SourceFile, Span, Vaulted, did_you_mean},
    template::{Problem, Renderer, Shared, Template, differences, is_jinja_file},
    vault,
};

use super::{Request, extra::Extra, outside::Vaults, scope::ansible_variable};

/// How a text of a role is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Text that contains values.
    Text,
    /// A bare expression, as in `when`.
    Expression,
    /// Shell text: each value becomes one word.
    Shell,
}

/// A compiled text.
pub(super) type Compiled = Arc<Result<Template, Vec<Problem>>>;
/// A compiled template file with its source and the sources of the files that it includes.
pub(super) type CompiledFile = Arc<Result<(Template, Vec<Arc<SourceFile>>), Diagnostics>>;

/// What to do about a file of a role that is not in the project.
const LINKS: &str =
    "a link may lead to a file of the project or of its git work tree; copy the file into the project, or link the whole role";

/// How many differences of a Jinja template are shown at most.
const MOST_DIFFERENCES: usize = 6;

/// A value that is the same for all hosts. It grows with the inventory, so nothing goes through it more than once.
#[derive(Debug)]
pub(super) struct ForAll {
    pub(super) value: Arc<Shared>,
    pub(super) holds_token: bool,
}

/// Roles, inventory and `-e` of one run.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) path: PathBuf,
    pub(super) inventory: Inventory,
    pub(super) roles: IndexMap<String, Role>,
    pub(super) extra: IndexMap<String, Extra>,
    /// The files that were read, those of the inventory among them.
    pub(super) files: FilesRead,
    pub(super) renderer: Renderer,
    pub(super) groups: OnceLock<ForAll>,
    pub(super) hostvars: OnceLock<ForAll>,
    vaults: Mutex<Vaults>,
    texts: Mutex<HashMap<(Form, String), Compiled>>,
    templates: Mutex<HashMap<(String, String), CompiledFile>>,
    /// The templates and files that exist and lie within the project: each is used many times in a run.
    existing: Mutex<HashSet<String>>,
}

impl Project {
    pub(super) fn new(request: &Request, inventory: Inventory, extra: IndexMap<String, Extra>) -> Self {
        Self {
            path: request.project.clone(),
            files: inventory.files.clone(),
            renderer: Renderer::new(Arc::clone(&request.controller)),
            inventory,
            extra,
            roles: IndexMap::new(),
            groups: OnceLock::new(),
            hostvars: OnceLock::new(),
            vaults: Mutex::default(),
            texts: Mutex::default(),
            templates: Mutex::default(),
            existing: Mutex::default(),
        }
    }

    /// Returns the secret for an encrypted value on a host, and records that the host needs it.
    pub(super) fn vaulted(&self, host: &str, variable: Option<&str>, span: &Span, value: &Vaulted) -> SecretId {
        self.vaults.lock().unwrap_or_else(PoisonError::into_inner).needed(host, variable, span, value)
    }

    /// Returns the encrypted values that a host needs.
    pub(super) fn vaulted_of(&self, host: &str) -> Vec<(SecretId, ExternalValue)> {
        self.vaults.lock().unwrap_or_else(PoisonError::into_inner).for_host(host)
    }

    /// Returns the compiled text; each text is compiled once per form.
    pub(super) fn text(&self, text: &str, form: Form) -> Compiled {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let compile = || {
            Arc::new(match form {
                Form::Text => Template::text(text),
                Form::Expression => Template::expression(text),
                Form::Shell => Template::shell(text),
            })
        };
        Arc::clone(texts.entry((form, text.to_owned())).or_insert_with(compile))
    }

    /// Returns a role and the roles that it requires, itself first, each once.
    pub(super) fn with_required<'a>(&'a self, role: &'a Role) -> Vec<&'a Role> {
        let mut all = vec![role];
        let mut next = 0;
        while let Some(role) = all.get(next).copied() {
            for required in &role.requires {
                if let Some(required) = self.roles.get(&required.text)
                    && !all.iter().any(|known| known.name == required.name)
                {
                    all.push(required);
                }
            }
            next += 1;
        }
        all
    }

    /// Returns the template `templates/<role>/<name>`, which is compiled once. `span` is in the task, for the error if the file is missing.
    pub(super) fn file(&self, role: &str, name: &str, span: &Span) -> CompiledFile {
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (role.to_owned(), name.to_owned());
        if let Some(file) = templates.get(&key) {
            return Arc::clone(file);
        }
        let compiled = Arc::new(self.compile_file(role, name, span));
        templates.insert(key, Arc::clone(&compiled));
        compiled
    }

    fn compile_file(&self, role: &str, name: &str, span: &Span) -> Result<(Template, Vec<Arc<SourceFile>>), Diagnostics> {
        let folder = format!("templates/{role}");
        let file = self.read(&folder, name, "template", span)?;
        let mut sources = HashMap::from([(name.to_owned(), Arc::clone(&file))]);
        let mut unreadable = Diagnostics::default();
        let compiled = Template::file(name, &file.text, &mut |included| match self
            .no_jinja(role, included, span)
            .and_then(|()| self.read(&folder, included, "template", span))
        {
            Ok(file) => Some(sources.entry(included.to_owned()).or_insert(file).text.clone()),
            // A missing file is reported where it is included.
            Err(ReadError::Missing(_)) => None,
            Err(ReadError::Wrong(diagnostic)) => {
                unreadable.push(diagnostic);
                None
            }
        });
        if !unreadable.is_empty() {
            return Err(unreadable);
        }
        let sources = |name: &str| sources.get(name).map_or_else(|| Arc::clone(&file), Arc::clone);
        match compiled {
            Ok(template) => {
                let files = template.files().map(sources).collect();
                Ok((template, files))
            }
            Err((problems, names)) => Err(Diagnostics(
                problems
                    .into_iter()
                    .map(|problem| {
                        let file = names.get(problem.file).map_or_else(|| Arc::clone(&file), |name| sources(name));
                        let span = Span::new(&file, problem.range.clone());
                        into_diagnostic(problem, span)
                    })
                    .collect(),
            )),
        }
    }

    /// Refuses a Jinja template, and lists what has another meaning in Tera.
    pub(super) fn no_jinja(&self, role: &str, name: &str, span: &Span) -> Result<(), ReadError> {
        if !is_jinja_file(name) {
            return Ok(());
        }
        let file = self.read(&format!("templates/{role}"), name, "template", span)?;
        let defaults = self.roles.get(role).map(|role| &role.defaults);
        let is_flag = |name: &str| defaults.and_then(|all| all.get(name)).is_some_and(|default| default.kind == VarType::Bool);
        let found = differences(&file.text, &is_flag, &ansible_variable);
        let stem = name.trim_end_matches(".j2");
        let mut help = format!("save it as `{stem}.tera`");
        help.push_str(if found.is_empty() { "; no spelling in it needs to change" } else { ", with these changes:" });
        for difference in found.iter().take(MOST_DIFFERENCES) {
            let _ = write!(help, "\nline {}: {}", difference.line, difference.text);
        }
        if found.len() > MOST_DIFFERENCES {
            let _ = write!(help, "\nand {} more", found.len() - MOST_DIFFERENCES);
        }
        help.push_str("\nAnsible prints booleans and lists as Python does (`True`, `['a']`), Tera does not: check the places that print them");
        let title = format!("`{name}` is a Jinja template, but templates are written in Tera here");
        Err(ReadError::Wrong(Diagnostic::error(title).at(span.clone()).help(help)))
    }

    fn read(&self, folder: &str, name: &str, what: &str, span: &Span) -> Result<Arc<SourceFile>, ReadError> {
        let shown = self.existing(folder, name, what, span)?;
        let file = self.files.read(&self.path.join(&shown), &shown).map_err(ReadError::Wrong)?;
        if vault::is_encrypted(&file.text) {
            let errors = Diagnostic::error(format!("`{shown}` is encrypted with Ansible Vault, but a {what} is never decrypted"));
            let errors = errors.at(span.clone()).help("encrypt the secret values in a variables file, and use those variables");
            return Err(ReadError::Wrong(errors));
        }
        match reserved(&file) {
            Some(span) => Err(ReadError::Wrong(Diagnostic::error("a character that is reserved for secrets").at(span))),
            None => Ok(file),
        }
    }

    /// Returns the path of an existing file below a folder of the project, relative to the project.
    pub(super) fn existing(&self, folder: &str, name: &str, what: &str, span: &Span) -> Result<String, ReadError> {
        let invalid = |title: String| Diagnostic::error(title).at(span.clone());
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(ReadError::Wrong(invalid(format!("`{name}` leaves `{folder}/`"))));
        }
        let shown = format!("{folder}/{name}");
        if self.existing.lock().unwrap_or_else(PoisonError::into_inner).contains(&shown) {
            return Ok(shown);
        }
        let path = self.path.join(&shown);
        let of_template = folder.strip_prefix("templates/");
        let role = of_template.or_else(|| folder.strip_prefix("roles/")?.strip_suffix("/files")).unwrap_or_default();
        if self.files.boundary.check_source(&path, role).is_err() {
            let diagnostic = invalid(format!("`{shown}` leads out of the project by a link"));
            return Err(ReadError::Wrong(diagnostic.help(LINKS)));
        }
        if path.is_file() {
            self.existing.lock().unwrap_or_else(PoisonError::into_inner).insert(shown.clone());
            return Ok(shown);
        }
        let there = self.files.names_in(&self.path.join(folder));
        let diagnostic = invalid(format!("no {what} `{shown}`"));
        let misplaced = of_template.and_then(|role| misplaced_template(&self.path, role, name, &self.files.boundary));
        if let Some(advice) = misplaced {
            return Err(ReadError::Missing(diagnostic.help(advice)));
        }
        Err(ReadError::Missing(match did_you_mean(name, there.iter().map(String::as_str)) {
            Some(name) => diagnostic.suggest(Some(name)),
            None if there.is_empty() => diagnostic.help(format!("`{folder}/` is empty or does not exist")),
            None => diagnostic.help(format!("`{folder}/` has: {}", there.join(", "))),
        }))
    }
}

/// Why a file of the project cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// There is no such file.
    Missing(Diagnostic),
    /// It exists and is wrong.
    Wrong(Diagnostic),
}

impl From<ReadError> for Diagnostic {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing(diagnostic) | ReadError::Wrong(diagnostic) => diagnostic,
        }
    }
}

impl From<ReadError> for Diagnostics {
    fn from(error: ReadError) -> Self {
        Self(vec![error.into()])
    }
}

/// Turns a problem of a template into a diagnostic.
pub(super) fn into_diagnostic(problem: Problem, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(problem.message).at(span);
    match problem.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}
