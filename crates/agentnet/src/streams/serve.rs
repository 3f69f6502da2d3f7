//! The task that looks after streams: answers readers, and asks senders for what is missing.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Envelope, StreamFrame, Token,
    rpc::{Evidence, EvidenceRequest},
    stream::StreamResume,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    following::{Due, Following},
    sending::{Audience, Sending},
};
use crate::{error::Error, node::Inner};

/// How often the streams that are read are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Serves until the node stops.
pub(crate) async fn serve(node: Arc<Inner>) {
    let controls = node.streams.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut controls) = controls else { return };
    let mut state = node.connection.state();
    let mut reconnects = state.borrow_and_update().reconnects;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_reading = node.streams.reading.len() > 0;
        tokio::select! {
            Some((from, frame)) = controls.recv() => node.answer(from, frame).await,
            () = node.streams.wake.notified() => node.look_after_streams().await,
            _ = tick.tick(), if is_reading => node.look_after_streams().await,
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                let current = *state.borrow_and_update();
                if current.connected && current.reconnects != reconnects {
                    reconnects = current.reconnects;
                    let now = Instant::now();
                    for following in node.streams.reading.all() {
                        following.reconnected(now);
                    }
                    node.look_after_streams().await;
                    node.tell_readers().await;
                }
            }
        }
    }
}

impl Inner {
    /// Answers a reader.
    async fn answer(self: &Arc<Self>, from: AccountId, frame: StreamFrame) {
        let Some(sending) = self.streams.outgoing.get(frame.stream_id()) else { return };
        if !self.may_read(&sending, &from).await {
            self.metrics.frames_refused.up();
            return tracing::debug!(%from, stream = %sending.id, "not for this account to read");
        }
        match frame {
            StreamFrame::Cancel(_) => sending.cancel(&from),
            StreamFrame::Resume(resume) => {
                let Some(replay) = sending.resume(from.clone(), resume.seq, Instant::now()) else { return };
                match self.framed(&replay.start) {
                    Ok(start) => self.publish_frame(&from, &sending.id, &start).await,
                    Err(error) => tracing::debug!(%error, "the beginning of a stream can't be repeated"),
                }
                for framed in &replay.frames {
                    self.publish_frame(&from, &sending.id, framed).await;
                }
            }
            _ => {}
        }
    }

    async fn may_read(&self, sending: &Sending, reader: &AccountId) -> bool {
        match &sending.audience {
            Audience::Account(account) => account == reader,
            Audience::Thread(id) => {
                self.members(id).await.is_some_and(|group| group.members.contains(reader))
            }
        }
    }

    /// Does for every stream that is read what is due.
    async fn look_after_streams(self: &Arc<Self>) {
        self.streams.outgoing.expire(Instant::now());
        for following in self.streams.reading.all() {
            match following.due(Instant::now()) {
                Due::Nothing => {}
                Due::Resume(from, seq) => self.ask_on(&following, &from, seq).await,
                Due::LookUp(message_id) => {
                    // At most one in a few seconds for each of a bounded number of streams.
                    let node = Arc::clone(self);
                    tokio::spawn(async move {
                        if let Err(error) = node.look_up(&following, &message_id).await {
                            tracing::debug!(%error, message_id, "no finished text yet");
                        }
                    });
                }
            }
        }
    }

    /// Tells the readers of every stream how far it is: what was said while the connection was away didn't reach them.
    async fn tell_readers(&self) {
        for sending in self.streams.outgoing.all() {
            let (news, readers) = sending.news();
            let Ok(framed) = self.framed(&news) else { continue };
            for reader in readers {
                self.publish_frame(&reader, &sending.id, &framed).await;
            }
        }
    }

    async fn ask_on(&self, following: &Following, sender: &AccountId, seq: u64) {
        let frame = StreamFrame::Resume(StreamResume {
            stream_id: following.id.clone(),
            seq,
            from_account_id: Some(self.account.to_string()),
        });
        if let (Ok(framed), Ok(id)) = (self.framed(&frame), Token::new(following.id.as_str())) {
            self.publish_frame(sender, &id, &framed).await;
        }
    }

    /// Looks for the finished text in the history.
    async fn look_up(&self, following: &Following, message_id: &str) -> Result<(), Error> {
        let request = EvidenceRequest { message_id: Some(message_id.to_owned()), ..Default::default() };
        let found = self.registry.call::<Evidence>(&request).await?;
        for row in found.messages {
            let body = STANDARD.decode(&row.envelope).unwrap_or_default();
            let Ok(envelope) = Envelope::decode(&body) else { continue };
            self.finished_by(following, &envelope);
        }
        Ok(())
    }

    /// The message that ends the stream came, one way or another. Whoever sends the stream sent it, or it means nothing.
    pub(super) fn finished_by(&self, following: &Following, envelope: &Envelope) {
        let sender = following.from().map(|from| from.to_string());
        if sender.is_none() || sender.as_deref() != envelope.from_account_id.as_deref() {
            return;
        }
        match StreamFrame::of_payload(&envelope.payload) {
            Some(StreamFrame::End(end)) if end.stream_id == following.id => {
                following.finish(&end, &envelope.message_id);
            }
            Some(StreamFrame::Error(error)) if error.stream_id == following.id => following.failed_by(error),
            _ => {}
        }
    }
}
