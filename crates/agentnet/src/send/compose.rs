//! From a draft to the bytes that are published, again and again the same.

use std::{sync::Arc, time::Duration};

use agentnet_proto::{
    Envelope, ErrorCode, Payload, Priority,
    envelope::{MAX_FIELD_LEN, MAX_TTL, PROTOCOL_FIELD, default_thread_id},
    schema_version,
    signature::Purpose,
};
use bytes::Bytes;
use serde_json::Value;

use super::Route;
use crate::{
    error::{Error, ErrorKind},
    groups::GROUP_TTL,
    node::Inner,
};

/// A message before it has bytes.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) kind: String,
    pub(crate) payload: Payload,
    pub(crate) message_id: Option<String>,
    pub(crate) thread_id: Option<String>,
    pub(crate) parent_message_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) reply_stream: Option<String>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) priority: Option<Priority>,
    pub(crate) content_type: Option<String>,
    /// The coordinator's protocol.
    pub(crate) protocol: Option<String>,
    /// Blobs that the payload refers to.
    pub(crate) blobs: Vec<String>,
    /// Of a message to a thread: the members it is for; empty is all of them.
    pub(crate) to_members: Vec<String>,
}

/// Where in a conversation a message stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) thread_id: Option<String>,
    pub(crate) parent_message_id: Option<String>,
    pub(crate) trace_id: Option<String>,
}

impl Draft {
    pub(crate) fn new(kind: &str, payload: Payload) -> Self {
        Self {
            kind: kind.to_owned(),
            payload,
            message_id: None,
            thread_id: None,
            parent_message_id: None,
            trace_id: None,
            idempotency_key: None,
            reply_to: None,
            reply_stream: None,
            ttl: None,
            priority: None,
            content_type: None,
            protocol: None,
            blobs: Vec::new(),
            to_members: Vec::new(),
        }
    }

    /// Puts it where an answer belongs.
    pub(crate) fn at(&mut self, place: Place) {
        let Place { thread_id, parent_message_id, trace_id } = place;
        (self.thread_id, self.parent_message_id, self.trace_id) = (thread_id, parent_message_id, trace_id);
    }

    fn check(&self) -> Result<(), Error> {
        let named = [
            ("message_id", self.message_id.as_deref()),
            ("thread_id", self.thread_id.as_deref()),
            ("parent_message_id", self.parent_message_id.as_deref()),
            ("trace_id", self.trace_id.as_deref()),
            ("idempotency_key", self.idempotency_key.as_deref()),
            ("content_type", self.content_type.as_deref()),
            ("protocol", self.protocol.as_deref()),
            ("kind", Some(self.kind.as_str())),
        ];
        for (name, value) in named {
            let Some(value) = value else { continue };
            if value.is_empty() || value.len() > MAX_FIELD_LEN || value.contains('\0') {
                let detail = format!("{name} must have 1 to {MAX_FIELD_LEN} bytes and no NUL");
                return Err(Error::new(ErrorKind::InvalidArgument, detail));
            }
        }
        Ok(())
    }
}

/// An envelope with its bytes.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) message_id: String,
    pub(crate) thread_id: String,
    pub(crate) body: Bytes,
    /// The signature over the body, which goes with every copy.
    pub(crate) signature: Option<Arc<str>>,
    pub(crate) ttl: Duration,
}

impl Inner {
    /// Fills in what the caller left open, signs, and encodes.
    pub(crate) fn compose(&self, mut draft: Draft, route: &Route) -> Result<Composed, Error> {
        if let Route::Thread(id, _) = route {
            if draft.thread_id.as_ref().is_some_and(|thread| thread != id) {
                let detail = format!("a message to thread:{id} can't lie in another thread");
                return Err(Error::new(ErrorKind::InvalidArgument, detail));
            }
            draft.thread_id = Some(id.clone());
            draft.ttl.get_or_insert(GROUP_TTL);
        }
        let to = (route.to_agent(), route.account().map(ToString::to_string));
        self.compose_to(draft, to.0, to.1)
    }

    pub(crate) fn compose_to(
        &self,
        draft: Draft,
        to_agent: String,
        to_account_id: Option<String>,
    ) -> Result<Composed, Error> {
        draft.check()?;
        let ttl = draft.ttl.unwrap_or(self.config.default_ttl).max(Duration::from_millis(1));
        if ttl > MAX_TTL {
            return Err(Error::of(
                ErrorCode::TtlTooLong,
                "a message lives at most 30 days; give it a shorter ttl",
            ));
        }
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let message_id = draft.message_id.unwrap_or_else(|| self.ids.message_id());
        let trace_id = draft.trace_id.unwrap_or_else(|| message_id.clone());
        let thread_id = draft.thread_id.unwrap_or_else(|| default_thread_id(&trace_id));
        let mut envelope = Envelope {
            message_id,
            from_agent: self.config.agent_id.clone(),
            from_account_id: Some(self.account.to_string()),
            from_session_tag: Some(self.session_tag().to_string()),
            to_agent,
            to_account_id,
            to_members: draft.to_members,
            payload: draft.payload,
            sent_at: now.to_string(),
            ttl_ms: Some(ttl_ms),
            expires_at: Some(now.saturating_add_millis(ttl_ms).to_string()),
            trace_id: Some(trace_id),
            thread_id: Some(thread_id),
            parent_message_id: draft.parent_message_id,
            kind: draft.kind,
            schema_version: schema_version::CURRENT.to_owned(),
            idempotency_key: draft.idempotency_key,
            reply_to: draft.reply_to,
            reply_stream: draft.reply_stream,
            auth: None,
            priority: draft.priority,
            hops: None,
            content_type: draft.content_type,
            extra: draft
                .protocol
                .map(|protocol| (PROTOCOL_FIELD.to_owned(), Payload::from(Value::from(protocol))))
                .into_iter()
                .collect(),
        };
        self.auth.add_block(&mut envelope)?;
        let body = envelope.encode().map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, "the message can't be written as JSON").source_of(e)
        })?;
        let (size, limit) = (body.len(), self.config.max_payload_bytes);
        if size > limit {
            let detail = format!(
                "message exceeds max_payload_bytes={limit}: it has {size} bytes; send less, or a reference to a blob"
            );
            return Err(Error::new(ErrorKind::PayloadTooLarge, detail).message(&envelope.message_id));
        }
        Ok(Composed {
            message_id: envelope.message_id,
            thread_id: envelope.thread_id.unwrap_or_default(),
            signature: self.auth.signature(&Purpose::Message, &body),
            body: body.into(),
            ttl,
        })
    }
}
