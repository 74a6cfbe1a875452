//! What a node has answered so far.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
};

use super::{Kind, Unanswered};

/// The typed answers to the questions asked so far. Newer answers replace older ones.
#[derive(Default)]
pub struct Answers {
    by_kind: HashMap<TypeId, Box<dyn AnyKnown>>,
}

/// The answers of one kind.
pub(super) struct Known<K: Kind>(pub(super) HashMap<K::Key, Result<K::Answer, Unanswered>>);

/// [`Known`], for any kind.
trait AnyKnown: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// Moves these answers into `older`, which is of the same kind.
    fn absorb_into(self: Box<Self>, older: &mut dyn AnyKnown);
}

impl<K: Kind> AnyKnown for Known<K> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn absorb_into(self: Box<Self>, older: &mut dyn AnyKnown) {
        if let Some(older) = older.as_any_mut().downcast_mut::<Self>() {
            older.0.extend(self.0);
        }
    }
}

impl Answers {
    /// Returns the answer to a question.
    ///
    /// # Errors
    /// Returns the reason why there is none. A question that was never asked is a bug of this program, but still a failed task.
    pub fn get<K: Kind>(&self, key: &K::Key) -> Result<&K::Answer, Unanswered> {
        match self.known::<K>().and_then(|known| known.0.get(key)) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(Unanswered(format!("{} {key:?} was never asked", K::NAME))),
        }
    }

    /// Returns whether a question was asked, with or without success.
    #[must_use]
    pub fn has<K: Kind>(&self, key: &K::Key) -> bool {
        self.known::<K>().is_some_and(|known| known.0.contains_key(key))
    }

    /// Sets an answer, for tests of resources and for facts that the controller already knows.
    pub fn set<K: Kind>(&mut self, key: K::Key, answer: Result<K::Answer, Unanswered>) {
        let known = self.by_kind.entry(TypeId::of::<K>()).or_insert_with(|| Box::new(Known::<K>(HashMap::new())));
        if let Some(known) = known.as_any_mut().downcast_mut::<Known<K>>() {
            known.0.insert(key, answer);
        }
    }

    /// Merges newer answers, which replace older ones.
    pub fn absorb(&mut self, newer: Self) {
        for (kind, answers) in newer.by_kind {
            match self.by_kind.entry(kind) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(answers);
                }
                std::collections::hash_map::Entry::Occupied(mut entry) => answers.absorb_into(entry.get_mut().as_mut()),
            }
        }
    }

    pub(super) fn known<K: Kind>(&self) -> Option<&Known<K>> {
        self.by_kind.get(&TypeId::of::<K>())?.as_any().downcast_ref()
    }
}
