//! Into the outbox, then onto the wire.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use agentnet_proto::{Subject, envelope::LATE_HEADER, rpc::BlobShareRequest};
use async_nats::client::PublishErrorKind;
use bytes::Bytes;
use tokio::time::Instant;

use super::{DeliveryHandle, Draft, Route};
use crate::{
    auth::headers,
    blobs::until_answered,
    deadline::{after, within},
    error::{Error, ErrorKind},
    node::Inner,
    outbox::{Head, Left, Outgoing, Resend, Track},
};

/// Longest wait of a call for a first confirmation while the connection is down, whatever the time to live.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(30);

/// How patient a call is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) receipt_timeout: Duration,
    pub(crate) retry_attempts: u32,
    /// Whether closing the node waits until the message is stored.
    pub(crate) must_confirm: bool,
}

/// What goes beside the body of a publish.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// The NATS reply subject.
    pub(crate) reply: Option<String>,
    /// The signature header.
    pub(crate) signature: Option<Arc<str>>,
}

impl Inner {
    /// Sends a draft: keeps it in the outbox and publishes its first copy.
    pub(crate) async fn dispatch(
        self: &Arc<Self>,
        mut draft: Draft,
        route: &Route,
        reply: Option<String>,
        patience: Patience,
    ) -> Result<DeliveryHandle, Error> {
        self.check_open()?;
        self.share_blobs(&mut draft).await?;
        let content = draft.message_id.is_some().then(|| content_hash(&draft, route));
        // Whoever asks is gone with its process.
        let is_request = reply.is_some();
        let composed = self.compose(draft, route)?;
        let started = Instant::now();
        let expires = started + composed.ttl;
        let give_up = started + composed.ttl.min(GIVE_UP);
        let room = self.outbox.reserve(composed.body.len(), give_up).await?;
        let group = matches!(route, Route::Thread(..));
        let mut track = Track::new(route.account().map(AsRef::as_ref), group, started)
            .for_capability(route.capability().map(AsRef::as_ref));
        if let Route::Thread(_, members) = route {
            track = track.for_members(members);
        }
        if self.auth.checks() {
            track = track.of_body(&composed.body);
        }
        let outgoing = Outgoing {
            body: composed.body.clone(),
            signature: composed.signature.clone(),
            pause: patience.receipt_timeout,
            expires,
            must_confirm: patience.must_confirm,
            seen: false,
            content,
            _room: room,
        };
        let (track, is_new) = self.outbox.insert(&composed.message_id, track, outgoing, started)?;
        let handle = DeliveryHandle {
            node: Arc::clone(self),
            track,
            message_id: composed.message_id,
            thread_id: composed.thread_id,
            started,
            expires,
            give_up,
            patience,
        };
        if self.outbox.file().is_some() && !is_request {
            let head = || Head {
                account: self.account.to_string(),
                thread_id: handle.thread_id.clone(),
                recipient: route.account().map(ToString::to_string),
                capability: route.capability().map(ToString::to_string),
                group,
                signature: composed.signature.as_deref().map(str::to_owned),
                expires_at_ms: self.clock.now().saturating_add(composed.ttl).unix_millis(),
            };
            // What isn't on the disk isn't sent.
            let written = if is_new {
                self.outbox.write(&handle.message_id, &head(), &composed.body, &*self.clock, give_up).await
            } else {
                self.outbox.flush(give_up).await
            };
            written.inspect_err(|_| {
                if is_new {
                    self.outbox.discard(&handle.message_id);
                }
            })?;
        }
        if is_new {
            // Counted before the wait for room in the connection's queue, as the answers may be here before it ends.
            if self.connection.is_connected() {
                handle.track.attempted(started);
            }
            let extras = Extras { reply, signature: composed.signature };
            for subject in route.subjects() {
                let sent = self.publish(subject, extras.clone(), composed.body.clone(), give_up).await;
                sent.inspect_err(|_| self.outbox.discard(&handle.message_id))?;
            }
        }
        Ok(handle)
    }

    /// Tells the registry which blobs the message refers to, so that its readers may read them: as long as a first
    /// confirmation is waited for, over a restart of the registry.
    pub(crate) async fn share_blobs(&self, draft: &mut Draft) -> Result<(), Error> {
        if draft.blobs.is_empty() {
            return Ok(());
        }
        let message_id = draft.message_id.get_or_insert_with(|| self.ids.message_id()).clone();
        let patience = draft.ttl.unwrap_or(self.config.default_ttl).min(GIVE_UP);
        for blob_id in std::mem::take(&mut draft.blobs) {
            let account_id = Some(self.account.to_string());
            let request = BlobShareRequest { account_id, blob_id, message_id: message_id.clone() };
            until_answered(patience, || self.registry.blob_share(&request)).await?;
        }
        Ok(())
    }

    /// Goes on with what an earlier process sent.
    pub(crate) fn take_up(self: &Arc<Self>, left: Left) -> Result<Vec<DeliveryHandle>, Error> {
        let (now, pause) = (Instant::now(), self.config.receipt_timeout);
        let patience = Patience {
            receipt_timeout: pause,
            retry_attempts: self.config.retry_attempts,
            must_confirm: true,
        };
        let restored = self.outbox.restore(left, &self.account, pause, &*self.clock, now)?;
        let handles = restored.into_iter().map(|message| DeliveryHandle {
            node: Arc::clone(self),
            track: message.track,
            message_id: message.message_id,
            thread_id: message.thread_id,
            started: now,
            expires: message.expires,
            give_up: message.expires.max(after(now, pause)).min(now + GIVE_UP),
            patience,
        });
        Ok(handles.collect())
    }

    /// Publishes; while the connection is down its queue holds what fits, and what doesn't is left to the outbox.
    pub(crate) async fn publish(
        &self,
        subject: String,
        extras: Extras,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), Error> {
        let client = self.connection.client();
        let headers = extras.signature.as_deref().map(headers);
        let publish = async {
            match (extras.reply, headers) {
                (None, None) => client.publish(subject, body).await,
                (None, Some(headers)) => client.publish_with_headers(subject, headers, body).await,
                (Some(reply), None) => client.publish_with_reply(subject, reply, body).await,
                (Some(reply), Some(headers)) => {
                    client.publish_with_reply_and_headers(subject, reply, headers, body).await
                }
            }
        };
        let sent = within(deadline, publish).await;
        match sent {
            Ok(Ok(())) | Err(_) => Ok(()),
            // The client was renewed under our hands; the outbox sends it again.
            Ok(Err(error)) if error.kind() == PublishErrorKind::Send && self.connection.is_connected() => {
                Ok(())
            }
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Error::new(
                    ErrorKind::PayloadTooLarge,
                    format!(
                        "the message is larger than the {} bytes that the NATS server carries; send less",
                        client.max_payload()
                    ),
                ),
                PublishErrorKind::InvalidSubject => {
                    Error::new(ErrorKind::InvalidTarget, "the target can't be used in a subject")
                }
                PublishErrorKind::Send => Error::closed(),
            }
            .source_of(error)),
        }
    }

    /// Publishes the next copies of what isn't confirmed. Without a connection only their time runs.
    pub(crate) async fn resend_due(&self, limit: usize) {
        let now = Instant::now();
        let (messages, receipts) = (self.outbox.due(now, limit), self.receipts.due(now, limit));
        if !self.connection.is_connected() {
            return;
        }
        let subject = Subject::Resend.to_string();
        let deadline = now + Duration::from_secs(1);
        for resend in messages {
            self.metrics.retries.up();
            resend.track.attempted(Instant::now());
            // One that the server doesn't carry must not hold up the others.
            let _ = self.publish_copy(subject.clone(), resend, deadline).await;
        }
        for (subject, signature, body) in receipts {
            self.metrics.receipts_resent.up();
            let _ = self.publish(subject, Extras { reply: None, signature }, body, deadline).await;
        }
    }
}

impl Inner {
    /// Publishes a further copy, for nobody but the network.
    async fn publish_copy(&self, subject: String, resend: Resend, deadline: Instant) -> Result<(), Error> {
        if !resend.late {
            let extras = Extras { reply: None, signature: resend.signature };
            return self.publish(subject, extras, resend.body, deadline).await;
        }
        let mut headers = resend.signature.as_deref().map(headers).unwrap_or_default();
        headers.insert(LATE_HEADER, "1");
        let client = self.connection.client();
        match within(deadline, client.publish_with_headers(subject, headers, resend.body)).await {
            Ok(Err(error)) => Err(self.connection.unavailable().source_of(error)),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Tells a caller's second try under its own id from another message.
fn content_hash(draft: &Draft, route: &Route) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        draft.payload.get(),
        &draft.kind,
        route.to_agent(),
        &draft.thread_id,
        &draft.parent_message_id,
        &draft.to_members,
    )
        .hash(&mut hasher);
    hasher.finish()
}
