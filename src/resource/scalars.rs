//! Parameters that are text or whole numbers, whichever of the two a role or a variable holds.

use serde_json::Value;

use super::{
    Argv, ParamError,
    schema::{Declare, Shape, from_json},
};
use crate::secret::Sealed;

/// Returns a number or a boolean as the text that a template makes of it. A number is one only if it is written as it prints, so this is no
/// guess: `1.10` and `010` have been text all along.
fn as_text(value: Value) -> Value {
    match value {
        scalar @ (Value::Number(_) | Value::Bool(_)) => Value::String(scalar.to_string()),
        other @ (Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_)) => other,
    }
}

impl Declare for String {
    fn shape() -> Shape {
        Shape::Text
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        from_json(as_text(value))
    }
}

impl Declare for Sealed {
    fn shape() -> Shape {
        Shape::Secret
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        from_json(as_text(value))
    }
}

impl Declare for Argv {
    fn shape() -> Shape {
        Shape::Argv
    }

    fn read(value: Value) -> Result<Self, ParamError> {
        Vec::read(value).map(Self)
    }
}

/// Returns the whole number that is given, also as digits: a template that makes text of a number is no mistake. Other spellings, such as
/// `010` and `0x10`, are not read in one of their ways.
fn whole<T: Declare + TryFrom<i64>>(value: &Value) -> Result<T, ParamError> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse::<i64>().ok().filter(|number| number.to_string() == *text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let given = || match value {
        Value::String(text) => format!("`{}`", crate::values::shortened(text)),
        Value::Number(_) | Value::Bool(_) => format!("`{value}`"),
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| ParamError::parameter("", format!("{} is not {}", given(), T::shape().words())))
}

/// Lets whole numbers be given as parameters.
macro_rules! numbers {
    ($($type:ty: $least:expr, $most:expr;)*) => {
        $(impl Declare for $type {
            fn shape() -> Shape {
                Shape::Integer { least: $least, most: $most }
            }

            fn read(value: Value) -> Result<Self, ParamError> {
                whole(&value)
            }
        })*
    };
}

numbers! {
    u16: 0, i64::from(u16::MAX);
    u32: 0, i64::from(u32::MAX);
    u64: 0, i64::MAX;
    i32: i64::from(i32::MIN), i64::from(i32::MAX);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error<T: Declare + std::fmt::Debug>(value: Value) -> String {
        match T::read(value).unwrap_err() {
            ParamError::Parameter { path, message } => format!("{path:?} {message}"),
            other @ (ParamError::Word { .. } | ParamError::File(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_and_booleans_are_text_where_text_is_wanted() {
        assert_eq!(String::read(json!(6379)).unwrap(), "6379");
        assert_eq!(String::read(json!(-1.5)).unwrap(), "-1.5");
        assert_eq!(Sealed::read(json!(true)).unwrap(), Sealed::from("true"));
        assert_eq!(Argv::read(json!(["redis-cli", "-p", 6379, false])).unwrap().0, ["redis-cli", "-p", "6379", "false"]);
        assert_eq!(error::<String>(json!(["a"])), "[] invalid type: sequence, expected a string");
        assert_eq!(error::<Argv>(json!(["a", {}])), "[Index(1)] invalid type: map, expected a string");
    }

    #[test]
    fn digits_are_a_number_where_one_is_wanted_and_the_rest_is_refused_in_plain_words() {
        assert_eq!(u32::read(json!("1000")).unwrap(), 1000);
        assert_eq!((i32::read(json!("-1")).unwrap(), u16::read(json!(0)).unwrap(), u64::read(json!("5")).unwrap()), (-1, 0, 5));
        for bad in [
            json!("01000"),
            json!("0x10"),
            json!("+1"),
            json!(" 1"),
            json!("1.0"),
            json!("-0"),
            json!(""),
            json!("-1"),
            json!(1.5),
        ] {
            let text = bad.as_str().map_or_else(|| bad.to_string(), str::to_owned);
            assert_eq!(error::<u32>(bad), format!("[] `{text}` is not a whole number from 0"));
        }
        assert_eq!(error::<u16>(json!(70000)), "[] `70000` is not a whole number from 0 to 65535");
        assert_eq!(error::<i32>(json!(3_000_000_000_u64)), "[] `3000000000` is not a whole number");
        assert_eq!(error::<u64>(json!(u64::MAX)), format!("[] `{}` is not a whole number from 0", u64::MAX));
        assert_eq!(error::<u64>(json!(["1"])), "[] a list is not a whole number from 0");
        assert_eq!(error::<u64>(json!({})), "[] a map is not a whole number from 0");
    }
}
