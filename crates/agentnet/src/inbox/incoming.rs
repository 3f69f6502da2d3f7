//! A message as a handler sees it.

use std::{fmt, sync::Arc};

use agentnet_proto::{Addressee, BlobRef, Block, Envelope, Payload, rpc::BlobInfo};
use serde::Serialize;

use super::Source;
use crate::{
    error::{Error, ErrorKind},
    node::Inner,
    send::{DeliveryHandle, Draft, Place, SendMessage, payload_of},
    target::Target,
};

/// A message that a handler was called for. Cheap to clone.
#[derive(Clone)]
pub struct Incoming {
    pub(crate) node: Arc<Inner>,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) source: Source,
    pub(crate) attempt: u32,
}

impl Incoming {
    /// The whole envelope. Its `reply_to` is the NATS reply subject when there is one.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The message's id: what an effect should be keyed by to happen once.
    pub fn message_id(&self) -> &str {
        &self.envelope.message_id
    }

    /// The content.
    pub fn payload(&self) -> &Payload {
        &self.envelope.payload
    }

    /// The payload's `text`, or the payload itself if it is a string.
    pub fn text(&self) -> Option<String> {
        self.envelope.payload.as_text()
    }

    /// The sender's account.
    pub fn from_account(&self) -> Option<&str> {
        self.envelope.from_account_id.as_deref()
    }

    /// The sender's role label.
    pub fn from_agent(&self) -> &str {
        &self.envelope.from_agent
    }

    /// The thread.
    pub fn thread_id(&self) -> &str {
        // Admission fills it in.
        self.envelope.thread_id.as_deref().unwrap_or_default()
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        &self.envelope.kind
    }

    /// Whether the sender waits for a reply.
    pub fn wants_reply(&self) -> bool {
        self.envelope.reply_to.is_some()
    }

    /// Which attempt of the network to deliver the message this is, from 1. From 2 on, an earlier handler may have
    /// done its work without being able to say so: a crash between effect and receipt repeats the handler.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether the network delivers the message again.
    pub fn is_redelivery(&self) -> bool {
        self.source == Source::Redelivery
    }

    /// Answers. Returns once the reply is published; the handle tells when it is stored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when no reply was asked for,
    /// [`ErrorKind::ReplySubjectForbidden`](crate::ErrorKind::ReplySubjectForbidden) when it was asked for to a subject
    /// that isn't the requester's, and as for a send.
    pub async fn reply<T: Serialize>(&self, payload: T) -> Result<DeliveryHandle, Error> {
        let draft = Draft::new(agentnet_proto::envelope::kind::REPLY, payload_of(&payload)?);
        self.node.reply(&self.envelope, draft).await
    }

    /// Answers with a reference to a blob, which the requester may then read.
    ///
    /// # Errors
    /// As [`reply`](Self::reply); `blob_gone`, `blob_forbidden` for a blob that this account can't read itself.
    pub async fn reply_blob_ref(&self, blob: BlobInfo) -> Result<DeliveryHandle, Error> {
        let blob_id = blob.blob_id.clone();
        let mut draft = Draft::new(agentnet_proto::envelope::kind::REPLY, payload_of(&BlobRef::from(blob))?);
        draft.blobs.push(blob_id);
        self.node.reply(&self.envelope, draft).await
    }
}

impl Incoming {
    /// Answers with a message in the same thread that names this one as its parent: to every member where this one came
    /// to a thread with members, else to its sender. Set options, then `.await`.
    ///
    /// A request is answered with [`reply`](Self::reply), which its sender waits for.
    pub fn reply_message<T: Serialize>(&self, payload: T) -> SendMessage<'_> {
        let (target, place) = self.answer_place();
        SendMessage::new(&self.node, target, payload_of(&payload)).at(place)
    }

    /// Where an answer in the thread goes, and where in the conversation it stands.
    pub(crate) fn answer_place(&self) -> (Result<Target, Error>, Place) {
        let target = match self.envelope.addressee() {
            Ok(Addressee::Thread(id)) => Target::thread(&id),
            _ => match self.from_account() {
                Some(id) => Target::account(id),
                None => Err(Error::new(ErrorKind::InvalidTarget, "the message doesn't say who sent it")),
            },
        };
        let own = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let place = Place {
            thread_id: own(self.thread_id()),
            parent_message_id: own(self.message_id()),
            trace_id: own(self.envelope.trace_id.as_deref().unwrap_or(self.message_id())),
        };
        (target, place)
    }

    /// The blocks in it: one, or a list of at least one; `None` for any other payload.
    pub fn blocks(&self) -> Option<Vec<Block>> {
        self.envelope.payload.blocks()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("envelope", &self.envelope)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
