//! The reference: pages made from what the code declares, shown by `doc` and written to `docs/reference/`.

mod catalog;
mod json_schema;
mod render;

pub use catalog::{keywords, kinds, role};
pub use json_schema::role_file;

use serde_json::{Value, json};

/// What a page is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A resource.
    Resource,
    /// A health check that reads.
    Check,
    /// A health check that uses the service.
    Exercise,
    /// The keys of a role file, a task or a handler.
    Keywords,
    /// What is known of a node.
    Facts,
    /// How the program ends.
    ExitCodes,
    /// A role.
    Role,
}

impl Topic {
    /// Its name in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Check => "health check",
            Self::Exercise => "exercise",
            Self::Keywords => "keywords",
            Self::Facts => "facts",
            Self::ExitCodes => "exit codes",
            Self::Role => "role",
        }
    }

    /// The heading of a list of such pages.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Resource => "Resources",
            Self::Check => "Health checks",
            Self::Exercise => "Exercises",
            Self::Keywords => "Keywords",
            Self::Facts => "Facts",
            Self::ExitCodes => "Exit codes",
            Self::Role => "Roles",
        }
    }
}

/// One thing, documented.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its name.
    pub name: String,
    /// What it is.
    pub topic: Topic,
    /// One line on what it is for.
    pub about: String,
    /// Lists of what it has.
    pub sections: Vec<Section>,
    /// YAML that shows how it is used.
    pub example: Option<String>,
}

/// A list on a page.
#[derive(Debug, Clone)]
pub struct Section {
    /// What is listed.
    pub title: String,
    /// The list.
    pub rows: Vec<Row>,
}

/// A parameter, a variable, a fact.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What it takes; empty if it takes no value.
    pub takes: String,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when it is not given.
    pub default: Option<String>,
    /// What it is for.
    pub help: String,
}

impl Page {
    /// `{name, topic, about, sections: [{title, rows: [{name, aliases, type, required, default, help}]}], example}`.
    #[must_use]
    pub fn document(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.name, "aliases": row.aliases, "type": row.takes, "required": row.required,
                "default": row.default, "help": row.help,
            })
        };
        let section =
            |section: &Section| json!({"title": section.title, "rows": section.rows.iter().map(row).collect::<Vec<_>>()});
        json!({
            "name": self.name,
            "topic": self.topic.as_str(),
            "about": self.about,
            "sections": self.sections.iter().map(section).collect::<Vec<_>>(),
            "example": self.example,
        })
    }
}
