//! What replicas and gateways are told on `agentnet.events.*`, and what this replica makes of it.
//!
//! An event carries everything needed to act on it; missing one costs freshness for a few seconds, never
//! correctness: hellos restore sessions, and cached answers expire by themselves.

use std::sync::Arc;

use agentnet_proto::rpc::AgentInfo;
use agentnet_proto::{AccountChange, AccountEvent, EventType, Subject, Timestamp};
use agentnet_service::rpc::decode_object;
use agentnet_store::sessions::Ended;
use serde::{Deserialize, Serialize};

use crate::app::{App, chain};
use crate::presence::{Heard, Opened};

/// Body of `agentnet.events.presence`: an `AgentInfo` and what happened to the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PresenceEvent {
    /// `online` or `offline`.
    pub event: PresenceChange,
    /// Why it is offline: `goodbye` or `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<OfflineReason>,
    /// The registry that opened the session, or ended it.
    pub server_id: String,
    /// When, by that registry's clock.
    pub at: Timestamp,
    /// The session; of one that is offline only its names and ids.
    #[serde(flatten)]
    pub agent: AgentInfo,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceChange {
    /// It was opened.
    Online,
    /// It ended.
    Offline,
    /// A session that is kept for somebody who comes in over HTTP was heard of: its hello.
    Heard,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfflineReason {
    /// It said so.
    Goodbye,
    /// It was silent for longer than the TTL.
    Expired,
}

/// Tells that a session was opened.
pub(crate) async fn announce_online(app: &App, info: &AgentInfo, opened: &Opened) {
    let event = PresenceEvent {
        event: PresenceChange::Online,
        reason: None,
        server_id: opened.server_id.to_string(),
        at: opened.at,
        agent: info.clone(),
    };
    publish(app, Subject::Event(EventType::Presence), &event).await;
}

/// Tells that a session that is kept for somebody who comes in over HTTP was heard of.
pub(crate) async fn announce_heard(app: &App, info: AgentInfo) {
    let event = PresenceEvent {
        event: PresenceChange::Heard,
        reason: None,
        server_id: app.config.server_id.clone(),
        at: app.now(),
        agent: info,
    };
    publish(app, Subject::Event(EventType::Presence), &event).await;
}

/// Tells that sessions ended.
pub(crate) async fn announce_offline(app: &App, ended: Vec<Ended>, reason: OfflineReason) {
    for session in ended {
        let event = PresenceEvent {
            event: PresenceChange::Offline,
            reason: Some(reason),
            server_id: app.config.server_id.clone(),
            at: app.now(),
            agent: AgentInfo {
                agent_id: session.agent_id,
                account_id: session.account_id,
                username: session.username,
                session_tag: Some(session.session_tag),
                ..AgentInfo::default()
            },
        };
        publish(app, Subject::Event(EventType::Presence), &event).await;
    }
}

/// Tells that an account changed, so that caches drop it.
pub(crate) async fn announce_account(app: &App, event: &AccountEvent) {
    publish(app, Subject::Event(EventType::Accounts), event).await;
}

/// Tells what happened to an account's key or standing: caches drop it, connections of it end.
pub(crate) async fn announce_keys(app: &App, event: &AccountEvent) {
    publish(app, Subject::Event(EventType::Keys), event).await;
}

pub(crate) async fn publish<T: Serialize>(app: &App, subject: Subject, event: &T) {
    let Ok(body) = serde_json::to_vec(event) else { return };
    // A closed connection means that we are stopping.
    let _ = app.client.publish(subject.to_string(), body.into()).await;
}

/// A presence event of any replica, our own included.
pub(crate) async fn on_presence(app: Arc<App>, body: bytes::Bytes) -> bool {
    let Ok(event) = decode_object::<PresenceEvent>(&body) else { return false };
    let Some(tag) = event.agent.session_tag.as_deref() else { return false };
    match event.event {
        // What comes from elsewhere is held to the same limits as a hello.
        PresenceChange::Online => {
            crate::rpc::hello::check(&event.agent).is_ok()
                && app
                    .presence
                    .open(&event.agent, &Opened { server_id: event.server_id.into(), at: event.at })
        }
        PresenceChange::Heard => {
            crate::rpc::hello::check(&event.agent).is_ok()
                && app.presence.hello(event.agent, event.at, &event.server_id) != Heard::Refused
        }
        PresenceChange::Offline => {
            // A session that another replica gave up on may still speak: it comes back with its next hello.
            if event.server_id != app.config.server_id || event.reason == Some(OfflineReason::Goodbye) {
                app.presence.ended_elsewhere(tag, event.reason == Some(OfflineReason::Goodbye));
            }
            true
        }
    }
}

/// An account or key event of any replica.
pub(crate) async fn on_account(app: Arc<App>, body: bytes::Bytes) -> bool {
    let Ok(event) = decode_object::<AccountEvent>(&body) else { return false };
    take_account(&app, &event).await;
    true
}

/// Forgets what is remembered of the account. Whether it is locked out is asked anew: an event proves nothing.
pub(crate) async fn take_account(app: &App, event: &AccountEvent) {
    app.caches.forget_keys(event).await;
    if event.change == Some(AccountChange::Permissions)
        && let Err(error) = app.restricted.refresh(&app.store).await
    {
        app.failures.log("db.restricted", &chain(&error));
    }
    if !matches!(event.change, Some(AccountChange::Suspended | AccountChange::Resumed)) {
        return;
    }
    match app.suspended.look_again(&app.store, &event.account_id).await {
        Ok(true) => app.presence.end_account(&event.account_id),
        Ok(false) => {}
        // The next round of the garbage collection reads everything.
        Err(error) => app.failures.log("db.suspended", &chain(&error)),
    }
}
