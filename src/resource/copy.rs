//! `copy`: a file of the role, or a text, at a path.

use super::{Files, Kind, ParamError, Resource, content::WrittenFile, decode, schema::parameters};
use crate::secret::Sealed;

/// The description of the kind for the loader.
pub(super) const KIND: Kind = Kind {
    name: "copy",
    about: "Writes a file from text or from a file of the role",
    example: r#"copy:
  content: "vm.overcommit_memory = 1\n"
  dest: /etc/sysctl.d/60-redis.conf
  mode: "0644""#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// A file of the role, in `roles/NAME/files/`.
        src: Option<String>,
        /// The text of the file, instead of `src`.
        content: Option<Sealed>,
        /// The file.
        file: WrittenFile,
    }
}

fn from_parameters(parameters: serde_json::Value, files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let given: Parameters = decode(parameters)?;
    let content = match (given.src, given.content) {
        (Some(src), None) => files.file(&src).map_err(|error| ParamError::File(Box::new(error)))?,
        (None, Some(content)) => content,
        (Some(_), Some(_)) => return Err(ParamError::parameter("content", "give either `src` or `content`")),
        (None, None) => return Err(ParamError::parameter("", "give `src`, a file of the role, or `content`, a text")),
    };
    Ok(Box::new(given.file.holding(content).checked()?))
}
