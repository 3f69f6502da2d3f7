//! Options that sends and requests share.

/// The setters of what an envelope says, for a builder with a field `draft`.
macro_rules! draft_options {
    () => {
        /// The thread; a new one unless set.
        pub fn thread(mut self, thread_id: impl Into<String>) -> Self {
            self.draft.thread_id = Some(thread_id.into());
            self
        }

        /// The message this one answers or follows.
        pub fn parent(mut self, message_id: impl Into<String>) -> Self {
            self.draft.parent_message_id = Some(message_id.into());
            self
        }

        /// The trace; the message's own id unless set.
        pub fn trace(mut self, trace_id: impl Into<String>) -> Self {
            self.draft.trace_id = Some(trace_id.into());
            self
        }

        /// Messages of this account with the same key are one operation: a recipient handles the first.
        pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
            self.draft.idempotency_key = Some(key.into());
            self
        }

        /// How long the network keeps trying; 30 s unless set, at most 30 days.
        pub fn ttl(mut self, ttl: ::std::time::Duration) -> Self {
            self.draft.ttl = Some(ttl);
            self
        }

        /// The kind; `direct` unless set.
        pub fn kind(mut self, kind: impl Into<String>) -> Self {
            self.draft.kind = kind.into();
            self
        }

        /// How urgent it is.
        pub fn priority(mut self, priority: $crate::proto::Priority) -> Self {
            self.draft.priority = Some(priority);
            self
        }

        /// Media type of the payload.
        pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
            self.draft.content_type = Some(content_type.into());
            self
        }

        /// The coordinator's protocol under which it is sent, such as `peer_to_peer`: told to the recipient, no more.
        pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
            self.draft.protocol = Some(protocol.into());
            self
        }

        /// The message refers to this blob: whoever may read the message may then read the blob. The registry is told
        /// before the message is sent, and refuses it for a blob that this account can't read itself.
        pub fn refers_to(mut self, blob_id: impl Into<String>) -> Self {
            self.draft.blobs.push(blob_id.into());
            self
        }

        /// The message's id, instead of a new one. Sending the same content again under the same id while the first is
        /// under way follows the first, and sends nothing else. Later it is another message under a known id, as its
        /// `sent_at` is another: it fails with `message_id_conflict`, which for a message that may have been sent before
        /// says that it was. To send something again that must be handled once, give it an `idempotency_key`; to send
        /// the same bytes again after a crash, give the node an outbox file.
        pub fn message_id(mut self, id: impl Into<String>) -> Self {
            self.draft.message_id = Some(id.into());
            self
        }
    };
}
pub(crate) use draft_options;
