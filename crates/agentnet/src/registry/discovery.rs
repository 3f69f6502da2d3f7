//! Who there is, and what one says about oneself.

use agentnet_proto::{
    SubSystem,
    rpc::{self, Profile},
};

use super::RegistryClient;
use crate::error::Error;

/// Most pages of `registry.list` that [`RegistryClient::list`] follows.
const MAX_PAGES: usize = 1000;

impl RegistryClient {
    /// Sessions online that fit the filters, all pages unless the request has a limit. Rows without an agent_id are
    /// left out, as in the original.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn list(&self, request: &rpc::ListRequest) -> Result<rpc::ListResponse, Error> {
        let mut page = request.clone();
        let mut answer = self.call::<rpc::List>(&page).await?;
        for _ in 1..MAX_PAGES {
            if request.limit.is_some() || answer.next_cursor.is_none() {
                break;
            }
            page.cursor = answer.next_cursor.take();
            let more = self.call::<rpc::List>(&page).await?;
            answer.agents.extend(more.agents);
            answer.next_cursor = more.next_cursor;
        }
        answer.agents.retain(|agent| !agent.agent_id.is_empty());
        Ok(answer)
    }

    /// Systems of a type that agents online run of their own, and where they are.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn sub_systems(&self, sub_system_type: &str) -> Result<Vec<rpc::SubSystemFound>, Error> {
        let request = rpc::ListRequest {
            sub_system_type: Some(sub_system_type.to_owned()),
            ..rpc::ListRequest::default()
        };
        let mut found: Vec<rpc::SubSystemFound> = Vec::new();
        for agent in self.list(&request).await?.agents {
            let account_id = agent.account_id.unwrap_or_default();
            // Refused at the door when it can't be read; an older registry may have let it in.
            for sub_system in SubSystem::all_of(&agent.metadata).unwrap_or_default() {
                let one = rpc::SubSystemFound {
                    account_id: account_id.clone(),
                    username: agent.username.clone().unwrap_or_default(),
                    addresses: sub_system.addresses(),
                    sub_system,
                };
                // Several sessions of one account may tell of the same.
                if one.sub_system.sub_system_type == sub_system_type && !found.contains(&one) {
                    found.push(one);
                }
            }
        }
        Ok(found)
    }

    /// Accounts by name, capability and status.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn search(&self, request: &rpc::SearchRequest) -> Result<rpc::SearchResponse, Error> {
        self.call::<rpc::Search>(request).await
    }

    /// One account with its sessions.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown account.
    pub async fn profile(&self, request: &rpc::ProfileRequest) -> Result<Profile, Error> {
        Ok(self.call::<rpc::GetProfile>(request).await?.profile)
    }

    /// Changes what the caller's account says about itself.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn profile_update(
        &self,
        request: &rpc::ProfileUpdateRequest,
    ) -> Result<rpc::ProfileUpdateResponse, Error> {
        self.call::<rpc::ProfileUpdate>(request).await
    }

    /// The account of a username.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown username.
    pub async fn resolve_account(&self, username: &str) -> Result<rpc::ResolveAccountResponse, Error> {
        self.call::<rpc::ResolveAccount>(&rpc::ResolveAccountRequest { username: username.to_owned() }).await
    }

    /// The registry's own figures.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn metrics(&self) -> Result<rpc::MetricsResponse, Error> {
        self.call::<rpc::Metrics>(&rpc::MetricsRequest {}).await
    }
}
