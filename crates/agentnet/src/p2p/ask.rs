//! Asking.

use std::time::Duration;

use agentnet_proto::{
    Payload,
    rpc::{BlobInfo, SubSystemFound},
};
use serde::Serialize;

use super::{P2pCall, P2pFile, files};
use crate::{
    error::Error,
    node::AgentNode,
    send::{Stage, payload_of},
    target::IntoTarget,
};

/// How long an answer may take unless set.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks agents by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct P2p {
    node: AgentNode,
    timeout: Duration,
}

impl P2p {
    /// Asks as this agent; an answer may take 30 s.
    #[must_use]
    pub fn new(node: &AgentNode) -> Self {
        Self { node: node.clone(), timeout: TIMEOUT }
    }

    /// The same with another time for answers.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a message and waits for the answer.
    ///
    /// # Errors
    /// As a request: an agent that isn't there, or doesn't answer in time, is an error, and never waited for longer.
    pub async fn send_recv<T: Serialize>(
        &self,
        agent: impl IntoTarget,
        message: T,
    ) -> Result<Payload, Error> {
        self.call(agent, P2pCall::Message, message).await
    }

    /// Sends a message and waits for nothing but that the network keeps it. Returns its id.
    ///
    /// # Errors
    /// As a send.
    pub async fn send<T: Serialize>(&self, agent: impl IntoTarget, message: T) -> Result<String, Error> {
        let payload = P2pCall::Message.payload(&payload_of(&message)?.value());
        Ok(self.node.send(agent, payload).until(Stage::Stored).await?.message_id)
    }

    /// Asks for work. A `handler` in the data names one of the agent's handlers.
    ///
    /// # Errors
    /// As [`send_recv`](Self::send_recv).
    pub async fn send_api<T: Serialize>(&self, agent: impl IntoTarget, data: T) -> Result<Payload, Error> {
        self.call(agent, P2pCall::Api, data).await
    }

    /// Asks what work would take.
    ///
    /// # Errors
    /// As [`send_recv`](Self::send_recv).
    pub async fn estimate<T: Serialize>(&self, agent: impl IntoTarget, query: T) -> Result<Payload, Error> {
        self.call(agent, P2pCall::Estimate, query).await
    }

    /// Asks for any of the three.
    ///
    /// # Errors
    /// As [`send_recv`](Self::send_recv).
    pub async fn call<T: Serialize>(
        &self,
        agent: impl IntoTarget,
        call: P2pCall,
        content: T,
    ) -> Result<Payload, Error> {
        let payload = call.payload(&payload_of(&content)?.value());
        let reply = self.node.request(agent, payload).timeout(self.timeout).await?;
        Ok(reply.payload().clone())
    }

    /// Asks for work with a file beside the data, in its part `file`.
    ///
    /// # Errors
    /// As [`send_api_with`](Self::send_api_with).
    pub async fn send_file<T: Serialize>(
        &self,
        agent: impl IntoTarget,
        data: T,
        file: P2pFile<'_>,
    ) -> Result<Payload, Error> {
        self.send_api_with(agent, data, [("file", file)]).await
    }

    /// Asks for work with files beside the data, by names of the sender's choice. They are put into the network first, and the
    /// agent gets references to them, by these names, in the data's `files`: [`P2pTask::get_file`](super::P2pTask::get_file) reads them there. The network
    /// keeps them for a day.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for data that isn't an object, or has `files` already;
    /// as [`PutBlob`](crate::PutBlob) and [`send_recv`](Self::send_recv).
    pub async fn send_api_with<'a, T: Serialize>(
        &self,
        agent: impl IntoTarget,
        data: T,
        files: impl IntoIterator<Item = (&str, P2pFile<'a>)>,
    ) -> Result<Payload, Error> {
        let mut blobs = Vec::new();
        for (name, file) in files {
            blobs.push((name.to_owned(), file.put(&self.node.blobs()).await?));
        }
        self.call_with_blobs(agent, P2pCall::Api, data, blobs).await
    }

    /// Asks for any of the three, with files that the network has, by name.
    ///
    /// # Errors
    /// As [`send_api_with`](Self::send_api_with).
    pub async fn call_with_blobs<T: Serialize>(
        &self,
        agent: impl IntoTarget,
        call: P2pCall,
        content: T,
        blobs: Vec<(String, BlobInfo)>,
    ) -> Result<Payload, Error> {
        let ids: Vec<String> = blobs.iter().map(|(_, blob)| blob.blob_id.clone()).collect();
        let content = files::add(payload_of(&content)?.value(), blobs)?;
        let mut request = self.node.request(agent, call.payload(&content)).timeout(self.timeout);
        for id in ids {
            request = request.refers_to(id);
        }
        Ok(request.await?.payload().clone())
    }

    /// Where agents' own systems of a type are: those of accounts that are online and say so. Types are those of
    /// [`sub_system`](crate::proto::sub_system); `p2p-system` are agents with ports of their own.
    ///
    /// # Errors
    /// As [`RegistryClient::list`](crate::RegistryClient::list).
    pub async fn find(&self, sub_system_type: &str) -> Result<Vec<SubSystemFound>, Error> {
        self.node.registry().sub_systems(sub_system_type).await
    }
}
