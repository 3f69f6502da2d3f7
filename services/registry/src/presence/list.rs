//! One page of `registry.list`, put together from the sessions' texts.

use std::ops::Bound;

use agentnet_proto::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::entry::Entry;
use super::table::{Key, Table};
use super::{Rules, millis};

/// Room kept for what stands around the sessions, the cursor included.
const FRAME: usize = 2_048;

/// Whether a session was heard of lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Within two heartbeats.
    Online,
    /// Not, but within the TTL.
    Late,
}

/// What to list.
#[derive(Clone, Debug)]
pub struct ListQuery<'a> {
    /// Only sessions with exactly this capability.
    pub capability: Option<&'a str>,
    /// Only sessions with a system of their own of this type.
    pub sub_system_type: Option<&'a str>,
    /// Only sessions heard of so lately.
    pub liveness: Option<Liveness>,
    /// Only sessions of this account.
    pub account_id: Option<&'a str>,
    /// Only sessions after this (agent_id, session_tag).
    pub after: Option<(String, String)>,
    /// Most sessions.
    pub limit: usize,
    /// Most bytes of the answer.
    pub max_bytes: usize,
    /// When the answer is made.
    pub generated_at: Timestamp,
}

/// An encoded answer.
#[derive(Debug)]
pub struct ListPage {
    /// The JSON text.
    pub body: Vec<u8>,
    /// Sessions in it.
    pub count: usize,
}

pub(super) fn page(table: &Table, query: &ListQuery<'_>, now: i64, rules: &Rules) -> ListPage {
    let (ttl, late_after) = (millis(rules.ttl), millis(rules.late_after));
    let matches = |entry: &Entry| {
        let silence = table.silence(entry, now);
        let live = if silence < late_after { Liveness::Online } else { Liveness::Late };
        table.is_visible(entry, now, ttl)
            && query.liveness.is_none_or(|wanted| wanted == live)
            && query
                .sub_system_type
                .is_none_or(|wanted| entry.sub_systems.iter().any(|kind| **kind == *wanted))
            && query.capability.is_none_or(|wanted| entry.capabilities.iter().any(|c| **c == *wanted))
    };
    let after =
        query.after.as_ref().map(|(agent, tag)| -> Key { (agent.as_str().into(), tag.as_str().into()) });
    let mut page = Page::new(query);
    match query.account_id {
        Some(account) => {
            let mut keys: Vec<&Key> = table.keys_of_account(account).iter().collect();
            keys.sort_unstable();
            let entries = keys
                .into_iter()
                .filter(|key| after.as_ref().is_none_or(|after| *key > after))
                .filter_map(|key| table.sessions.get(key).map(|entry| (key, entry)));
            page.fill(entries.filter(|(_, entry)| matches(entry)));
        }
        None => {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let entries = table.sessions.range((from, Bound::Unbounded));
            page.fill(entries.filter(|(_, entry)| matches(entry)));
        }
    }
    page.finish()
}

struct Page {
    body: Vec<u8>,
    count: usize,
    limit: usize,
    max_bytes: usize,
    last: Option<Key>,
    more: bool,
}

impl Page {
    fn new(query: &ListQuery<'_>) -> Self {
        let body = format!("{{\"generated_at\":\"{}\",\"agents\":[", query.generated_at).into_bytes();
        let max_bytes = query.max_bytes.saturating_sub(FRAME);
        Self { body, count: 0, limit: query.limit, max_bytes, last: None, more: false }
    }

    fn fill<'a>(&mut self, entries: impl Iterator<Item = (&'a Key, &'a Entry)>) {
        for (key, entry) in entries {
            // One session always fits: its description is bounded when it registers.
            let full = self.body.len() + entry.json_len() > self.max_bytes && self.count > 0;
            if self.count == self.limit || full {
                self.more = true;
                return;
            }
            if self.count > 0 {
                self.body.push(b',');
            }
            entry.write_json(&mut self.body);
            self.count += 1;
            self.last = Some(key.clone());
        }
    }

    fn finish(mut self) -> ListPage {
        self.body.push(b']');
        if let (true, Some(last)) = (self.more, &self.last) {
            self.body.extend_from_slice(b",\"next_cursor\":\"");
            self.body.extend_from_slice(encode_cursor(&last.0, &last.1).as_bytes());
            self.body.push(b'"');
        }
        self.body.push(b'}');
        ListPage { body: self.body, count: self.count }
    }
}

fn encode_cursor(agent_id: &str, tag: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{agent_id}\0{tag}"))
}

/// Reads a cursor; `None` for what isn't one, which counts as none.
pub(crate) fn decode_cursor(cursor: &str) -> Option<(String, String)> {
    if cursor.len() > 4096 {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    // Neither part can hold a NUL: control characters are refused at the door.
    let (agent_id, tag) = text.split_once('\0')?;
    (!tag.is_empty()).then(|| (agent_id.to_owned(), tag.to_owned()))
}
