//! Who is there, and what was said.

use agentnet_proto::rpc::{
    AgentInfo, ListRequest, MessageSearchRequest, MessageSearchResponse, MetricsResponse, Profile,
    ProfileRequest, ThreadListRequest, ThreadListResponse, ThreadMessagesRequest, ThreadMessagesResponse,
    ThreadStatusResponse,
};

use super::Sdk;
use crate::{
    error::{Error, ErrorKind},
    target::{IntoTarget, Target},
};

impl Sdk {
    /// Every session online.
    ///
    /// # Errors
    /// As [`RegistryClient::list`](crate::RegistryClient::list).
    pub async fn list_online(&self) -> Result<Vec<AgentInfo>, Error> {
        Ok(self.node.registry().list(&ListRequest::default()).await?.agents)
    }

    /// The profile of an account or username.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] for a capability or thread, [`ErrorKind::NotFound`], and as
    /// [`RegistryClient::profile`](crate::RegistryClient::profile).
    pub async fn get_profile(&self, target: impl IntoTarget) -> Result<Profile, Error> {
        let (account_id, username) = match target.into_target()? {
            Target::Account(id) => (Some(id.to_string()), None),
            Target::Username(name) => (None, Some(name)),
            other => {
                let detail = format!("{other} has no profile; name an account or a username");
                return Err(Error::new(ErrorKind::InvalidTarget, detail));
            }
        };
        self.node.registry().profile(&ProfileRequest { account_id, username }).await
    }

    /// Threads by id or participant, latest activity first.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn list_threads(&self, request: &ThreadListRequest) -> Result<ThreadListResponse, Error> {
        self.node.registry().thread_list(request).await
    }

    /// One thread's counters.
    ///
    /// # Errors
    /// As [`RegistryClient::thread_status`](crate::RegistryClient::thread_status).
    pub async fn thread_status(&self, thread_id: &str) -> Result<ThreadStatusResponse, Error> {
        self.node.registry().thread_status(thread_id).await
    }

    /// One page of a thread, newest first: at most `limit` (50 unless given), from `cursor` on.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn get_thread_messages(
        &self,
        thread_id: &str,
        limit: Option<i64>,
        cursor: Option<&str>,
    ) -> Result<ThreadMessagesResponse, Error> {
        let cursor = cursor.map(str::to_owned);
        let request = ThreadMessagesRequest { thread_id: thread_id.to_owned(), limit, cursor };
        self.node.registry().thread_messages(&request).await
    }

    /// One page of the messages that fit the filters, newest first.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn search_messages(
        &self,
        request: &MessageSearchRequest,
    ) -> Result<MessageSearchResponse, Error> {
        self.node.registry().message_search(request).await
    }

    /// The registry's own figures.
    ///
    /// # Errors
    /// As [`RegistryClient::call`](crate::RegistryClient::call).
    pub async fn registry_metrics(&self) -> Result<MetricsResponse, Error> {
        self.node.registry().metrics().await
    }
}
