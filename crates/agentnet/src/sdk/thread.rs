//! A conversation.

use agentnet_proto::Payload;
use serde::Serialize;

use super::{Sdk, SdkResult, talk::Place};
use crate::{error::Error, send::payload_of, target::IntoTarget};

/// A conversation in one thread: every message follows the last one sent or received.
#[derive(Debug, Clone)]
pub struct ThreadSession {
    sdk: Sdk,
    thread_id: String,
    parent_message_id: Option<String>,
}

impl ThreadSession {
    pub(super) fn new(sdk: Sdk, thread_id: String) -> Self {
        Self { sdk, thread_id, parent_message_id: None }
    }

    /// The thread.
    pub fn thread_id(&self) -> &str {
        &self.thread_id
    }

    /// The message that the next one follows.
    pub fn parent_message_id(&self) -> Option<&str> {
        self.parent_message_id.as_deref()
    }

    /// Makes the next message follow this one.
    pub fn follow(&mut self, message_id: impl Into<String>) {
        self.parent_message_id = Some(message_id.into());
    }

    /// Sends `{"text": text}`.
    ///
    /// # Errors
    /// As [`SendMessage`](crate::SendMessage).
    pub async fn send_text(&mut self, to: impl IntoTarget, text: &str) -> Result<SdkResult, Error> {
        let sent = self.sdk.send_at(to, Payload::text(text), self.place()).await;
        self.advance(sent)
    }

    /// Sends any payload.
    ///
    /// # Errors
    /// As [`SendMessage`](crate::SendMessage).
    pub async fn send_json<T: Serialize>(
        &mut self,
        to: impl IntoTarget,
        payload: T,
    ) -> Result<SdkResult, Error> {
        let sent = self.sdk.send_at(to, payload_of(&payload)?, self.place()).await;
        self.advance(sent)
    }

    /// Asks `{"text": text}` and waits for the answer.
    ///
    /// # Errors
    /// As [`RequestMessage`](crate::RequestMessage).
    pub async fn ask_text(&mut self, to: impl IntoTarget, text: &str) -> Result<SdkResult, Error> {
        let answer = self.sdk.ask_at(to, Payload::text(text), self.place()).await;
        self.advance(answer)
    }

    /// Asks any payload and waits for the answer.
    ///
    /// # Errors
    /// As [`RequestMessage`](crate::RequestMessage).
    pub async fn ask_json<T: Serialize>(
        &mut self,
        to: impl IntoTarget,
        payload: T,
    ) -> Result<SdkResult, Error> {
        let answer = self.sdk.ask_at(to, payload_of(&payload)?, self.place()).await;
        self.advance(answer)
    }

    fn place(&self) -> Place {
        Place { thread_id: Some(self.thread_id.clone()), parent_message_id: self.parent_message_id.clone() }
    }

    fn advance(&mut self, result: Result<SdkResult, Error>) -> Result<SdkResult, Error> {
        if let Ok(result) = &result {
            self.parent_message_id = Some(result.message_id.clone());
        }
        result
    }
}
