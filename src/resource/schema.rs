//! Declarations of parameters: each is declared once, at the field that it fills.
//!
//! From one declaration, [`parameters!`] makes the struct, the code that reads it, and the [`Parameter`]s for did-you-mean, the reference,
//! `autobot-provision doc` and the JSON Schema.

use std::{collections::HashSet, net::IpAddr};

use indexmap::IndexMap;
use serde::{
    Deserializer,
    de::{DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use super::{Flag, Mode, OneOrMany, ParamError, ParameterWord, RemotePath, Segment, ShellText, State};
use crate::{firewall::Ports, pg::Name, question::account::AccountName};

/// A parameter of a resource, a health check or an exercise.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name in a role file.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Its purpose in one line.
    pub help: String,
    /// The values that it takes.
    pub shape: Shape,
    /// The value that it has if it is not given, as a role would write it.
    pub default: Option<Value>,
    /// Whether it must be given.
    pub required: bool,
}

impl Parameter {
    /// Returns its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// The values that a parameter takes.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Anything.
    Any,
    /// Text.
    Text,
    /// Text that may hold secrets.
    Secret,
    /// Text that a shell reads; each value in it is quoted.
    ShellText,
    /// The words of a command.
    Argv,
    /// Text of a certain form, described with its article.
    Formatted(&'static str),
    /// A scalar of a certain form, described with its article: text, a number or a boolean.
    Scalar(&'static str),
    /// A whole number in these bounds, both included.
    Integer {
        /// The least.
        least: i64,
        /// The greatest.
        most: i64,
    },
    /// True or false, also `yes`, `no`, `on`, `off`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An expression, or a list of them, whose value is true or false. The loader evaluates each and passes on `{expression, holds}`.
    Expressions,
    /// A list.
    List(Box<Self>),
    /// One value or a list of them.
    OneOrMany(Box<Self>),
    /// A map with any text as keys.
    Map(Box<Self>),
    /// A map with parameters of its own.
    Struct(&'static [Parameter]),
}

impl Shape {
    /// Describes the values for the user: `true or false`, `a list of: text`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Secret => "text, may hold secrets".to_owned(),
            Self::ShellText => "shell text; each value in it is quoted".to_owned(),
            Self::Argv => "a list of words".to_owned(),
            Self::Formatted(what) | Self::Scalar(what) => (*what).to_owned(),
            Self::Integer { least, most: i64::MAX } => format!("a whole number from {least}"),
            Self::Integer { least, most } if *least == i64::from(i32::MIN) && *most == i64::from(i32::MAX) => {
                "a whole number".to_owned()
            }
            Self::Integer { least: 0, most } if *most == i64::from(u32::MAX) => "a whole number from 0".to_owned(),
            Self::Integer { least, most } => format!("a whole number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::OneOf(words) => words.join(" | "),
            Self::Expressions => "an expression or a list of them".to_owned(),
            Self::List(item) => format!("a list of: {}", item.words()),
            Self::OneOrMany(item) => format!("one or a list of: {}", item.words()),
            Self::Map(value) => format!("a map of: {}", value.words()),
            Self::Struct(_) => "a map".to_owned(),
        }
    }

    /// Returns the parameters of the maps in it.
    #[must_use]
    pub fn inner(&self) -> &'static [Parameter] {
        match self {
            Self::List(item) | Self::OneOrMany(item) | Self::Map(item) => item.inner(),
            Self::Struct(parameters) => parameters,
            Self::Any
            | Self::Text
            | Self::Secret
            | Self::ShellText
            | Self::Argv
            | Self::Formatted(_)
            | Self::Scalar(_)
            | Self::Integer { .. }
            | Self::Flag
            | Self::OneOf(_)
            | Self::Expressions => &[],
        }
    }
}

/// A type whose values are given as parameters.
pub trait Declare: Sized {
    /// Returns the values that it takes.
    fn shape() -> Shape;

    /// Makes one from a rendered value.
    ///
    /// # Errors
    /// [`ParamError`], with the path from this value to the wrong one.
    fn read(value: Value) -> Result<Self, ParamError>;

    /// Returns the value if it is not given; `None` if it must be given.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }

    /// Takes it out of the given parameters. A struct made by [`parameters!`] takes its own parameters instead: they are spliced in.
    ///
    /// # Errors
    /// As [`Declare::read`], or if it is missing.
    fn take(given: &mut Given, name: &'static str, aliases: &[&'static str], default: Option<Value>) -> Result<Self, ParamError> {
        match (given.take(name, aliases)?, default) {
            (Some((key, value)), _) => Self::read(value).map_err(|error| error.within(Segment::Key(key))),
            (None, Some(default)) => Self::read(default).map_err(|error| error.within(Segment::Key(name.to_owned()))),
            (None, None) => {
                Self::absent().ok_or_else(|| ParamError::Word { path: Vec::new(), word: ParameterWord::Missing(name) })
            }
        }
    }
}

/// Given parameters that have not been taken yet.
#[derive(Debug)]
pub struct Given(Map<String, Value>);

impl Given {
    /// Starts with all of them.
    ///
    /// # Errors
    /// If the value is not a map, or has a key that is not declared.
    pub fn new(value: Value, declared: &'static [Parameter]) -> Result<Self, ParamError> {
        let map: Map<String, Value> = from_json(value)?;
        let known: HashSet<&str> = declared.iter().flat_map(Parameter::names).collect();
        match map.keys().find(|key| !known.contains(key.as_str())) {
            Some(key) => {
                let path = vec![Segment::Key(key.clone())];
                Err(ParamError::Word { path, word: ParameterWord::UnknownKey(declared) })
            }
            None => Ok(Self(map)),
        }
    }

    /// Takes a parameter under one of its names; returns that name and the value.
    fn take(&mut self, name: &'static str, aliases: &[&'static str]) -> Result<Option<(String, Value)>, ParamError> {
        let mut found: Option<(String, Value)> = None;
        for name in std::iter::once(name).chain(aliases.iter().copied()) {
            if let Some(value) = self.0.remove(name) {
                if let Some((first, _)) = &found {
                    return Err(ParamError::parameter(name, format!("is another name of `{first}`, which is given, too")));
                }
                found = Some((name.to_owned(), value));
            }
        }
        Ok(found)
    }
}

/// Declares a struct of parameters.
///
/// ```text
/// parameters! {
///     struct Parameters {
///         /// One line of help.
///         path | dest | name: RemotePath,       // must be given; `dest` and `name` are other names
///         /// ...
///         kind as type: Type = "table",         // called `type` in a role; the default is written as a role would
///         /// ...
///         comment: Option<String>,              // may be left out
///         /// Who owns it.
///         access: Access,                       // made by `parameters!` itself: its parameters are spliced in here
///     }
/// }
/// ```
macro_rules! parameters {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:tt) => { stringify!($name) };
    (@default) => { None };
    (@default $default:tt) => { Some(serde_json::json!($default)) };
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $struct:ident {
            $(
                $(#[doc = $help:literal])*
                $(#[expect($($expected:tt)*)])?
                $field:ident $(as $name:tt)? $(| $alias:tt)* : $type:ty $(= $default:tt)?
            ),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        $visibility struct $struct {
            $($(#[doc = $help])* $(#[expect($($expected)*)])? $visibility $field: $type,)*
        }

        impl $struct {
            /// The parameters, in their order.
            $visibility fn declared() -> &'static [$crate::resource::schema::Parameter] {
                use $crate::resource::schema::{declare, Parameter};
                static DECLARED: std::sync::LazyLock<Vec<Parameter>> = std::sync::LazyLock::new(|| {
                    let parts: Vec<Vec<Parameter>> = vec![$(declare::<$type>(
                        parameters!(@name $field $($name)?),
                        &[$(stringify!($alias)),*],
                        &[$($help),*],
                        parameters!(@default $($default)?),
                    )),*];
                    parts.concat()
                });
                &DECLARED
            }
        }

        impl $crate::resource::schema::Declare for $struct {
            fn shape() -> $crate::resource::schema::Shape {
                $crate::resource::schema::Shape::Struct(Self::declared())
            }

            fn read(value: serde_json::Value) -> Result<Self, $crate::resource::ParamError> {
                let mut given = $crate::resource::schema::Given::new(value, Self::declared())?;
                Self::take(&mut given, "", &[], None)
            }

            fn take(
                given: &mut $crate::resource::schema::Given,
                _: &'static str,
                _: &[&'static str],
                _: Option<serde_json::Value>,
            ) -> Result<Self, $crate::resource::ParamError> {
                Ok(Self {
                    $($field: <$type as $crate::resource::schema::Declare>::take(
                        given,
                        parameters!(@name $field $($name)?),
                        &[$(stringify!($alias)),*],
                        parameters!(@default $($default)?),
                    )?,)*
                })
            }
        }
    };
}
pub(crate) use parameters;

/// Returns the parameters of a field of this type: one, or those of the struct that is spliced in.
#[must_use]
pub fn declare<T: Declare>(
    name: &'static str,
    aliases: &'static [&'static str],
    help: &[&str],
    default: Option<Value>,
) -> Vec<Parameter> {
    let shape = T::shape();
    if let Shape::Struct(parameters) = shape {
        return parameters.to_vec();
    }
    let help = help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let required = default.is_none() && T::absent().is_none();
    vec![Parameter { name, aliases, help, shape, default, required }]
}

/// Returns the names of those that may hold secrets.
#[must_use]
pub fn secret_parameters(declared: &[Parameter]) -> Vec<&'static str> {
    declared.iter().filter(|parameter| matches!(parameter.shape, Shape::Secret)).flat_map(Parameter::names).collect()
}

/// Decodes a value with serde, keeping the path to the wrong value.
///
/// # Errors
/// [`ParamError::Parameter`].
pub fn from_json<T: DeserializeOwned>(value: Value) -> Result<T, ParamError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        use serde_path_to_error::Segment as Step;
        let steps = error.path().iter().filter_map(|step| match step {
            Step::Map { key } => Some(Segment::Key(key.clone())),
            Step::Seq { index } => Some(Segment::Index(*index)),
            Step::Enum { .. } | Step::Unknown => None,
        });
        ParamError::Parameter { path: steps.collect(), message: error.inner().to_string() }
    })
}

/// Lets types that serde reads be given as parameters.
macro_rules! values {
    ($($type:ty => $shape:expr),* $(,)?) => {
        $(impl $crate::resource::schema::Declare for $type {
            fn shape() -> $crate::resource::schema::Shape {
                use $crate::resource::schema::Shape::*;
                $shape
            }

            fn read(value: serde_json::Value) -> Result<Self, $crate::resource::ParamError> {
                $crate::resource::schema::from_json(value)
            }
        })*
    };
}
pub(crate) use values;

/// Lets enums without data, which serde reads as words, be given as parameters.
macro_rules! words {
    ($($type:ty),* $(,)?) => {
        $(impl $crate::resource::schema::Declare for $type {
            fn shape() -> $crate::resource::schema::Shape {
                $crate::resource::schema::Shape::OneOf($crate::resource::schema::words_of::<Self>())
            }

            fn read(value: serde_json::Value) -> Result<Self, $crate::resource::ParamError> {
                $crate::resource::schema::word(value)
            }
        })*
    };
}
pub(crate) use words;

values! {
    Value => Any,
    ShellText => ShellText,
    Flag => Flag,
    Mode => Formatted("a mode in quotes, such as \"0644\""),
    RemotePath => Formatted("an absolute path on the node"),
    AccountName => Formatted("the name of an account"),
    Name => Formatted("a name of PostgreSQL's"),
    IpAddr => Formatted("an IP address"),
    Ports => Scalar("a port such as 22, 80,443 or 1000:1010"),
    Map<String, Value> => Map(Box::new(Any)),
}
words!(State);

impl<T: Declare> Declare for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        if value.is_null() { Ok(None) } else { T::read(value).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Declare> Declare for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        let items: Vec<Value> = from_json(value)?;
        let item = |(index, item)| T::read(item).map_err(|error| error.within(Segment::Index(index)));
        items.into_iter().enumerate().map(item).collect()
    }
}

impl<T: Declare> Declare for OneOrMany<T> {
    fn shape() -> Shape {
        Shape::OneOrMany(Box::new(T::shape()))
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        match value {
            list @ Value::Array(_) => Vec::read(list).map(OneOrMany),
            one @ (Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(Self(vec![T::read(one)?])),
            other @ (Value::Null | Value::Object(_)) => from_json::<OneOrMany<String>>(other).map(|_| Self::default()),
        }
    }
}

impl<T: Declare> Declare for IndexMap<String, T> {
    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        let entries: Map<String, Value> = from_json(value)?;
        let entry = |(key, value): (String, Value)| match T::read(value) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(error.within(Segment::Key(key))),
        };
        entries.into_iter().map(entry).collect()
    }
}

/// Reads a word that serde knows.
///
/// # Errors
/// [`ParameterWord::UnknownWord`], or another error if the value is not text.
pub fn word<T: DeserializeOwned>(value: Value) -> Result<T, ParamError> {
    let text = value.as_str().map(str::to_owned);
    from_json(value).map_err(|error| match text {
        Some(word) => ParamError::Word { path: Vec::new(), word: ParameterWord::UnknownWord { word, known: words_of::<T>() } },
        None => error,
    })
}

/// Returns the words that an enum is read from: serde passes them to the deserializer.
#[must_use]
pub fn words_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Probe<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            words: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = words;
            Err(serde::de::Error::custom("only the words were asked for"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("no enum"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
            tuple tuple_struct map struct identifier ignored_any
        }
    }
    let mut words: &'static [&'static str] = &[];
    let _ = T::deserialize(Probe(&mut words));
    words
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
