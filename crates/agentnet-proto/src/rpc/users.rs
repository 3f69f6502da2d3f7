//! People: accounts of kind human, who come in over HTTP with a password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StandingRequest, rpc};
use crate::{lenient, secret_text::SecretText};

/// Shortest password, in characters.
pub const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Body of `registry.user_create`, by an operator; by the gateway where the network lets people sign up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserCreateRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The username; normalised by the registry. A taken one is `username_taken`.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub username: String,
    /// At least 8 characters, at most 1024 bytes.
    #[serde(default)]
    pub password: SecretText,
    /// Name for people; the username unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// `user` unless given, or `operator`, which only operators may give.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Somebody makes the account for themselves: only where AGENTNET_SIGNUP allows it, and as a `user`. Always so when the
    /// gateway asks in secure mode.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signup: bool,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRow {
    /// The account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// Name for people.
    pub display_name: String,
    /// `user` or `operator`.
    pub role: String,
    /// `active` or `suspended`.
    pub status: String,
    /// When the account was made, ISO 8601.
    pub created_at: String,
    /// When the password was set, ISO 8601; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set_at: Option<String>,
    /// When somebody logged in last with the password, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<String>,
}

/// Answer to requests that change a person's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserResponse {
    /// The person.
    pub user: UserRow,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.user_list`, by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserListRequest {
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer to user_list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserListResponse {
    /// People by username.
    pub users: Vec<UserRow>,
    /// Where the next page starts; null on the last.
    pub next_cursor: Option<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.user_set_password`: of one's own account with the old password, of any by an operator. Every login
/// of the account ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserSetPasswordRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The account, by its id or username; the one that asks unless given.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The password so far; required for one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_password: Option<SecretText>,
    /// As at user_create.
    #[serde(default)]
    pub new_password: SecretText,
}

rpc!(
    /// `registry.user_create`.
    UserCreate, UserCreate, UserCreateRequest, UserResponse
);
rpc!(
    /// `registry.user_list`.
    UserList, UserList, UserListRequest, UserListResponse
);
rpc!(
    /// `registry.user_set_password`.
    UserSetPassword, UserSetPassword, UserSetPasswordRequest, UserResponse
);
rpc!(
    /// `registry.user_disable`: locks a person out, and ends every login of theirs.
    UserDisable, UserDisable, StandingRequest, UserResponse
);
rpc!(
    /// `registry.user_enable`.
    UserEnable, UserEnable, StandingRequest, UserResponse
);
