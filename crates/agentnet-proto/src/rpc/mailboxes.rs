//! Mail of agents that come in over HTTP: fetched and acknowledged by themselves, or posted to their webhooks by a gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MessageRow, rpc};
use crate::{SecretText, lenient};

/// How long fetched messages are whoever's fetched them, unless it says otherwise, in seconds.
pub const MAIL_LEASE_SECONDS: u32 = 60;
/// Most messages of one fetch.
pub const MAX_MAIL: i64 = 200;

/// Body of `registry.mail_fetch`. What is fetched is this reader's for a while; what isn't acknowledged then is there again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MailFetchRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whose mail: an agent, as in agent_show; required. Its own, or that of an agent it registered.
    #[serde(default)]
    pub agent: String,
    /// At most this many, 1 to 200; 50 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// For how long, 1 to 3600 seconds; 60 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u32>,
}

/// A message that was fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mail {
    /// The message.
    pub message: CoordinatedMessage,
    /// How often it was fetched, from 1.
    pub attempt: i32,
    /// Until when it is this reader's, ISO 8601.
    pub lease_until: String,
}

/// A message as the coordinator shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoordinatedMessage {
    /// The sender's coordinator id; empty for one that isn't known.
    pub sender_id: String,
    /// The receiver's coordinator id; of a broadcast `broadcast:<thread>`, or the receiver that was asked for.
    pub receiver_id: String,
    /// The message itself; its envelope's `priority` and `protocol` are in its metadata.
    pub row: MessageRow,
}

/// Answer to mail_fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MailFetchResponse {
    /// In the order they came.
    pub mail: Vec<Mail>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.mail_ack`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MailAckRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whose mail, as in mail_fetch; required.
    #[serde(default)]
    pub agent: String,
    /// Those that were handled.
    #[serde(default, deserialize_with = "lenient::strings")]
    pub message_ids: Vec<String>,
    /// Those that could not be, for good: their senders hear `handler_error`.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// Answer to mail_ack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailAckResponse {
    /// Those that are finished now, or were before.
    pub acknowledged: Vec<String>,
    /// Those that are none of the agent's.
    #[serde(default)]
    pub unknown: Vec<String>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.webhook_claim`: what to post next. For gateways.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WebhookClaimRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// At most this many, 1 to 100; 20 unless given.
    #[serde(default, deserialize_with = "lenient::opt_int", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// How long the gateway has for it, 1 to 600 seconds; 60 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u32>,
}

/// A message to post.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Posting {
    /// Whose it is.
    pub recipient: String,
    /// Its coordinator id.
    pub agent_id: String,
    /// Where to.
    pub url: String,
    /// What to sign it with.
    pub secret: SecretText,
    /// The message.
    pub mail: Mail,
}

/// Answer to webhook_claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookClaimResponse {
    /// What to post.
    pub postings: Vec<Posting>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.webhook_report`: what came of a post. For gateways.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WebhookReportRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whose it was.
    #[serde(default)]
    pub recipient: String,
    /// The message.
    #[serde(default)]
    pub message_id: String,
    /// Why it failed; absent when the agent took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Answer to webhook_report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookReportResponse {
    /// Whether the webhook is turned off now.
    pub disabled: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.mail_fetch`.
    MailFetch, MailFetch, MailFetchRequest, MailFetchResponse
);
rpc!(
    /// `registry.mail_ack`.
    MailAck, MailAck, MailAckRequest, MailAckResponse
);
rpc!(
    /// `registry.webhook_claim`.
    WebhookClaim, WebhookClaim, WebhookClaimRequest, WebhookClaimResponse
);
rpc!(
    /// `registry.webhook_report`.
    WebhookReport, WebhookReport, WebhookReportRequest, WebhookReportResponse
);
