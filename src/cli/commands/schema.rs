//! `schema`: the JSON Schema of files of a project.

use clap::{Args, ValueEnum};

use crate::{
    cli::{exit::Exit, out},
    reference,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Schema {
    /// The file that the schema is for
    #[arg(value_name = "FILE", default_value = "role")]
    file: File,
}

/// A file of a project.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum File {
    /// `roles/NAME/role.yml`
    Role,
}

pub(in crate::cli) fn run(schema: &Schema) -> Exit {
    match schema.file {
        File::Role => out::json(&format!("{:#}", reference::role_file())),
    }
    Exit::DONE
}
