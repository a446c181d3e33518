//! Rights that clients have in common, found again.

use std::sync::{Arc, Weak};

use dunlin_topics::KeyedState;
use hashbrown::HashMap;

use crate::rights::{InvalidSubject, Rights};
use crate::rule_set::{RuleSet, SectionId, Standing};
use crate::subject::Subject;

/// The rights that are in use, by what they depend on: the rules that are for a client, and the values of the placeholders
/// in them. Clients that agree in both share one [`Rights`].
///
/// It keeps no rights alive: those that no client has any more are made anew when somebody wants them. So the bound is one
/// on the table itself: with [`RightsCache::ENTRIES_MAX`] entries, those whose rights are gone are taken out; if that frees
/// less than a quarter, all are, and clients that come later share with each other, no longer with those before.
#[derive(Debug)]
pub struct RightsCache {
    rules: Arc<RuleSet>,
    /// The values of placeholders come from clients, hence the keyed hash.
    entries: HashMap<Key, Weak<Rights>, KeyedState>,
}

#[derive(Debug, Eq, Hash, PartialEq)]
struct Key {
    sections: Box<[SectionId]>,
    /// Of the placeholders in these sections, in their order.
    values: Box<[Option<Box<str>>]>,
}

impl RightsCache {
    /// The most entries of the table.
    pub const ENTRIES_MAX: usize = 65_536;

    /// A cache of rights under some rules.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { rules, entries: HashMap::default() }
    }

    /// The rules in force.
    #[must_use]
    pub const fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Puts other rules in force. Rights that were given out stay as they are: whoever holds them asks for new ones.
    pub fn replace(&mut self, rules: Arc<RuleSet>) {
        *self = Self::new(rules);
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The rights of a client, shared with those who have the same.
    ///
    /// # Errors
    ///
    /// As [`Rights::new`].
    pub fn rights(&mut self, subject: &Subject<'_>) -> Result<Arc<Rights>, InvalidSubject> {
        let Standing { sections, .. } = self.rules.standing(subject);
        let Some(key) = self.key(subject, sections.iter().copied().collect()) else {
            // A value that no filter takes: to make the rights says which, and why.
            return Rights::of_sections(&self.rules, subject, sections).map(Arc::new);
        };
        if let Some(rights) = self.entries.get(&key).and_then(Weak::upgrade) {
            return Ok(rights);
        }
        let rights = Arc::new(Rights::of_sections(&self.rules, subject, sections)?);
        self.make_room();
        self.entries.insert(key, Arc::downgrade(&rights));
        Ok(rights)
    }

    fn key(&self, subject: &Subject<'_>, sections: Box<[SectionId]>) -> Option<Key> {
        let of_sections = sections.iter().filter_map(|id| self.rules.section(*id));
        let values = of_sections
            .flat_map(|section| &section.placeholders)
            .map(|placeholder| placeholder.value(subject).map(|value| value.map(Box::from)));
        let values = values.collect::<Result<_, _>>().ok()?;
        Some(Key { sections, values })
    }

    fn make_room(&mut self) {
        if self.entries.len() < Self::ENTRIES_MAX {
            return;
        }
        self.entries.retain(|_, rights| rights.strong_count() > 0);
        if self.entries.len() > Self::ENTRIES_MAX / 4 * 3 {
            self.entries.clear();
        }
    }
}
