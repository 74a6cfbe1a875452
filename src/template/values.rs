//! What the names of a template mean: values of its own, and values that many templates share.

use std::sync::Arc;

use serde_json::{Map, Value};
use tera::Context;

use super::risk;

/// A value that many templates use, measured and converted once: what it costs does not grow with the number of templates.
#[derive(Debug)]
pub struct Shared {
    value: Value,
    converted: tera::Value,
    size: usize,
}

impl Shared {
    /// Converts a value.
    #[must_use]
    pub fn new(value: Value) -> Self {
        let size = risk::size([&value], usize::MAX).unwrap_or(usize::MAX);
        count(size);
        Self { converted: tera::Value::from_serializable(&value), value, size }
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Its size as JSON writes it, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

/// The values of the names of one template.
#[derive(Debug, Default)]
pub struct Values<'a> {
    pub(super) own: Map<String, Value>,
    pub(super) shared: Vec<(&'a str, &'a Arc<Shared>)>,
}

impl From<Map<String, Value>> for Values<'_> {
    fn from(own: Map<String, Value>) -> Self {
        Self { own, shared: Vec::new() }
    }
}

impl<'a> Values<'a> {
    /// Sets the value of a name.
    pub fn insert(&mut self, name: &str, value: Value) {
        self.own.insert(name.to_owned(), value);
    }

    /// Sets the value of a name to one that others use too.
    pub fn share(&mut self, name: &'a str, value: &'a Arc<Shared>) {
        self.shared.push((name, value));
    }

    /// Returns them as Tera takes them. A shared value is neither copied nor converted again.
    pub(super) fn context(&self) -> Context {
        let mut context = context(&self.own);
        for (name, shared) in &self.shared {
            context.insert_value((*name).to_owned(), shared.converted.clone());
        }
        context
    }
}

/// Returns values as Tera takes them.
pub(super) fn context(values: &Map<String, Value>) -> Context {
    let mut context = Context::new();
    for (name, value) in values {
        context.insert(name.clone(), value);
    }
    context
}

/// Adds to what a test reads with [`worked`]: bytes that were measured, converted, sent or searched.
pub(crate) fn count(bytes: usize) {
    #[cfg(test)]
    WORKED.set(WORKED.get() + bytes);
    let _ = bytes;
}

#[cfg(test)]
thread_local! {
    static WORKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns how much work of [`count`] this thread has done for `work`.
#[cfg(test)]
pub(crate) fn worked(work: impl FnOnce()) -> usize {
    let before = WORKED.get();
    work();
    WORKED.get() - before
}
