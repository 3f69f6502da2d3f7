//! Frames on the wire.

use std::{sync::Arc, time::Duration};

use agentnet_proto::{
    AccountId, ErrorCode, StreamFrame, Subject, Token, signature::Purpose, stream::MAX_FRAME_BYTES,
};
use async_nats::Message;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{auth::Unproved, error::Error, node::Inner, send::Extras};

/// Longest wait for room in the connection's queue before a frame is left to its repetition.
const PUBLISH_WAIT: Duration = Duration::from_secs(1);

/// A frame's bytes and their signature: the same for every reader.
#[derive(Debug, Clone)]
pub(super) struct Framed {
    pub(super) body: Bytes,
    pub(super) signature: Option<Arc<str>>,
}

impl Inner {
    /// Writes a frame, and signs it where the network wants that.
    pub(super) fn framed(&self, frame: &StreamFrame) -> Result<Framed, Error> {
        let body = serde_json::to_vec(frame)
            .map_err(|e| Error::of(ErrorCode::Internal, "a frame can't be written as JSON").source_of(e))?;
        if body.len() > MAX_FRAME_BYTES {
            let detail = format!(
                "a frame has {} bytes; {MAX_FRAME_BYTES} are allowed: shorten the metadata",
                body.len()
            );
            return Err(Error::of(ErrorCode::PayloadTooLarge, detail));
        }
        let signature = self.auth.signature(&Purpose::Stream, &body);
        Ok(Framed { body: body.into(), signature })
    }

    /// Publishes a frame to an account. What gets lost is repeated when the other side asks.
    pub(super) async fn publish_frame(&self, to: &AccountId, stream: &Token, framed: &Framed) {
        // Nothing is queued for a connection that is away: it is all kept here already.
        if !self.connection.is_connected() {
            return;
        }
        let subject = Subject::Stream(to.clone(), stream.clone()).to_string();
        let extras = Extras { reply: None, signature: framed.signature.clone() };
        let deadline = Instant::now() + PUBLISH_WAIT;
        if let Err(error) = self.publish(subject, extras, framed.body.clone(), deadline).await {
            tracing::debug!(%error, stream = stream.as_str(), "frame not published");
        }
    }

    /// Takes what came on one of this account's stream subjects. Other sessions of the account hear it too.
    pub(crate) async fn take_frame(&self, message: &Message) {
        if message.status.is_some() {
            return;
        }
        let Some(id) = message.subject.rsplit('.').next() else { return };
        // Before anything that costs: whether the stream is this session's at all.
        let (following, sending) = (self.streams.reading.get(id), self.streams.outgoing.get(id));
        if following.is_none() && sending.is_none() {
            return;
        }
        let frame = match StreamFrame::decode(&message.payload) {
            Ok(frame) if frame.stream_id() == id => frame,
            Ok(_) => return self.frame_refused("of another stream", id),
            Err(error) => {
                tracing::debug!(%error, stream = id, "frame can't be read");
                return self.frame_refused("unreadable", id);
            }
        };
        let Some(from) = frame.from_account_id().and_then(|from| AccountId::new(from).ok()) else {
            return self.frame_refused("from nobody", id);
        };
        let is_control = matches!(frame, StreamFrame::Resume(_) | StreamFrame::Cancel(_));
        let is_wanted = if is_control {
            sending.is_some()
        } else {
            following.as_ref().is_some_and(|following| following.may_take(from.as_str(), Instant::now()))
        };
        if !is_wanted {
            return;
        }
        let now = Instant::now();
        let known = following.as_ref().filter(|_| !is_control).and_then(|following| following.key(now));
        let wanted =
            following.as_ref().filter(|_| !is_control).and_then(|following| following.wanted_of_sender());
        let checked = async {
            let key = self.auth.check_frame(from.as_str(), known, message, &self.registry).await?;
            let wanted = wanted.as_ref().map(AsRef::as_ref);
            self.auth.check_holder(from.as_str(), wanted, &self.registry).await?;
            Ok(key)
        };
        let checked: Result<_, Unproved> = checked.await;
        match checked {
            Err(unproved) => {
                tracing::debug!(code = unproved.code().as_str(), stream = id, "frame not proved");
                return self.frame_refused("not proved", id);
            }
            Ok(Some(key)) if known.is_none() && !is_control => {
                if let Some(following) = &following {
                    following.remember_key(key, now);
                }
            }
            Ok(_) => {}
        }
        match (is_control, following) {
            // Members of a thread may have to be asked for, which others' frames don't wait for.
            (true, _) => self.streams.control(from, frame),
            (false, Some(following)) => following.frame(from, frame, Instant::now()),
            (false, None) => {}
        }
    }

    fn frame_refused(&self, why: &str, stream: &str) {
        self.metrics.frames_refused.up();
        tracing::debug!(why, stream, "frame refused");
    }
}
