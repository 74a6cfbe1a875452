//! Kinds of resources for tests of the language: they show their parameters.

use serde_json::Value;

use crate::{
    question::{Questions, Unanswered},
    resource::{Claims, Files, Kind, NodeState, ParamError, Resource, ShellText, Verdict, decode, schema::parameters},
    secret::{Sealed, SecretId},
    values::{Flag, Mode, RemotePath},
};

pub(crate) const KINDS: &[&Kind] = &[&NOTE, &SHEET, &RUN, &CLAIM];

#[derive(Debug)]
struct Toy(#[allow(dead_code, reason = "shown by Debug")] String);

impl Resource for Toy {
    fn questions(&self, _: &mut Questions) {}

    fn compare(&self, _: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        Ok(Verdict::CONVERGED)
    }

    fn secrets(&self) -> Vec<SecretId> {
        Sealed::from(self.0.as_str()).secrets()
    }
}

const NOTE: Kind = Kind { name: "note", about: "A toy", example: "", decode: note, declared: Note::declared, free_form: "" };

parameters! {
    #[derive(Debug)]
    #[allow(dead_code, reason = "decoded for its errors")]
    struct Note {
        /// .
        path: RemotePath,
        /// .
        content: Option<Sealed>,
        /// .
        mode: Option<Mode>,
        /// .
        port: Option<u16>,
        /// .
        on: Option<Flag>,
        /// .
        list: Option<Vec<u16>>,
        /// .
        settings: Option<Value>,
    }
}

fn note(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let shown = parameters.to_string();
    decode::<Note>(parameters)?;
    Ok(Box::new(Toy(shown)))
}

const SHEET: Kind = Kind { name: "sheet", about: "A toy", example: "", decode: sheet, declared: Sheet::declared, free_form: "" };

parameters! {
    #[derive(Debug)]
    #[allow(dead_code, reason = "decoded for its errors")]
    struct Sheet {
        /// .
        src: String,
        /// .
        dest: RemotePath,
        /// .
        mode: Option<Mode>,
    }
}

fn sheet(parameters: Value, files: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let sheet: Sheet = decode(parameters)?;
    let content = files.template(&sheet.src).map_err(|error| ParamError::File(Box::new(error)))?;
    Ok(Box::new(Toy(content.shown())))
}

const RUN: Kind = Kind { name: "run", about: "A toy", example: "", decode: run, declared: Run::declared, free_form: "cmd" };

parameters! {
    #[derive(Debug)]
    #[allow(dead_code, reason = "decoded for its errors")]
    struct Run {
        /// .
        cmd: Option<ShellText>,
        /// .
        reads: Option<Flag>,
        /// .
        become_user: Option<String>,
        /// .
        environment: Option<Value>,
        /// .
        stdin: Option<Sealed>,
    }
}

fn run(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let shown = parameters.to_string();
    if decode::<Run>(parameters)?.cmd.is_none_or(|cmd| cmd.0.is_empty()) {
        return Err(ParamError::parameter("cmd", "give a command"));
    }
    Ok(Box::new(Toy(shown)))
}

const CLAIM: Kind =
    Kind { name: "claim", about: "A toy", example: "", decode: claim, declared: Claim::declared, free_form: "that" };

parameters! {
    #[derive(Debug)]
    #[allow(dead_code, reason = "decoded for its errors")]
    struct Claim {
        /// .
        that: Claims,
    }
}

fn claim(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let shown = parameters.to_string();
    decode::<Claim>(parameters)?;
    Ok(Box::new(Toy(shown)))
}
