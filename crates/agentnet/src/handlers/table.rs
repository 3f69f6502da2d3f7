//! Handlers by what they are for.

use std::collections::HashMap;

use agentnet_proto::Envelope;

use super::On;

/// Handlers, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Table<H> {
    answers: HashMap<String, Vec<(u64, H)>>,
    threads: HashMap<String, Vec<(u64, H)>>,
    kinds: HashMap<String, Vec<(u64, H)>>,
    blocks: HashMap<String, Vec<(u64, H)>>,
    any: Vec<(u64, H)>,
    next: u64,
    len: usize,
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self {
            answers: HashMap::new(),
            threads: HashMap::new(),
            kinds: HashMap::new(),
            blocks: HashMap::new(),
            any: Vec::new(),
            next: 0,
            len: 0,
        }
    }
}

impl<H: Clone> Table<H> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a handler; its number.
    pub(super) fn add(&mut self, on: On, handler: H) -> u64 {
        let id = self.next;
        let entry = (id, handler);
        match on {
            On::Answer(name) => self.answers.entry(name).or_default().push(entry),
            On::Thread(name) => self.threads.entry(name).or_default().push(entry),
            On::Kind(name) => self.kinds.entry(name).or_default().push(entry),
            On::Block(name) => self.blocks.entry(name.as_str().to_owned()).or_default().push(entry),
            On::Any => self.any.push(entry),
        }
        self.next += 1;
        self.len += 1;
        id
    }

    /// Takes a handler out, if it is there. Dropped by the caller, behind its lock: a handler owns what it likes.
    #[must_use]
    pub(super) fn remove(&mut self, on: &On, id: u64) -> Option<H> {
        let removed = match on {
            On::Answer(name) => remove_named(&mut self.answers, name, id),
            On::Thread(name) => remove_named(&mut self.threads, name, id),
            On::Kind(name) => remove_named(&mut self.kinds, name, id),
            On::Block(name) => remove_named(&mut self.blocks, name.as_str(), id),
            On::Any => remove_one(&mut self.any, id),
        };
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The handlers of the first step that has any for the message, and which step that is.
    pub(super) fn matching(&self, envelope: &Envelope) -> (u8, Vec<H>) {
        let parent = envelope.parent_message_id.as_deref();
        if let Some(entries) = parent.and_then(|parent| self.answers.get(parent)) {
            return (1, handlers(entries).collect());
        }
        let thread = envelope.thread_id.as_deref();
        if let Some(entries) = thread.and_then(|thread| self.threads.get(thread)) {
            return (2, handlers(entries).collect());
        }
        let mut found: Vec<H> =
            self.kinds.get(&envelope.kind).into_iter().flat_map(|e| handlers(e)).collect();
        if !self.blocks.is_empty() {
            let mut types: Vec<_> = envelope.payload.blocks().unwrap_or_default();
            let mut seen: Vec<String> = Vec::new();
            for block in types.drain(..) {
                let name = block.block_type.as_str();
                // Several blocks of one type are one message still.
                if seen.iter().any(|known| known == name) {
                    continue;
                }
                found.extend(self.blocks.get(name).into_iter().flat_map(|e| handlers(e)));
                seen.push(name.to_owned());
            }
        }
        if found.is_empty() { (4, handlers(&self.any).collect()) } else { (3, found) }
    }
}

fn handlers<H: Clone>(entries: &[(u64, H)]) -> impl Iterator<Item = H> {
    entries.iter().map(|(_, handler)| handler.clone())
}

fn remove_named<H>(entries: &mut HashMap<String, Vec<(u64, H)>>, name: &str, id: u64) -> Option<H> {
    let of_name = entries.get_mut(name)?;
    let removed = remove_one(of_name, id);
    if of_name.is_empty() {
        entries.remove(name);
    }
    removed
}

fn remove_one<H>(entries: &mut Vec<(u64, H)>, id: u64) -> Option<H> {
    let at = entries.iter().position(|(entry, _)| *entry == id)?;
    Some(entries.remove(at).1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(fields: Value) -> Envelope {
        serde_json::from_value(fields).unwrap()
    }

    fn of(table: &Table<&'static str>, envelope: &Envelope) -> Vec<&'static str> {
        table.matching(envelope).1
    }

    #[test]
    fn the_first_step_that_has_handlers_takes_the_message() {
        let mut table = Table::default();
        let any = table.add(On::Any, "any");
        let kind = table.add(On::kind("request"), "kind");
        table.add(On::block("image"), "image");
        let thread = table.add(On::thread("t"), "thread");
        let answer = table.add(On::answer("m"), "answer");
        let full = message(json!({"thread_id": "t", "kind": "request", "parent_message_id": "m",
                                  "payload": [{"type": "image"}, {"type": "text"}, {"type": "image"}]}));
        assert_eq!(of(&table, &full), ["answer"]);
        assert_eq!(table.remove(&On::answer("m"), answer), Some("answer"));
        assert_eq!(of(&table, &full), ["thread"]);
        assert!(table.remove(&On::thread("t"), thread).is_some());
        assert_eq!(of(&table, &full), ["kind", "image"], "one type counts once");
        assert!(table.remove(&On::kind("request"), kind).is_some());
        assert_eq!(of(&table, &full), ["image"]);
        assert_eq!(of(&table, &message(json!({"payload": {"text": "hi"}}))), ["any"]);
        table.add(On::Any, "more");
        assert_eq!(of(&table, &message(json!({}))), ["any", "more"]);
        assert!(table.remove(&On::Any, any).is_some());
        assert_eq!((of(&table, &message(json!({}))), table.len()), (vec!["more"], 2));
        assert!(table.remove(&On::Any, any).is_none());
        assert!(table.remove(&On::thread("nowhere"), 3).is_none());
        assert_eq!(table.len(), 2, "removing twice removes once");
        assert!(table.threads.is_empty() && table.answers.is_empty(), "nothing is left of what went");
    }
}
