//! `copy`: a file of the role, or a text, at a path.

use serde::Deserialize;

use super::{Files, Flag, Kind, Mode, ParamError, RemotePath, Resource, access::Access, content::FileContent, decode};
use crate::{question::account::AccountName, secret::Sealed};

/// How the loader sees it.
pub(super) const KIND: Kind = Kind {
    name: "copy",
    decode: from_parameters,
    parameters: &["src", "content", "dest", "owner", "group", "mode", "validate", "backup", "force", "follow"],
    secret_parameters: &["content"],
    expressions: &[],
    free_form: "",
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    src: Option<String>,
    content: Option<Sealed>,
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
    let content = match (given.src, given.content) {
        (Some(src), None) => files.file(&src).map(Sealed::from).map_err(|wrong| ParamError::File(Box::new(wrong)))?,
        (None, Some(content)) => content,
        (Some(_), Some(_)) => return Err(ParamError::parameter("content", "give either `src` or `content`")),
        (None, None) => return Err(ParamError::parameter("", "give `src`, a file of the role, or `content`, a text")),
    };
    let file = FileContent {
        path: given.dest,
        content,
        access: Access { owner: given.owner, group: given.group, mode: given.mode },
        validate: given.validate,
        backup: given.backup.0,
        force: given.force.0,
        follow: given.follow.0,
    };
    Ok(Box::new(file.checked()?))
}
