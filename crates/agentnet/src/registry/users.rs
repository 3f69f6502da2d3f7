//! People, logins and API keys.

use agentnet_proto::rpc;

use super::RegistryClient;
use crate::error::Error;

impl RegistryClient {
    /// Makes a person's account.
    ///
    /// # Errors
    /// As [`call`](Self::call); `username_taken`, `password_unsuitable`, `signup_disabled`.
    pub async fn user_create(&self, request: &rpc::UserCreateRequest) -> Result<rpc::UserResponse, Error> {
        self.call::<rpc::UserCreate>(request).await
    }

    /// People, for operators.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn user_list(&self, request: &rpc::UserListRequest) -> Result<rpc::UserListResponse, Error> {
        self.call::<rpc::UserList>(request).await
    }

    /// Another password for a person. Every login of the account ends.
    ///
    /// # Errors
    /// As [`call`](Self::call); `invalid_credentials` when the old one is wrong.
    pub async fn user_set_password(
        &self,
        request: &rpc::UserSetPasswordRequest,
    ) -> Result<rpc::UserResponse, Error> {
        self.call::<rpc::UserSetPassword>(request).await
    }

    /// Locks a person out, and ends every login of theirs.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn user_disable(&self, request: &rpc::StandingRequest) -> Result<rpc::UserResponse, Error> {
        self.call::<rpc::UserDisable>(request).await
    }

    /// Lets a person in again.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn user_enable(&self, request: &rpc::StandingRequest) -> Result<rpc::UserResponse, Error> {
        self.call::<rpc::UserEnable>(request).await
    }

    /// Binds a gateway's key to a person's account, against the password.
    ///
    /// # Errors
    /// As [`call`](Self::call); `invalid_credentials`; `login_throttled` and `busy` with
    /// [`retry_after`](Error::retry_after).
    pub async fn user_login(&self, request: &rpc::UserLoginRequest) -> Result<rpc::LoginResponse, Error> {
        self.call::<rpc::UserLogin>(request).await
    }

    /// The same against a refresh token, which is good once.
    ///
    /// # Errors
    /// As [`call`](Self::call); `refresh_invalid`, `refresh_reused`, `login_ended`.
    pub async fn user_refresh(&self, request: &rpc::UserRefreshRequest) -> Result<rpc::LoginResponse, Error> {
        self.call::<rpc::UserRefresh>(request).await
    }

    /// Ends a login, with its tokens and keys.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn user_logout(
        &self,
        request: &rpc::UserLogoutRequest,
    ) -> Result<rpc::UserLogoutResponse, Error> {
        self.call::<rpc::UserLogout>(request).await
    }

    /// Binds another gateway's key to a login, against its access token.
    ///
    /// # Errors
    /// As [`call`](Self::call); `login_ended`; what is wrong with the token.
    pub async fn user_session(
        &self,
        request: &rpc::UserSessionRequest,
    ) -> Result<rpc::UserSessionResponse, Error> {
        self.call::<rpc::UserSession>(request).await
    }

    /// Makes a key for a machine. Its secret is in the answer, and nowhere else.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn api_key_create(
        &self,
        request: &rpc::ApiKeyCreateRequest,
    ) -> Result<rpc::ApiKeyCreateResponse, Error> {
        self.call::<rpc::ApiKeyCreate>(request).await
    }

    /// An account's keys for machines.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn api_key_list(
        &self,
        request: &rpc::ApiKeyListRequest,
    ) -> Result<rpc::ApiKeyListResponse, Error> {
        self.call::<rpc::ApiKeyList>(request).await
    }

    /// Takes a machine's key out of use, and ends its logins.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn api_key_revoke(
        &self,
        request: &rpc::ApiKeyRevokeRequest,
    ) -> Result<rpc::ApiKeyRevokeResponse, Error> {
        self.call::<rpc::ApiKeyRevoke>(request).await
    }

    /// Binds a gateway's key to an account, against an API key.
    ///
    /// # Errors
    /// As [`call`](Self::call); `api_key_invalid`.
    pub async fn api_key_login(
        &self,
        request: &rpc::ApiKeyLoginRequest,
    ) -> Result<rpc::LoginResponse, Error> {
        self.call::<rpc::ApiKeyLogin>(request).await
    }

    /// A ticket that opens one WebSocket, at any gateway.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn ws_ticket_create(
        &self,
        request: &rpc::WsTicketCreateRequest,
    ) -> Result<rpc::WsTicketCreateResponse, Error> {
        self.call::<rpc::WsTicketCreate>(request).await
    }

    /// Binds a gateway's key to a login, against a ticket.
    ///
    /// # Errors
    /// As [`call`](Self::call); `ticket_invalid`.
    pub async fn ws_ticket_redeem(
        &self,
        request: &rpc::WsTicketRedeemRequest,
    ) -> Result<rpc::UserSessionResponse, Error> {
        self.call::<rpc::WsTicketRedeem>(request).await
    }

    /// The keys that access tokens verify with (see [`access_token`](agentnet_proto::access_token)).
    ///
    /// # Errors
    /// As [`call`](Self::call); `login_unavailable`.
    pub async fn token_keys(&self) -> Result<rpc::TokenKeysResponse, Error> {
        self.call::<rpc::TokenKeys>(&rpc::TokenKeysRequest {}).await
    }
}
