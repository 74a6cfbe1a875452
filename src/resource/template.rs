//! `template`: a rendered template of the role at a path.

use serde::Deserialize;

use super::{Files, Flag, Kind, Mode, ParamError, RemotePath, Resource, access::Access, content::FileContent, decode};
use crate::question::account::AccountName;

/// How the loader sees it.
pub(super) const KIND: Kind = Kind {
    name: "template",
    decode: from_parameters,
    parameters: &["src", "dest", "owner", "group", "mode", "validate", "backup", "force", "follow"],
    // The template's own text may hold secrets; its parameters may not.
    secret_parameters: &[],
    expressions: &[],
    free_form: "",
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    src: String,
    dest: RemotePath,
    owner: Option<AccountName>,
    group: Option<AccountName>,
    mode: Option<Mode>,
    validate: Option<String>,
    #[serde(default)]
    backup: Flag,
    #[serde(default = "yes")]
    force: Flag,
    #[serde(default)]
    follow: Flag,
}

fn yes() -> Flag {
    Flag(true)
}

fn from_parameters(parameters: serde_json::Value, files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let given: Parameters = decode(parameters)?;
    let file = FileContent {
        path: given.dest,
        content: files.template(&given.src).map_err(|wrong| ParamError::File(Box::new(wrong)))?,
        access: Access { owner: given.owner, group: given.group, mode: given.mode },
        validate: given.validate,
        backup: given.backup.0,
        force: given.force.0,
        follow: given.follow.0,
    };
    Ok(Box::new(file.checked()?))
}
