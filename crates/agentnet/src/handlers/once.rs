//! Handlers that are called once: of answers to quick sends.
//!
//! They don't wait for a worker, since the workers may all wait for them, and they let no other message through to
//! handlers that aren't there yet.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, Weak},
};

use agentnet_proto::{AccountId, Envelope, StreamFrame, envelope::kind};

use super::{Handlers, MAX_HANDLERS, On};
use crate::{
    error::{Error, ErrorKind},
    inbox::{HandlerResult, Incoming},
    node::Inner,
};

/// A handler as the node keeps it.
pub(crate) type OnceHandler =
    Box<dyn FnOnce(Incoming) -> Pin<Box<dyn Future<Output = HandlerResult> + Send>> + Send>;

/// Whose answer to which message.
pub(super) struct Awaited {
    pub(super) message_id: String,
    /// Whoever it was sent to, where that is one account.
    pub(super) from: Option<AccountId>,
    pub(super) handler: OnceHandler,
}

impl Awaited {
    fn is_for(&self, envelope: &Envelope) -> bool {
        // A message to oneself isn't its own answer.
        envelope.message_id != self.message_id
            && self
                .from
                .as_ref()
                .is_none_or(|from| envelope.from_account_id.as_deref() == Some(from.as_str()))
    }
}

/// Handlers by what they are for; bounded.
#[derive(Default)]
pub(super) struct OnceTable {
    entries: HashMap<On, Vec<(u64, Awaited)>>,
    next: u64,
    len: usize,
}

impl OnceTable {
    fn add(&mut self, on: On, awaited: Awaited) -> u64 {
        let id = self.next;
        self.entries.entry(on).or_default().push((id, awaited));
        self.next += 1;
        self.len += 1;
        id
    }

    fn take(&mut self, on: &On, id: u64) -> Option<Awaited> {
        let entries = self.entries.get_mut(on)?;
        let at = entries.iter().position(|(entry, _)| *entry == id)?;
        let (_, awaited) = entries.remove(at);
        if entries.is_empty() {
            self.entries.remove(on);
        }
        self.len -= 1;
        Some(awaited)
    }

    /// The handler that waits for the message, and for what.
    fn find(&self, envelope: &Envelope) -> Option<(On, u64)> {
        if self.entries.is_empty() {
            return None;
        }
        let answer = envelope.parent_message_id.clone().map(On::Answer);
        let thread = envelope.thread_id.clone().map(On::Thread);
        [answer, thread].into_iter().flatten().find_map(|on| {
            let (id, _) = self.entries.get(&on)?.iter().find(|(_, one)| one.is_for(envelope))?;
            Some((on, *id))
        })
    }
}

impl Handlers {
    /// Takes out the handler that waits for this message: nothing else comes to it. What announces a stream isn't waited
    /// for, its text is.
    pub(crate) fn claim(&self, envelope: &Envelope) -> Option<OnceHandler> {
        if is_about_stream(envelope) {
            return None;
        }
        let mut table = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        let (on, id) = table.find(envelope)?;
        table.take(&on, id).map(|awaited| awaited.handler)
    }

    /// Whether a handler waits for this message.
    pub(super) fn awaits(&self, envelope: &Envelope) -> bool {
        self.once.lock().unwrap_or_else(PoisonError::into_inner).find(envelope).is_some()
    }
}

/// Whether it only says that a stream begins, or failed, which others hear about elsewhere.
fn is_about_stream(envelope: &Envelope) -> bool {
    envelope.kind == kind::STREAM
        && match StreamFrame::of_payload(&envelope.payload) {
            Some(StreamFrame::Start(start)) => start.message_id.is_some(),
            Some(StreamFrame::Error(error)) => error.message_id.is_some(),
            _ => false,
        }
}

/// A handler that waits for its message. Dropping it removes the handler.
pub(super) struct OnceGuard {
    node: Weak<Inner>,
    on: On,
    id: u64,
}

impl OnceGuard {
    /// Removes the handler; whether it was still waiting.
    pub(super) fn withdraw(self) -> bool {
        self.remove()
    }

    fn remove(&self) -> bool {
        let Some(node) = self.node.upgrade() else { return false };
        let once = &node.handlers.once;
        let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take(&self.on, self.id);
        // Dropped behind the lock, with what the handler owns.
        taken.is_some()
    }
}

impl Drop for OnceGuard {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Inner {
    pub(super) fn add_once(self: &Arc<Self>, on: On, awaited: Awaited) -> Result<OnceGuard, Error> {
        let mut table = self.handlers.once.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len >= MAX_HANDLERS {
            let detail = format!("a node waits for at most {MAX_HANDLERS} answers at a time");
            return Err(Error::new(ErrorKind::InvalidArgument, detail));
        }
        let id = table.add(on.clone(), awaited);
        Ok(OnceGuard { node: Arc::downgrade(self), on, id })
    }
}
