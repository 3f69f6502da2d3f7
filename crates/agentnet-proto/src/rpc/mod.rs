//! The registry's RPCs: one file per group, a [`Rpc`] implementation per method.
//!
//! To add one: a variant of [`RpcMethod`], request and response types in a file here, an `impl Rpc`, the handler in
//! the registry, and `UPDATE_SCHEMAS=1 cargo test -p agentnet-proto` for `docs/schema/`.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::error::ErrorCode;

mod agents;
mod api_keys;
mod blobs;
mod blocks;
mod capabilities;
mod coordination;
mod deliveries;
mod discovery;
mod documents;
mod enrol;
mod keys;
mod logins;
mod mailboxes;
mod members;
mod messages;
mod metrics;
mod network;
mod online;
mod peers;
mod presence;
mod profile_update;
mod resolve;
mod standing;
mod status;
mod task_queues;
mod task_work;
mod tasks;
mod threads;
mod users;

pub use agents::*;
pub use api_keys::*;
pub use blobs::*;
pub use blocks::*;
pub use capabilities::*;
pub use coordination::*;
pub use deliveries::*;
pub use discovery::*;
pub use documents::*;
pub use enrol::*;
pub use keys::*;
pub use logins::*;
pub use mailboxes::*;
pub use members::*;
pub use messages::*;
pub use metrics::*;
pub use network::*;
pub use online::*;
pub use peers::*;
pub use presence::*;
pub use profile_update::*;
pub use resolve::*;
pub use standing::*;
pub use status::*;
pub use task_queues::*;
pub use task_work::*;
pub use tasks::*;
pub use threads::*;
pub use users::*;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $not_object:ident;)+) => {
        /// A method of the registry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RpcMethod {
            $($(#[$doc])* $variant,)+
        }

        impl RpcMethod {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The method's name in subjects.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The method of that name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// The error for a request that isn't a JSON object.
            pub const fn not_an_object(self) -> ErrorCode {
                match self { $(Self::$variant => ErrorCode::$not_object,)+ }
            }
        }
    };
}

methods! {
    /// Opens a session, making the account if need be.
    Register = "register", RegisterNotObject;
    /// Presence: published, not answered.
    Hello = "hello", NotAnObject;
    /// End of a session: published, not answered.
    Goodbye = "goodbye", NotAnObject;
    /// The network's name and mode, and who the caller is in it.
    Network = "network", NotAnObject;
    /// Sessions online.
    List = "list", NotAnObject;
    /// Accounts by name, capability, status.
    Search = "search", SearchNotObject;
    /// One account with its sessions.
    Profile = "profile", ProfileNotObject;
    /// Username to account.
    ResolveAccount = "resolve_account", ResolveNotObject;
    /// Account to public key.
    ResolveKey = "resolve_key", ResolveNotObject;
    /// Threads by id or participant.
    ThreadList = "thread_list", ThreadListNotObject;
    /// One thread's counters.
    ThreadStatus = "thread_status", ThreadStatusNotObject;
    /// One thread's messages, newest first.
    ThreadMessages = "thread_messages", ThreadMessagesNotObject;
    /// Messages by filters and text, newest first.
    MessageSearch = "message_search", MessageSearchNotObject;
    /// Messages and what became of them at each recipient.
    Deliveries = "deliveries", NotAnObject;
    /// Tries again what was given up.
    Redrive = "redrive", NotAnObject;
    /// The whole path of one message.
    Why = "why", NotAnObject;
    /// Makes a thread with members.
    ThreadCreate = "thread_create", NotAnObject;
    /// An owner asks accounts into a thread.
    ThreadInvite = "thread_invite", NotAnObject;
    /// An account comes into a thread.
    ThreadJoin = "thread_join", NotAnObject;
    /// A member goes.
    ThreadLeave = "thread_leave", NotAnObject;
    /// An owner puts members out.
    ThreadEject = "thread_eject", NotAnObject;
    /// What a thread says about itself.
    ThreadUpdate = "thread_update", NotAnObject;
    /// What a member may do.
    ThreadRole = "thread_role", NotAnObject;
    /// Nobody posts any more.
    ThreadClose = "thread_close", NotAnObject;
    /// How far a member has read.
    ThreadRead = "thread_read", NotAnObject;
    /// An account's threads with members, and what it hasn't read there.
    ConversationList = "conversation_list", NotAnObject;
    /// Who is in a thread.
    ThreadMembers = "thread_members", NotAnObject;
    /// Which of some accounts are online.
    Online = "online", NotAnObject;
    /// Notes another account as a peer.
    PeerAdd = "peer_add", NotAnObject;
    /// Forgets a peer.
    PeerRemove = "peer_remove", NotAnObject;
    /// Whom an account noted.
    PeerList = "peer_list", NotAnObject;
    /// Refuses another account's messages.
    BlockAdd = "block_add", NotAnObject;
    /// Takes them again.
    BlockRemove = "block_remove", NotAnObject;
    /// Whose messages an account refuses.
    BlockList = "block_list", NotAnObject;
    /// Keeps a JSON document.
    DataPut = "data_put", NotAnObject;
    /// One document.
    DataGet = "data_get", NotAnObject;
    /// Documents of one account, or everybody's public ones.
    DataList = "data_list", NotAnObject;
    /// Removes a document.
    DataDelete = "data_delete", NotAnObject;
    /// Makes an account an operator.
    OperatorGrant = "operator_grant", NotAnObject;
    /// Makes an operator an agent again.
    OperatorRevoke = "operator_revoke", NotAnObject;
    /// Who the operators are.
    OperatorList = "operator_list", NotAnObject;
    /// Locks an account out.
    Suspend = "suspend", NotAnObject;
    /// Lets it in again.
    Resume = "resume", NotAnObject;
    /// An account says about itself what others see.
    ProfileUpdate = "profile_update", NotAnObject;
    /// Makes a token that lets unknown keys in.
    Enrol = "enrol", NotAnObject;
    /// Restricts a capability, or opens it again.
    CapabilityRestrict = "capability_restrict", NotAnObject;
    /// Lets an account serve a restricted capability.
    CapabilityGrant = "capability_grant", NotAnObject;
    /// Takes that back.
    CapabilityRevoke = "capability_revoke", NotAnObject;
    /// Which capabilities are restricted.
    CapabilityList = "capability_list", NotAnObject;
    /// Begins to put a blob, or goes on with an upload.
    BlobBegin = "blob_begin", NotAnObject;
    /// One chunk of an upload.
    BlobWrite = "blob_write", NotAnObject;
    /// Makes an upload a blob.
    BlobCommit = "blob_commit", NotAnObject;
    /// What a blob is.
    BlobHead = "blob_head", NotAnObject;
    /// A range of a blob's bytes.
    BlobRead = "blob_read", NotAnObject;
    /// An account's blobs.
    BlobList = "blob_list", NotAnObject;
    /// Removes a blob.
    BlobDelete = "blob_delete", NotAnObject;
    /// A message will refer to a blob.
    BlobShare = "blob_share", NotAnObject;
    /// Stored messages as they came, with their senders' keys.
    Evidence = "evidence", NotAnObject;
    /// Another key for the account.
    Rotate = "rotate", NotAnObject;
    /// A key is taken out of use.
    Revoke = "revoke", NotAnObject;
    /// Makes a person's account.
    UserCreate = "user_create", NotAnObject;
    /// People.
    UserList = "user_list", NotAnObject;
    /// Another password for a person.
    UserSetPassword = "user_set_password", NotAnObject;
    /// Locks a person out.
    UserDisable = "user_disable", NotAnObject;
    /// Lets a person in again.
    UserEnable = "user_enable", NotAnObject;
    /// Binds the gateway's key to a person's account, against the password.
    UserLogin = "user_login", NotAnObject;
    /// The same against a refresh token.
    UserRefresh = "user_refresh", NotAnObject;
    /// Ends a login.
    UserLogout = "user_logout", NotAnObject;
    /// Binds another gateway's key, against an access token.
    UserSession = "user_session", NotAnObject;
    /// Makes a key for a machine.
    ApiKeyCreate = "api_key_create", NotAnObject;
    /// An account's keys for machines.
    ApiKeyList = "api_key_list", NotAnObject;
    /// Takes one out of use.
    ApiKeyRevoke = "api_key_revoke", NotAnObject;
    /// Binds the gateway's key to an account, against an API key.
    ApiKeyLogin = "api_key_login", NotAnObject;
    /// A ticket that opens one WebSocket.
    WsTicketCreate = "ws_ticket_create", NotAnObject;
    /// Binds the gateway's key, against a ticket.
    WsTicketRedeem = "ws_ticket_redeem", NotAnObject;
    /// The keys that access tokens verify with.
    TokenKeys = "token_keys", NotAnObject;
    /// An agent that comes in over HTTP, or says more about itself.
    AgentRegister = "agent_register", NotAnObject;
    /// Agents by what they are and how they are.
    AgentDiscover = "agent_discover", NotAnObject;
    /// One agent.
    AgentShow = "agent_show", NotAnObject;
    /// How an agent is.
    AgentReport = "agent_report", NotAnObject;
    /// How many agents there are, of which kinds.
    AgentStats = "agent_stats", NotAnObject;
    /// Messages for an agent that comes in over HTTP.
    MailFetch = "mail_fetch", NotAnObject;
    /// It has handled them.
    MailAck = "mail_ack", NotAnObject;
    /// What a gateway has to post to webhooks.
    WebhookClaim = "webhook_claim", NotAnObject;
    /// What came of it.
    WebhookReport = "webhook_report", NotAnObject;
    /// Whether an agent may be sent a message under a protocol.
    MessageRoute = "message_route", NotAnObject;
    /// Messages by sender and receiver.
    MessageHistory = "message_history", NotAnObject;
    /// A thread for one message to many agents.
    BroadcastOpen = "broadcast_open", NotAnObject;
    /// Who noted whom.
    PeerGraph = "peer_graph", NotAnObject;
    /// What changed, resumable.
    Feed = "feed", NotAnObject;
    /// Submits a task.
    TaskSubmit = "task_submit", NotAnObject;
    /// One task, with what came of it.
    TaskGet = "task_get", NotAnObject;
    /// Tasks, newest first.
    TaskList = "task_list", NotAnObject;
    /// Calls a task off.
    TaskCancel = "task_cancel", NotAnObject;
    /// A worker begins with a task.
    TaskAccept = "task_accept", NotAnObject;
    /// A worker is still at it.
    TaskHeartbeat = "task_heartbeat", NotAnObject;
    /// How far a worker is.
    TaskProgress = "task_progress", NotAnObject;
    /// A worker has done it.
    TaskComplete = "task_complete", NotAnObject;
    /// A worker can't do it.
    TaskFail = "task_fail", NotAnObject;
    /// How many tasks wait.
    TaskQueues = "task_queues", NotAnObject;
    /// Calls off what waits in a queue.
    TaskQueueClear = "task_queue_clear", NotAnObject;
    /// What became of tasks, in figures.
    TaskStats = "task_stats", NotAnObject;
    /// How workers are chosen.
    TaskStrategy = "task_strategy", NotAnObject;
    /// An agent says how it is.
    SetStatus = "set_status", NotAnObject;
    /// What agents said, and what they have in hand.
    StatusList = "status_list", NotAnObject;
    /// The registry's own figures.
    Metrics = "metrics", NotAnObject;
}

impl RpcMethod {
    /// Whether a client that has a key signs its requests with the purpose `rpc`: those that change something, and
    /// those whose answer depends on who asks. Others are everybody's to ask or have purposes of their own.
    pub const fn is_signed_as_rpc(self) -> bool {
        match self {
            Self::Hello
            | Self::Goodbye
            | Self::Register
            | Self::Rotate
            | Self::Revoke
            | Self::Network
            | Self::List
            | Self::Search
            | Self::Profile
            | Self::Online
            | Self::ResolveAccount
            | Self::ResolveKey
            | Self::TokenKeys
            | Self::AgentDiscover
            | Self::AgentShow
            | Self::AgentStats
            | Self::TaskQueues
            | Self::TaskStats
            | Self::StatusList
            | Self::Metrics => false,
            Self::ThreadList
            | Self::ThreadStatus
            | Self::ThreadMessages
            | Self::MessageSearch
            | Self::Deliveries
            | Self::Redrive
            | Self::Why
            | Self::ThreadCreate
            | Self::ThreadInvite
            | Self::ThreadJoin
            | Self::ThreadLeave
            | Self::ThreadEject
            | Self::ThreadUpdate
            | Self::ThreadRole
            | Self::ThreadClose
            | Self::ThreadRead
            | Self::ConversationList
            | Self::ThreadMembers
            | Self::PeerAdd
            | Self::PeerRemove
            | Self::PeerList
            | Self::BlockAdd
            | Self::BlockRemove
            | Self::BlockList
            | Self::DataPut
            | Self::DataGet
            | Self::DataList
            | Self::DataDelete
            | Self::OperatorGrant
            | Self::OperatorRevoke
            | Self::OperatorList
            | Self::Suspend
            | Self::Resume
            | Self::ProfileUpdate
            | Self::Enrol
            | Self::CapabilityRestrict
            | Self::CapabilityGrant
            | Self::CapabilityRevoke
            | Self::CapabilityList
            | Self::BlobBegin
            | Self::BlobWrite
            | Self::BlobCommit
            | Self::BlobHead
            | Self::BlobRead
            | Self::BlobList
            | Self::BlobDelete
            | Self::BlobShare
            | Self::Evidence
            | Self::UserCreate
            | Self::UserList
            | Self::UserSetPassword
            | Self::UserDisable
            | Self::UserEnable
            | Self::UserLogin
            | Self::UserRefresh
            | Self::UserLogout
            | Self::UserSession
            | Self::ApiKeyCreate
            | Self::ApiKeyList
            | Self::ApiKeyRevoke
            | Self::ApiKeyLogin
            | Self::WsTicketCreate
            | Self::WsTicketRedeem
            | Self::AgentRegister
            | Self::AgentReport
            | Self::MailFetch
            | Self::MailAck
            | Self::WebhookClaim
            | Self::WebhookReport
            | Self::MessageRoute
            | Self::MessageHistory
            | Self::BroadcastOpen
            | Self::PeerGraph
            | Self::Feed
            | Self::TaskSubmit
            | Self::TaskGet
            | Self::TaskList
            | Self::TaskCancel
            | Self::TaskAccept
            | Self::TaskHeartbeat
            | Self::TaskProgress
            | Self::TaskComplete
            | Self::TaskFail
            | Self::TaskQueueClear
            | Self::TaskStrategy
            | Self::SetStatus => true,
        }
    }
}

impl fmt::Display for RpcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request/reply pair of the registry.
pub trait Rpc {
    /// The method's name.
    const METHOD: RpcMethod;
    /// What is sent.
    type Request: Serialize + DeserializeOwned + Send;
    /// What comes back when it isn't an [`crate::error::RpcError`].
    type Response: Serialize + DeserializeOwned + Send;
}

macro_rules! rpc {
    ($(#[$doc:meta])* $name:ident, $method:ident, $request:ty, $response:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}
        impl $crate::rpc::Rpc for $name {
            const METHOD: $crate::rpc::RpcMethod = $crate::rpc::RpcMethod::$method;
            type Request = $request;
            type Response = $response;
        }
    };
}
pub(crate) use rpc;

/// Clamps a page size as the original does: absent, unreadable or 0 is the default, else into `1..=max`.
pub fn clamp_limit(limit: Option<i64>, default: i64, max: i64) -> i64 {
    match limit {
        None | Some(0) => default,
        Some(n) => n.clamp(1, max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_clamped_as_the_original_does() {
        assert_eq!(clamp_limit(None, 20, 100), 20);
        assert_eq!(clamp_limit(Some(0), 20, 100), 20);
        assert_eq!(clamp_limit(Some(-5), 20, 100), 1);
        assert_eq!(clamp_limit(Some(i64::MAX), 20, 100), 100);
    }
}
