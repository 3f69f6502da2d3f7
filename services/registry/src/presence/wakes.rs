//! What redelivery has to look at because of who came and who went. Plain data, emptied by whoever acts on it.

use std::collections::{HashMap, HashSet};

/// Beyond this the timer has to find what is due.
const MOST: usize = 100_000;

/// News since the last look.
#[derive(Debug, Default)]
pub struct Wakes {
    /// Recipients for whom somebody came: accounts, and `capability:<name>`.
    pub recipients: HashSet<String>,
    /// Sessions that are gone, with what deliveries to them were addressed to.
    pub ended: HashMap<String, Vec<String>>,
}

impl Wakes {
    /// Whether there is no news.
    pub fn is_empty(&self) -> bool {
        self.recipients.is_empty() && self.ended.is_empty()
    }

    pub(super) fn came(&mut self, recipients: impl IntoIterator<Item = String>) {
        for recipient in recipients {
            if self.recipients.len() < MOST {
                self.recipients.insert(recipient);
            }
        }
    }

    pub(super) fn went(&mut self, tag: &str, recipients: Vec<String>) {
        if self.ended.len() < MOST {
            self.ended.insert(tag.to_owned(), recipients);
        }
    }
}
