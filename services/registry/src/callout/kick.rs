//! Ending the connections of keys and accounts that may connect no more.
//!
//! A second connection, of a user of the server's system account who may do nothing else, tells the servers. Of all
//! replicas one hears each event.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::subject::{REGISTRY_QUEUE, SYSTEM_INBOX, kick};
use agentnet_proto::{AccountChange, AccountEvent, EventType, Subject};
use agentnet_service::config::{NatsAuth, NatsConfig};
use agentnet_service::nats::{self, Nats};
use agentnet_service::rpc::decode_object;
use agentnet_store::connections::{self, ConnectionId};
use async_nats::Subscriber;
use futures_util::{StreamExt as _, stream};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve::CalloutError;
use crate::app::{App, QUERY_DEADLINE, chain};

/// Connections being ended at once.
const AT_ONCE: usize = 64;
/// How long a server may take to end one.
const KICK_TIMEOUT: Duration = Duration::from_secs(2);
/// Events in work at once; each takes as long as stragglers may.
const EVENTS_AT_ONCE: usize = 256;
/// Who was being let in when the event came is noted within the deadline of the query that let them in.
const STRAGGLERS_AFTER: Duration = QUERY_DEADLINE;
const CLOSE: Duration = Duration::from_millis(500);

/// Connects as the system user and hears events until `stop`.
pub(crate) async fn start(
    app: &Arc<App>,
    nats_config: &NatsConfig,
    seed: SecretString,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), CalloutError> {
    let config = NatsConfig {
        auth: NatsAuth::NkeySeed(seed),
        inbox_prefix: Some(SYSTEM_INBOX.to_owned()),
        ..nats_config.clone()
    };
    let system = nats::connect(&config, "agentnet-registry-system").await.map_err(CalloutError::System)?;
    let subject = Subject::Event(EventType::Keys).to_string();
    let events = app.client.queue_subscribe(subject, REGISTRY_QUEUE.to_owned()).await?;
    tasks.spawn(hear(app.clone(), system, events, stop));
    Ok(())
}

async fn hear(app: Arc<App>, system: Nats, mut events: Subscriber, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(EVENTS_AT_ONCE));
    let work = async {
        while let Some(message) = events.next().await {
            let Ok(event) = decode_object::<AccountEvent>(&message.payload) else { continue };
            if !ends_connections(&event) {
                continue;
            }
            // Never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (app, system, stop) = (app.clone(), system.clone(), stop.clone());
            tokio::spawn(async move {
                end(&app, &system, &event).await;
                if stop.run_until_cancelled(tokio::time::sleep(STRAGGLERS_AFTER)).await.is_some() {
                    end(&app, &system, &event).await;
                }
                drop(slot);
            });
        }
    };
    stop.run_until_cancelled(work).await;
    // Nothing is left to do when it can't be closed in order.
    let _ = system.close(CLOSE).await;
}

fn ends_connections(event: &AccountEvent) -> bool {
    use AccountChange as C;
    matches!(event.change, Some(C::Rotated | C::Revoked | C::Suspended | C::Permissions))
}

async fn end(app: &Arc<App>, system: &Nats, event: &AccountEvent) {
    let db = app.store.pool();
    // Of an account that is suspended or may do something else now every connection, else those of the key that ended: the new one has some, too.
    let key = match event.change {
        Some(AccountChange::Suspended | AccountChange::Permissions) => None,
        _ => event.public_key.as_deref(),
    };
    let found =
        tokio::time::timeout(QUERY_DEADLINE, connections::of_account(db, &event.account_id, key)).await;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return app.failures.log("callout.kick", &chain(&error)),
        Err(_) => return app.failures.log("callout.kick", "no answer from Postgres"),
    };
    if found.is_empty() {
        return;
    }
    let tell = |connection| tell(app.clone(), system.clone(), connection);
    stream::iter(found.clone()).map(tell).buffer_unordered(AT_ONCE).collect::<()>().await;
    metrics::counter!("agentnet_registry_kicked_total").increment(found.len() as u64);
    tracing::info!(account = event.account_id, connections = found.len(), change = ?event.change, "ended connections");
    if let Err(error) = connections::forget(db, &found).await {
        app.failures.log("callout.kick", &chain(&error));
    }
}

async fn tell(app: Arc<App>, system: Nats, connection: ConnectionId) {
    let body = format!(r#"{{"cid":{}}}"#, connection.client_id);
    let request = system.client().request(kick(&connection.server_id), body.into());
    match tokio::time::timeout(KICK_TIMEOUT, request).await {
        // One that has gone by itself is an error of the server's answer, and what was wanted.
        Ok(Ok(_)) => {}
        // The server is gone, and the connection with it.
        Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {}
        Ok(Err(error)) => app.failures.log("callout.kick", &chain(&error)),
        Err(_) => app.failures.log("callout.kick", "nats-server didn't answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_end_connections() {
        let of = |change| AccountEvent { change, ..AccountEvent::default() };
        for ends in [
            AccountChange::Rotated,
            AccountChange::Revoked,
            AccountChange::Suspended,
            AccountChange::Permissions,
        ] {
            assert!(ends_connections(&of(Some(ends))), "{ends:?}");
        }
        for other in
            [None, Some(AccountChange::Bound), Some(AccountChange::Resumed), Some(AccountChange::Other)]
        {
            assert!(!ends_connections(&of(other)), "{other:?}");
        }
    }
}
