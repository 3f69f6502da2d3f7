//! Answers to requests.

use std::sync::Arc;

use agentnet_proto::{
    AccountId, Envelope, ErrorCode, Payload, Security, Subject, Token, envelope::kind,
    subject::is_legacy_reply_inbox,
};
use tokio::time::Instant;

use crate::{
    error::{Error, ErrorKind},
    node::Inner,
    outbox::{Head, Outgoing, Room, Track},
    send::{Composed, DeliveryHandle, Draft, Extras, GIVE_UP, Patience},
};

/// The last token of the subject where copies of replies to original SDKs go, so that history holds them.
const HISTORY: &str = "history";

/// Where a reply goes.
#[derive(Debug, PartialEq, Eq)]
struct ReplyRoute {
    subject: String,
    /// The stream doesn't hear `_INBOX.`: a copy goes where it does.
    copy: Option<String>,
}

/// Only subjects of the requester's own are answered: a reply must not be a way to publish anywhere.
/// `_INBOX.` subjects of original SDKs are nobody's own in open and signed mode; in secure mode they aren't answered.
fn reply_route(request: &Envelope, security: Security) -> Result<ReplyRoute, Error> {
    let Some(subject) = request.reply_to.as_deref() else {
        return Err(Error::new(ErrorKind::InvalidArgument, "the message asks for no reply")
            .message(&request.message_id));
    };
    let requester = request.from_account_id.as_deref().and_then(|id| AccountId::new(id).ok());
    if security.has_legacy_replies() && is_legacy_reply_inbox(subject) {
        let history = Token::new(HISTORY).ok();
        let copy = requester.zip(history).map(|(id, token)| Subject::Replies(id, token).to_string());
        return Ok(ReplyRoute { subject: subject.to_owned(), copy });
    }
    match subject.parse() {
        Ok(Subject::Replies(id, _)) if Some(&id) == requester.as_ref() => {
            Ok(ReplyRoute { subject: subject.to_owned(), copy: None })
        }
        _ => Err(Error::new(
            ErrorKind::ReplySubjectForbidden,
            "the request names a reply subject that isn't its sender's; it is not answered",
        )
        .message(&request.message_id)),
    }
}

impl Inner {
    /// Answers a request.
    pub(crate) async fn reply(
        self: &Arc<Self>,
        request: &Envelope,
        mut draft: Draft,
    ) -> Result<DeliveryHandle, Error> {
        self.check_open()?;
        let route = reply_route(request, self.auth.security())?;
        self.share_blobs(&mut draft).await?;
        let account = request.from_account_id.clone();
        let to_agent = account.clone().unwrap_or_else(|| {
            if request.from_agent.is_empty() { "unknown".to_owned() } else { request.from_agent.clone() }
        });
        let composed = self.compose_to(answering(draft, request), to_agent, account)?;
        let room =
            self.outbox.reserve(composed.body.len(), Instant::now() + composed.ttl.min(GIVE_UP)).await?;
        self.publish_reply(route, composed, room, true).await
    }

    /// Tells a requester why there is no other answer. Best effort: the receipt says the same.
    pub(crate) async fn reply_error(self: &Arc<Self>, request: &Envelope, code: ErrorCode, detail: &str) {
        if request.reply_to.is_none() || request.is_reply() {
            return;
        }
        let payload = serde_json::json!({
            "error": code.as_str(), "detail": detail, "request_message_id": request.message_id,
            "trace_id": request.trace_id.as_deref().unwrap_or(&request.message_id),
        });
        let draft = answering(Draft::new(kind::ERROR, Payload::from(payload)), request);
        let sent = async {
            let route = reply_route(request, self.auth.security())?;
            let composed =
                self.compose_to(draft, request.from_agent.clone(), request.from_account_id.clone())?;
            // The inbox must not wait for room.
            let room = self
                .outbox
                .try_reserve(composed.body.len())
                .map_err(|_| Error::new(ErrorKind::OutboxFull, "no room for an error reply"))?;
            // Nor for the disk.
            self.publish_reply(route, composed, room, false).await.map(drop)
        };
        if let Err(error) = sent.await {
            self.metrics.dropped.up();
            tracing::debug!(%error, request = request.message_id, "error reply not sent");
        }
    }

    async fn publish_reply(
        self: &Arc<Self>,
        route: ReplyRoute,
        composed: Composed,
        room: Room,
        on_disk: bool,
    ) -> Result<DeliveryHandle, Error> {
        let Composed { message_id, thread_id, body, signature, ttl } = composed;
        let started = Instant::now();
        let patience = Patience {
            receipt_timeout: self.config.receipt_timeout,
            retry_attempts: self.config.retry_attempts,
            must_confirm: true,
        };
        let (expires, give_up) = (started + ttl, started + ttl.min(GIVE_UP));
        let outgoing = Outgoing {
            body: body.clone(),
            signature: signature.clone(),
            pause: patience.receipt_timeout,
            expires,
            must_confirm: true,
            // The requester may have it long before the network confirms it.
            seen: true,
            content: None,
            _room: room,
        };
        // Nobody sends receipts for replies: stored is as far as they get.
        let track = Track::new(None, true, started);
        let (track, _) = self.outbox.insert(&message_id, track, outgoing, started)?;
        let node = Arc::clone(self);
        let handle =
            DeliveryHandle { node, track, message_id, thread_id, started, expires, give_up, patience };
        if on_disk && self.outbox.file().is_some() {
            let head = Head {
                account: self.account.to_string(),
                thread_id: handle.thread_id.clone(),
                recipient: None,
                capability: None,
                group: true,
                signature: signature.as_deref().map(str::to_owned),
                expires_at_ms: self.clock.now().saturating_add(ttl).unix_millis(),
            };
            let written = self.outbox.write(&handle.message_id, &head, &body, &*self.clock, give_up).await;
            written.inspect_err(|_| self.outbox.discard(&handle.message_id))?;
        }
        if self.connection.is_connected() {
            handle.track.attempted(started);
        }
        let sent = async {
            let extras = Extras { reply: None, signature };
            self.publish(route.subject, extras.clone(), body.clone(), give_up).await?;
            match route.copy {
                Some(copy) => self.publish(copy, extras, body, give_up).await,
                None => Ok(()),
            }
        };
        // What the server doesn't carry once it doesn't carry as a copy either.
        sent.await.inspect_err(|_| self.outbox.discard(&handle.message_id))?;
        Ok(handle)
    }
}

/// A draft in its request's thread and trace.
fn answering(mut draft: Draft, request: &Envelope) -> Draft {
    let own = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    draft.thread_id = own(&request.thread_id_or_default());
    draft.trace_id = request.trace_id.clone().or_else(|| own(&request.message_id));
    draft.parent_message_id = own(&request.message_id);
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(from: Option<&str>, reply_to: &str) -> Result<ReplyRoute, ErrorKind> {
        let request = serde_json::json!({"message_id": "m", "from_account_id": from, "reply_to": reply_to});
        reply_route(&serde_json::from_value(request).unwrap(), Security::Signed).map_err(|e| e.kind())
    }

    #[test]
    fn only_the_requesters_own_subjects_are_answered() {
        let own = route(Some("acct_a"), "account.acct_a.replies.t1").unwrap();
        assert_eq!(own, ReplyRoute { subject: "account.acct_a.replies.t1".into(), copy: None });
        let inbox = route(Some("acct_a"), "_INBOX.abc.1").unwrap();
        assert_eq!(inbox.copy.as_deref(), Some("account.acct_a.replies.history"));
        assert_eq!(route(None, "_INBOX.abc").unwrap().copy, None);
        for foreign in [
            "account.acct_b.replies.t1",
            "account.acct_a.inbox",
            "account.acct_a.stored",
            "registry.register",
            "_INBOX.",
            "_INBOX.*",
            "_INBOX.a.>",
            "_INBOX_a.b",
            "$JS.API.STREAM.DELETE.AGENTNET",
        ] {
            assert_eq!(route(Some("acct_a"), foreign), Err(ErrorKind::ReplySubjectForbidden), "{foreign}");
        }
        let request =
            serde_json::json!({"message_id": "m", "from_account_id": "acct_a", "reply_to": "_INBOX.abc"});
        let secure = reply_route(&serde_json::from_value(request).unwrap(), Security::Secure);
        assert_eq!(secure.unwrap_err().kind(), ErrorKind::ReplySubjectForbidden);
        assert_eq!(route(None, "account.acct_a.replies.t"), Err(ErrorKind::ReplySubjectForbidden));
        assert_eq!(route(Some("acct_a"), ""), Err(ErrorKind::InvalidArgument));
    }
}
