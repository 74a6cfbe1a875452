//! Kinds of resources for tests of the language: they show what they were given.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    question::{Questions, Unanswered},
    resource::{Files, Flag, Kind, Mode, NodeState, ParamError, RemotePath, Resource, Verdict, decode},
    secret::{Sealed, SecretRef},
};

pub(crate) const KINDS: &[&Kind] = &[&NOTE, &SHEET, &RUN, &CLAIM];

#[derive(Debug)]
struct Toy(#[allow(dead_code, reason = "shown by Debug")] String);

impl Resource for Toy {
    fn questions(&self, _: &mut Questions) {}

    fn compare(&self, _: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        Ok(Verdict::CONVERGED)
    }

    fn secrets(&self) -> Vec<SecretRef> {
        Sealed::from(self.0.as_str()).secrets()
    }
}

const NOTE: Kind = Kind {
    name: "note",
    decode: note,
    parameters: &["path", "content", "mode", "port", "on", "list", "settings"],
    secret_parameters: &["content"],
    expressions: &[],
    free_form: "",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "decoded for its errors")]
struct Note {
    path: RemotePath,
    content: Option<String>,
    mode: Option<Mode>,
    port: Option<u16>,
    on: Option<Flag>,
    list: Option<Vec<u16>>,
    settings: Option<Value>,
}

fn note(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let shown = parameters.to_string();
    decode::<Note>(parameters)?;
    Ok(Box::new(Toy(shown)))
}

const SHEET: Kind = Kind {
    name: "sheet",
    decode: sheet,
    parameters: &["src", "dest", "mode"],
    secret_parameters: &[],
    expressions: &[],
    free_form: "",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "decoded for its errors")]
struct Sheet {
    src: String,
    dest: RemotePath,
    mode: Option<Mode>,
}

fn sheet(parameters: Value, files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let sheet: Sheet = decode(parameters)?;
    let content = files.template(&sheet.src).map_err(|wrong| ParamError::File(Box::new(wrong)))?;
    Ok(Box::new(Toy(content.shown())))
}

const RUN: Kind = Kind {
    name: "run",
    decode: run,
    parameters: &["cmd", "reads", "become_user", "environment", "stdin"],
    secret_parameters: &["stdin"],
    expressions: &[],
    free_form: "cmd",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "decoded for its errors")]
struct Run {
    cmd: Option<String>,
    reads: Option<Flag>,
    become_user: Option<String>,
    environment: Option<Value>,
    stdin: Option<String>,
}

fn run(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let shown = parameters.to_string();
    if decode::<Run>(parameters)?.cmd.is_none_or(|cmd| cmd.is_empty()) {
        return Err(ParamError::parameter("cmd", "give a command"));
    }
    Ok(Box::new(Toy(shown)))
}

const CLAIM: Kind = Kind {
    name: "claim",
    decode: claim,
    parameters: &["that"],
    secret_parameters: &[],
    expressions: &["that"],
    free_form: "that",
};

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "decoded for its errors")]
struct Claim {
    that: Value,
}

fn claim(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let shown = parameters.to_string();
    decode::<Claim>(parameters)?;
    Ok(Box::new(Toy(shown)))
}
