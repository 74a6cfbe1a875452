//! The filters we add to Tera's, and their names.

use std::cell::{Cell, RefCell};

use base64::Engine as _;
use tera::{Error, Kwargs, State, Tera, TeraResult, Value};

use crate::{
    script::{Quotes, quote_with},
    secret::{Encoding, Sealed, SealedPart, holds_token},
};

thread_local! {
    /// The last value that `__capture` got. Rendering stays on its thread.
    static CAPTURED: RefCell<Option<Value>> = const { RefCell::new(None) };
    /// Whether a filter met an undefined value since this was last asked.
    static MET_UNDEFINED: Cell<bool> = const { Cell::new(false) };
    /// The values that `__word` got since they were last taken.
    static WORDS: RefCell<Vec<Words>> = const { RefCell::new(Vec::new()) };
}

/// Takes the value that the last rendering on this thread captured.
pub(super) fn take_captured() -> Option<Value> {
    CAPTURED.with_borrow_mut(Option::take)
}

/// A value that shell text holds.
#[derive(Debug)]
pub(super) struct Words {
    /// The number of its tag.
    pub(super) tag: usize,
    /// Its words.
    pub(super) list: Vec<String>,
    /// Whether it is a list.
    pub(super) is_list: bool,
}

/// Takes the values of the shell text that was rendered last on this thread, in the order of their marks.
pub(super) fn take_words() -> Vec<Words> {
    WORDS.take()
}

/// The placeholder of a value in rendered shell text until it is quoted is its number between these characters, which no text contains.
pub(super) const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Returns the words of a value: one, or those of a list.
fn words(value: &Value) -> TeraResult<Vec<String>> {
    if value.is_undefined() {
        return Err(undefined());
    }
    let error = |value: &Value| {
        let message = if value.is_none() {
            "nothing (`null`) where a word is wanted: give it a `default`, or leave it out with `{% if %}`"
        } else if value.is_map() {
            "a map where a word is wanted: pick a key, or write it with `| to_json`"
        } else {
            "a list within a list where words are wanted"
        };
        Error::message(message)
    };
    let word = |value: &Value| {
        let fits = value.is_string() || value.is_number() || value.is_bool();
        if fits { Ok(value.to_string()) } else { Err(error(value)) }
    };
    match value.as_array() {
        Some(items) => items.iter().map(word).collect(),
        None => Ok(vec![word(value)?]),
    }
}

/// Returns the error for an undefined value, and notes it for [`take_undefined`]: the caller finds better words.
fn undefined() -> Error {
    MET_UNDEFINED.set(true);
    Error::message("this is undefined")
}

/// Returns whether a filter met an undefined value in what was rendered last on this thread.
pub(super) fn take_undefined() -> bool {
    MET_UNDEFINED.take()
}

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
    "shquote",
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
        let message = if value.is_undefined() {
            return Err(undefined());
        } else if value.is_none() {
            "nothing (`null`) where text is wanted"
        } else if value.is_map() {
            "a map where text is wanted: pick a key, or write it with `| to_json`"
        } else if value.is_array() {
            "a list where text is wanted: join it with `| join(sep=\", \")`, or write it with `| to_json`"
        } else {
            return Ok(value);
        };
        Err(Error::message(message))
    });
    tera.register_filter("__word", |value: Value, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let tag = kwargs.must_get::<u64>("tag")?;
        let found = Words { tag: usize::try_from(tag).unwrap_or_default(), list: words(&value)?, is_list: value.is_array() };
        let number = WORDS.with_borrow_mut(|words| {
            words.push(found);
            words.len() - 1
        });
        let [open, close] = MARKS;
        Ok(format!("{open}{number}{close}"))
    });
    tera.register_filter("shquote", |value: Value, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let quoting = match kwargs.get::<&str>("quotes")? {
            None => Quotes::WhereNeeded,
            Some("single") => Quotes::Single,
            Some("double") => Quotes::Double,
            Some(_) => return Err(Error::message("`quotes` of `shquote` is \"single\" or \"double\"")),
        };
        let words = words(&value)?;
        if words.iter().any(|word| holds_token(word)) {
            return Err(Error::message("`shquote` cannot be used on a secret: `urlencode` is the only filter for secrets"));
        }
        let quoted: Result<Vec<String>, _> = words.iter().map(|word| quote_with(word, quoting)).collect();
        quoted.map(|words| words.join(" ")).map_err(|error| Error::message(error.to_string()))
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
    if value.is_undefined() { Err(undefined()) } else { Ok(value) }
}

/// Percent-encodes text, and replaces a secret's token with one whose value is encoded when it is put in.
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
