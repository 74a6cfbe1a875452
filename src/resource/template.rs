//! `template`: a rendered template of the role at a path.

use super::{Files, Kind, ParamError, Resource, content::WrittenFile, decode, schema::parameters};

/// The description of the kind for the loader.
pub(super) const KIND: Kind = Kind {
    name: "template",
    about: "Writes a file from a template",
    example: r#"template:
  src: app.conf.tera
  dest: /etc/app.conf
  mode: "0644""#,
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    struct Parameters {
        /// The template, in `templates/ROLE/`. Its text may hold secrets.
        src: String,
        /// The file.
        file: WrittenFile,
    }
}

fn from_parameters(parameters: serde_json::Value, files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let given: Parameters = decode(parameters)?;
    let content = files.template(&given.src).map_err(|diagnostic| ParamError::File(Box::new(diagnostic)))?;
    Ok(Box::new(given.file.holding(content).checked()?))
}
