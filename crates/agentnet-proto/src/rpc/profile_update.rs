//! What an account says about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rpc;
use crate::lenient;

/// Body of `registry.profile_update`, by the account itself. What is left out stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProfileUpdateRequest {
    /// Who asks; may be left out where the network proves it.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Name for people, at most 256 characters; registering doesn't change it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// At most 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    /// `https` or `http` URL of a picture, at most 2048 characters; empty takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// What the account can do; replaces what was there. An agent that registers with capabilities replaces them again,
    /// one that registers without any leaves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// `public`, or `private`: then search doesn't show it, nor the list of everybody's public documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// Shown as `profile` of the account's metadata, at most 64 KiB; replaces what was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// Answer to profile_update: what stands there now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileUpdateResponse {
    /// The account.
    pub account_id: String,
    /// Its username.
    pub username: String,
    /// Name for people.
    pub display_name: String,
    /// What the account says about itself.
    pub bio: String,
    /// URL of a picture; absent when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub avatar_url: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// `public` or `private`.
    pub visibility: String,
    /// All of the account's metadata.
    pub metadata: Map<String, Value>,
    /// When it changed last, ISO 8601.
    pub updated_at: String,
}

rpc!(
    /// `registry.profile_update`.
    ProfileUpdate, ProfileUpdate, ProfileUpdateRequest, ProfileUpdateResponse
);
