//! Sending and asking.

use agentnet_proto::Payload;
use serde::Serialize;

use super::{Sdk, SdkResult};
use crate::{error::Error, send::payload_of, target::IntoTarget};

/// Where in a conversation a message stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) thread_id: Option<String>,
    pub(super) parent_message_id: Option<String>,
}

impl Place {
    fn thread(thread_id: Option<&str>) -> Self {
        Self { thread_id: thread_id.map(str::to_owned), parent_message_id: None }
    }
}

impl Sdk {
    /// Sends `{"text": text}`.
    ///
    /// # Errors
    /// As [`SendMessage`](crate::SendMessage).
    pub async fn send_text(
        &self,
        to: impl IntoTarget,
        text: &str,
        thread_id: Option<&str>,
    ) -> Result<SdkResult, Error> {
        self.send_at(to, Payload::text(text), Place::thread(thread_id)).await
    }

    /// Sends any payload.
    ///
    /// # Errors
    /// As [`SendMessage`](crate::SendMessage).
    pub async fn send_json<T: Serialize>(
        &self,
        to: impl IntoTarget,
        payload: T,
        thread_id: Option<&str>,
    ) -> Result<SdkResult, Error> {
        self.send_at(to, payload_of(&payload)?, Place::thread(thread_id)).await
    }

    /// Asks `{"text": text}` and waits for the answer, 60 s unless configured.
    ///
    /// # Errors
    /// As [`RequestMessage`](crate::RequestMessage).
    pub async fn ask_text(
        &self,
        to: impl IntoTarget,
        text: &str,
        thread_id: Option<&str>,
    ) -> Result<SdkResult, Error> {
        self.ask_at(to, Payload::text(text), Place::thread(thread_id)).await
    }

    /// Asks any payload and waits for the answer, 60 s unless configured.
    ///
    /// # Errors
    /// As [`RequestMessage`](crate::RequestMessage).
    pub async fn ask_json<T: Serialize>(
        &self,
        to: impl IntoTarget,
        payload: T,
        thread_id: Option<&str>,
    ) -> Result<SdkResult, Error> {
        self.ask_at(to, payload_of(&payload)?, Place::thread(thread_id)).await
    }

    pub(super) async fn send_at(
        &self,
        to: impl IntoTarget,
        payload: Payload,
        place: Place,
    ) -> Result<SdkResult, Error> {
        let mut send = self.node.send(to.into_target(), payload);
        if let Some(thread) = place.thread_id {
            send = send.thread(thread);
        }
        if let Some(parent) = &place.parent_message_id {
            send = send.parent(parent.clone());
        }
        Ok(SdkResult::sent(send.await?, place.parent_message_id))
    }

    pub(super) async fn ask_at(
        &self,
        to: impl IntoTarget,
        payload: Payload,
        place: Place,
    ) -> Result<SdkResult, Error> {
        let mut ask = self.node.request(to.into_target(), payload).timeout(self.ask_timeout);
        if let Some(thread) = place.thread_id {
            ask = ask.thread(thread);
        }
        if let Some(parent) = place.parent_message_id {
            ask = ask.parent(parent);
        }
        Ok(SdkResult::answered(ask.await?))
    }
}
