//! `doc`: what there is to write in a role, and how each is used.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    cli::{
        exit::Exit,
        out,
        project::{self, GivenProject},
    },
    plan::known_roles,
    reference::{self, Page, Row, Section, Topic},
    report::harmless,
    role::{Role, ansible_advice, resource_name},
    source::{Boundary, Diagnostic, Diagnostics, FilesRead, diagnostic::Severity, did_you_mean},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Doc {
    /// A resource, a health check, a role, `task`, `facts`, `exit-codes`, or one of the lists `resources`, `checks`, `keywords` and `roles`
    /// (default: all of them, one line each)
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// List everything, as without a name
    #[arg(short, long, hide = true)]
    list: bool,

    /// The type of a plugin, which `ansible-doc` asks for
    #[arg(short = 't', long = "type", hide = true)]
    _type: Option<String>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

/// The form of a page.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// For a terminal
    Text,
    /// One JSON document
    Json,
    /// For `docs/reference/`
    Markdown,
}

/// Lists of pages: the word for one, its title, and what is on it.
type List = (&'static str, &'static str, fn(Topic) -> bool);
const LISTS: &[List] = &[
    ("resources", "Resources", |topic| matches!(topic, Topic::Resource)),
    ("checks", "Health checks and exercises", |topic| matches!(topic, Topic::Check | Topic::Exercise)),
    ("keywords", "Keywords, facts and exit codes", |topic| matches!(topic, Topic::Keywords | Topic::Facts | Topic::ExitCodes)),
    ("roles", "Roles", |topic| matches!(topic, Topic::Role)),
];

pub(in crate::cli) fn run(given: GivenProject<'_>, doc: &Doc) -> Exit {
    let (pages, mut errors) = match pages(given) {
        Ok(found) => found,
        Err(error) => {
            out::diagnostics(&Diagnostics(vec![error]));
            return Exit::WRONG_FILES;
        }
    };
    let Some(name) = doc.name.as_ref().filter(|_| !doc.list) else {
        print_list(&pages.iter().collect::<Vec<_>>(), doc.output, "Everything");
        return Exit::DONE;
    };
    if let Some((_, title, is_on)) = LISTS.iter().find(|(word, ..)| word == name) {
        print_list(&pages.iter().filter(|page| is_on(page.topic)).collect::<Vec<_>>(), doc.output, title);
        return Exit::DONE;
    }
    let found = find(&pages, name);
    if found.is_empty() {
        errors.0.retain(|error| {
            error.severity == Severity::Error
                && error.span.as_ref().map_or(&error.title, |span| &span.file.shown).contains(&format!("roles/{name}/"))
        });
        if errors.is_empty() {
            errors.push(unknown(name, &pages));
        }
        out::diagnostics(&errors);
        return Exit::WRONG_FILES;
    }
    print_pages(&found.iter().collect::<Vec<_>>(), doc.output);
    Exit::DONE
}

/// The pages with this name; else the page of the resource that it is another name of, or the part of each page of keywords that is about it.
fn find(pages: &[Page], name: &str) -> Vec<Page> {
    let named = |name: &str| pages.iter().filter(|page| page.name == *name).cloned().collect::<Vec<_>>();
    let found = named(name);
    if !found.is_empty() {
        return found;
    }
    if let Some(resource) = resource_name(name) {
        return named(resource);
    }
    let keywords = |page: &&Page| matches!(page.topic, Topic::Keywords | Topic::Facts);
    pages
        .iter()
        .filter(keywords)
        .cloned()
        .filter_map(|mut page| {
            for section in &mut page.sections {
                section.rows.retain(|row| row.name == *name);
            }
            page.sections.retain(|section| !section.rows.is_empty());
            (!page.sections.is_empty()).then_some(page)
        })
        .collect()
}

/// Words whose subject is documented elsewhere.
const ELSEWHERE: &[(&[&str], &str)] = &[(
    &["filter", "filters", "test", "tests", "expression", "expressions", "template", "templates", "jinja", "jinja2", "tera"],
    "expressions and templates have Tera's filters and tests: https://keats.github.io/tera/docs/#built-ins; \
     docs/ROLES.md, under Templates, has what differs",
)];

/// The error for an unknown name, with advice if the name is a word of Ansible.
fn unknown(name: &str, pages: &[Page]) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("nothing is called `{name}`"));
    if let Some((_, advice)) = ELSEWHERE.iter().find(|(words, _)| words.contains(&name)) {
        return diagnostic.help(*advice);
    }
    if let Some(advice) = ansible_advice(name) {
        return diagnostic.help(advice);
    }
    let known = pages.iter().map(|page| page.name.as_str()).chain(LISTS.iter().map(|(word, ..)| *word));
    match did_you_mean(name, known) {
        Some(meant) => diagnostic.suggest(Some(meant)),
        None => diagnostic.help("`doc` without a name lists everything"),
    }
}

/// All pages: those of the program, and those of the project's roles if there is a project; and the errors of roles that have none.
fn pages(given: GivenProject<'_>) -> Result<(Vec<Page>, Diagnostics), Diagnostic> {
    let mut pages = reference::kinds();
    pages.extend(reference::keywords());
    let codes =
        Exit::ALL.iter().map(|(code, meaning)| Row { name: code.to_string(), help: (*meaning).to_owned(), ..Row::default() });
    pages.push(Page {
        name: "exit-codes".to_owned(),
        topic: Topic::ExitCodes,
        about: "How the program ends; if several apply, the first of 130, 1, 3, 5, 2, 0".to_owned(),
        sections: vec![Section { title: "exit code".to_owned(), rows: codes.collect() }],
        example: None,
    });
    let project = match project::find(given.directory) {
        Ok(project) => project,
        // Without a project there are no roles to list.
        Err(_) if given.directory.is_none() => return Ok((pages, Diagnostics::default())),
        Err(error) => return Err(error),
    };
    let mut errors = Diagnostics::default();
    let files = FilesRead::new(Boundary::new(&project, given.trust));
    let known = known_roles(&project, &files, &mut errors);
    let roles: Vec<Role> = known.iter().filter_map(|name| Role::read(&project, name, &files, &mut errors)).collect();
    pages.extend(roles.iter().map(reference::role));
    Ok((pages, errors))
}

/// One line for each page; in Markdown the pages themselves.
fn print_list(pages: &[&Page], form: Form, title: &str) {
    match form {
        Form::Text => {
            let style = out::style();
            let width = pages.iter().map(|page| page.name.chars().count()).max().unwrap_or_default();
            let mut topic = None;
            for page in pages {
                if topic.replace(page.topic) != Some(page.topic) {
                    out::line(&style.bold(page.topic.plural()));
                }
                let about = style.wrap(&harmless(&page.about), width + 4).join(&format!("\n{:indent$}", "", indent = width + 4));
                out::line(&format!("  {:width$}  {about}", harmless(&page.name)));
            }
        }
        Form::Json => {
            let list = pages.iter().map(|page| json!({"name": page.name, "topic": page.topic.as_str(), "about": page.about}));
            out::json(&format!("{:#}", list.collect::<serde_json::Value>()));
        }
        Form::Markdown => {
            let mut text = format!("# {title}\n\nGenerated from the code: `autobot-provision doc {}`.\n", title_word(title));
            for page in pages {
                let _ = write!(text, "\n{}", page.markdown());
            }
            out::line(text.trim_end());
        }
    }
}

/// The list that has this title.
fn title_word(title: &str) -> &'static str {
    LISTS.iter().find(|(_, known, _)| *known == title).map_or("", |(word, ..)| word)
}

fn print_pages(pages: &[&Page], form: Form) {
    let style = out::style();
    match form {
        Form::Text => {
            let text: Vec<String> = pages.iter().map(|page| page.text(&|text, indent| style.wrap(text, indent))).collect();
            out::line(harmless(&text.join("\n")).trim_end());
        }
        Form::Json => out::json(&format!("{:#}", pages.iter().map(|page| page.document()).collect::<serde_json::Value>())),
        Form::Markdown => {
            let text: Vec<String> = pages.iter().map(|page| page.markdown()).collect();
            out::line(text.join("\n").trim_end());
        }
    }
}
