//! Threads with members: who is in them, and how that changes.
//!
//! Every request that changes something may name who asks in `account_id`. Where the network proves the caller it may be
//! left out and must not name anybody else; in open mode, where nothing is proved, it is required.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc;
use crate::lenient;

/// Most accounts that are in a thread or invited to it, unless the registry is told otherwise.
pub const MAX_MEMBERS: usize = 256;
/// The largest number that the registry may be told.
pub const MOST_MEMBERS: usize = 1_024;
/// Largest metadata of a thread, encoded, in bytes.
pub const MAX_THREAD_METADATA: usize = 8 * 1024;

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Does everything, closing the thread and giving roles included.
    Owner,
    /// Invites, ejects members, and changes what the thread says about itself.
    Admin,
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
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
    /// What it is about, at most 4096 characters.
    #[serde(default, deserialize_with = "lenient::trimmed", skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Whether any account may join without being invited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// Anything its members should know, at most 8 KiB.
    #[serde(default, deserialize_with = "lenient::object", skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Accounts to invite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invite: Vec<String>,
}

/// Body of `registry.thread_invite`, by an owner or admin. Who is in the thread or invited stays so.
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

/// Body of `registry.thread_join`, `registry.thread_leave`, and `registry.thread_close`, by an owner.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadJoinRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
}

/// Body of `registry.thread_eject`, by an owner, or of members by an admin. Owners stay.
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

/// Body of `registry.thread_update`, by an owner or admin. What is left out stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadUpdateRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
    /// For people, at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is about, at most 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether any account may join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Takes the place of what was there, at most 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// Body of `registry.thread_role`, by an owner. A thread keeps one owner at least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadRoleRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
    /// The member, by account id.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub member: String,
    /// What it may do from now on.
    pub role: MemberRole,
}

/// Body of `registry.thread_read`, by a member: how far it has read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadReadRequest {
    /// Who asks.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub thread_id: String,
    /// The last message that was read; everything unless given. A marker never moves back, and one that lies further back
    /// than 1,000 messages doesn't move it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub up_to: Option<String>,
}

/// Answer to thread_read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadReadResponse {
    /// The thread.
    pub thread_id: String,
    /// Messages of others that aren't read yet.
    pub unread: i64,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.conversation_list`: the asking account's threads with members.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConversationListRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Only threads that the account is `invited` to, or has `joined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MemberState>,
    /// Only threads in which something isn't read yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread_only: bool,
    /// At most this many, 1 to 100; 20 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A thread as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// The thread.
    pub thread_id: String,
    /// For people.
    pub title: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Whether any account may join.
    pub public: bool,
    /// What its members should know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// What the account may do there.
    pub role: MemberRole,
    /// How it stands to the thread.
    pub state: MemberState,
    /// Who invited it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
    /// How many are in the thread.
    pub members: i64,
    /// Messages stored.
    pub message_count: i64,
    /// Messages of others that aren't read yet.
    pub unread: i64,
    /// The last message that was read, where the account said which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_up_to: Option<String>,
    /// When its latest message was sent, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<String>,
    /// When it was made, ISO 8601.
    pub created_at: String,
    /// When it changed last, ISO 8601.
    pub updated_at: String,
    /// When it was closed, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
}

/// Answer to conversation_list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationListResponse {
    /// Latest activity first.
    pub conversations: Vec<Conversation>,
    /// Where the next page starts; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Answer to every request about members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMembersResponse {
    /// The thread.
    pub thread_id: String,
    /// For people.
    pub title: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Whether any account may join.
    pub public: bool,
    /// What its members should know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// When it was closed, ISO 8601: nobody posts any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
    /// Who closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// Who is in it or invited, owners first, then admins, then in the order they came; after leaving, the one who left.
    pub members: Vec<ThreadMember>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// What happened to a thread or to how accounts stand to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ThreadChange {
    /// The accounts were invited.
    Invited,
    /// They joined.
    Joined,
    /// They went.
    Left,
    /// They declined their invitation.
    Declined,
    /// They were put out.
    Ejected,
    /// They have another role.
    Role,
    /// The thread says something else about itself.
    Updated,
    /// The thread was closed.
    Closed,
    /// Something that this version doesn't know.
    #[serde(other)]
    Other,
}

/// Body of `account.<member>.threads`, and of `agentnet.events.threads`: a thread changed, or somebody's standing to it.
/// Whoever remembers the thread's members asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadEvent {
    /// The thread.
    pub thread_id: String,
    /// What happened.
    pub change: ThreadChange,
    /// The thread's title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Who is concerned: everybody in the thread when it was updated or closed.
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
rpc!(
    /// `registry.thread_update`.
    ThreadUpdate, ThreadUpdate, ThreadUpdateRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_role`.
    ThreadRole, ThreadRole, ThreadRoleRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_close`.
    ThreadClose, ThreadClose, ThreadJoinRequest, ThreadMembersResponse
);
rpc!(
    /// `registry.thread_read`.
    ThreadRead, ThreadRead, ThreadReadRequest, ThreadReadResponse
);
rpc!(
    /// `registry.conversation_list`.
    ConversationList, ConversationList, ConversationListRequest, ConversationListResponse
);
