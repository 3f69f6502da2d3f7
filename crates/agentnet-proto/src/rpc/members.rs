//! Threads with members: who is in them, and how that changes.
//!
//! Every request that changes something may name who asks in `account_id`. Where the network proves the caller it may be
//! left out and must not name anybody else; in open mode, where nothing is proved, it is required.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::lenient;

/// Most accounts that are in a thread or invited to it.
pub const MAX_MEMBERS: usize = 256;

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Invites and ejects.
    Owner,
    /// Posts and reads.
    Member,
    /// Something that this version doesn't know.
    #[serde(other)]
    Other,
}

/// How an account stands to a thread with members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// May join; doesn't post or read yet.
    Invited,
    /// Posts and reads.
    Joined,
    /// Went by itself.
    Left,
    /// Was put out; comes back by invitation only.
    Ejected,
    /// Something that this version doesn't know.
    #[serde(other)]
    Other,
}

/// An account and how it stands to a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMember {
    /// The account.
    pub account_id: String,
    /// Its username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// What it may do.
    pub role: MemberRole,
    /// How it stands to the thread.
    pub state: MemberState,
    /// Who invited it; absent for the thread's maker and for whoever joined a public thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
    /// When it stood in any way to the thread first, ISO 8601.
    pub created_at: String,
    /// When that changed last, ISO 8601.
    pub updated_at: String,
}

/// Body of `registry.thread_create`: a thread that only members post to and read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadCreateRequest {
    /// Who asks, and is the owner.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The id wanted; one is made unless given. An id that is in use is refused.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// For people, at most 256 characters.
    #[serde(default, deserialize_with = "lenient::trimmed", skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Whether any account may join without being invited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// Accounts to invite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invite: Vec<String>,
}

/// Body of `registry.thread_invite`, by an owner. Who is in the thread or invited stays so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadInviteRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
    /// Accounts to invite.
    #[serde(default)]
    pub invite: Vec<String>,
}

/// Body of `registry.thread_join` and `registry.thread_leave`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadJoinRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
}

/// Body of `registry.thread_eject`, by an owner.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadEjectRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
    /// Accounts to put out, or whose invitation to take back.
    #[serde(default)]
    pub eject: Vec<String>,
}

/// Body of `registry.thread_members`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMembersRequest {
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
}

/// Answer to every request about members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMembersResponse {
    /// The thread.
    pub thread_id: String,
    /// For people.
    pub title: String,
    /// Whether any account may join.
    pub public: bool,
    /// Who is in it or invited, owners first, then in the order they came; after leaving, the one who left.
    pub members: Vec<ThreadMember>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `account.<member>.threads`, and of `agentnet.events.threads`: somebody's standing to a thread changed.
/// Whoever remembers the thread's members asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadEvent {
    /// The thread.
    pub thread_id: String,
    /// What the accounts' state is now.
    pub change: MemberState,
    /// Whose state changed.
    pub account_ids: Vec<String>,
    /// Who changed it.
    pub by: String,
    /// ISO 8601.
    pub at: String,
}

rpc!(
    /// `registry.thread_create`.
    ThreadCreate, ThreadCreate, ThreadCreateRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_invite`.
    ThreadInvite, ThreadInvite, ThreadInviteRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_join`.
    ThreadJoin, ThreadJoin, ThreadJoinRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_leave`.
    ThreadLeave, ThreadLeave, ThreadJoinRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_eject`.
    ThreadEject, ThreadEject, ThreadEjectRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_members`.
    ThreadMembers, ThreadMembers, ThreadMembersRequest, ThreadMembersResponse
);
