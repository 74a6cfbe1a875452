//! The filters we add to Tera's, and their names.

use std::cell::RefCell;

use base64::Engine as _;
use tera::{Error, Kwargs, State, Tera, TeraResult, Value};

use crate::secret::{Encoding, Sealed, SealedPart};

thread_local! {
    /// What `__capture` saw last. Rendering does not leave the thread.
    static CAPTURED: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// The value that the last rendering on this thread captured.
pub(super) fn take_captured() -> Option<Value> {
    CAPTURED.with_borrow_mut(Option::take)
}

/// What `__text` says about an undefined value; the caller finds the better message.
pub(super) const UNDEFINED: &str = "this is undefined";

/// Every filter that a template may use, for did-you-mean.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "b64decode",
    "b64encode",
    "basename",
    "bool",
    "capitalize",
    "default",
    "dirname",
    "first",
    "float",
    "get",
    "group_by",
    "indent",
    "int",
    "join",
    "keys",
    "last",
    "length",
    "lower",
    "nth",
    "pairs",
    "pluralize",
    "replace",
    "reverse",
    "round",
    "sort",
    "split",
    "str",
    "title",
    "to_json",
    "trim",
    "trim_end",
    "trim_start",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "values",
    "wordcount",
];

/// Every test after `is`, for did-you-mean.
pub(super) const TESTS: &[&str] = &[
    "array",
    "bool",
    "containing",
    "defined",
    "divisible_by",
    "ending_with",
    "even",
    "float",
    "integer",
    "iterable",
    "map",
    "none",
    "number",
    "odd",
    "starting_with",
    "string",
    "undefined",
];

/// Every function, for did-you-mean.
pub(super) const FUNCTIONS: &[&str] = &["range", "throw"];

pub(super) fn register(tera: &mut Tera) {
    tera.register_filter("__capture", |value: Value, _: Kwargs, _: &State| {
        CAPTURED.with_borrow_mut(|captured| *captured = Some(value));
        String::new()
    });
    tera.register_filter("__text", |value: Value, _: Kwargs, _: &State| -> TeraResult<Value> {
        let what = if value.is_undefined() {
            UNDEFINED
        } else if value.is_none() {
            "nothing (`null`) where text is wanted"
        } else if value.is_map() {
            "a map where text is wanted: pick a key, or write it with `| to_json`"
        } else if value.is_array() {
            "a list where text is wanted: join it with `| join(sep=\", \")`, or write it with `| to_json`"
        } else {
            return Ok(value);
        };
        Err(Error::message(what))
    });
    tera.register_filter("str", |value: Value, _: Kwargs, _: &State| defined(value).map(|value| value.to_string()));
    tera.register_filter("bool", |value: Value, _: Kwargs, _: &State| {
        let value = defined(value)?;
        if let Some(value) = value.as_bool() {
            return Ok(value);
        }
        match (value.as_i64(), value.as_str().map(str::to_ascii_lowercase).as_deref()) {
            (Some(1), _) | (_, Some("true" | "yes" | "on" | "1")) => Ok(true),
            (Some(0), _) | (_, Some("false" | "no" | "off" | "0")) => Ok(false),
            _ => Err(Error::message("`bool` takes true, false, yes, no, on, off, 1 or 0")),
        }
    });
    tera.register_filter("to_json", |value: Value, _: Kwargs, _: &State| {
        serde_json::to_string(&defined(value)?).map_err(|error| Error::message(error.to_string()))
    });
    tera.register_filter("basename", |path: &str, _: Kwargs, _: &State| {
        path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
    });
    tera.register_filter("dirname", |path: &str, _: Kwargs, _: &State| match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => String::new(),
    });
    tera.register_filter("b64encode", |text: &str, _: Kwargs, _: &State| base64::engine::general_purpose::STANDARD.encode(text));
    tera.register_filter("b64decode", |text: &str, _: Kwargs, _: &State| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Error::message("not base64"))?;
        String::from_utf8(bytes).map_err(|_| Error::message("not text once decoded"))
    });
    tera.register_filter("urlencode", |text: &str, _: Kwargs, _: &State| url_encode(text));
}

fn defined(value: Value) -> TeraResult<Value> {
    if value.is_undefined() { Err(Error::message(UNDEFINED)) } else { Ok(value) }
}

/// Percent-encodes text and turns a secret's token into the one that is encoded when the value is put in.
fn url_encode(text: &str) -> String {
    let sealed = Sealed::from(text);
    let mut encoded = String::new();
    for part in sealed.parts() {
        match part {
            SealedPart::Bytes(bytes) => encoded.push_str(&crate::secret::percent_encode(&String::from_utf8_lossy(bytes))),
            SealedPart::Secret(secret, _) => encoded.push_str(&secret.token(Encoding::Url)),
        }
    }
    encoded
}
