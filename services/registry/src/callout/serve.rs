//! Answering the server: every replica takes its share of the requests.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::subject::REGISTRY_QUEUE;
use agentnet_service::nats::NatsError;
use async_nats::{Client, Message, SubscribeError, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{CalloutConfig, NATS_ACCOUNT};
use super::desk::{Desk, Grant};
use super::strangers::Strangers;
use super::{Admission, Issuer, IssuerError, Request, SUBJECT, SealError, Sealer, XKEY_HEADER};
use crate::app::{App, chain};

/// Requests in work at once; further ones wait in the subscription.
const MAX_IN_FLIGHT: usize = 512;
/// Of a connection's lifetime so much is left to chance, so that those who came together don't return together.
const JITTER: f64 = 0.1;

/// Why the callout can't be served.
#[derive(Debug, thiserror::Error)]
pub enum CalloutError {
    /// The issuer's seed.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The xkey's seed.
    #[error(transparent)]
    Xkey(#[from] SealError),
    /// The system user can't connect.
    #[error("the system user can't connect; check AGENTNET_SYSTEM_NKEY_SEED and nats-server's configuration")]
    System(#[source] NatsError),
    /// NATS refused the subscription.
    #[error("subscribing to the server's requests failed")]
    Subscribe(#[from] SubscribeError),
}

/// What answering takes.
struct Callout {
    app: Arc<App>,
    client: Client,
    issuer: Issuer,
    sealer: Sealer,
    desk: Desk,
    lifetime: Duration,
    strangers: Strangers,
}

/// Subscribes and answers until `stop`; what is being answered then is answered.
pub(crate) async fn start(
    app: &Arc<App>,
    config: &CalloutConfig,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), CalloutError> {
    let client = app.client.clone();
    let (desk, serving) = Desk::open(app.clone());
    let callout = Arc::new(Callout {
        app: app.clone(),
        issuer: Issuer::from_seed(&config.issuer_seed, NATS_ACCOUNT)?,
        sealer: Sealer::from_seed(&config.xkey_seed)?,
        desk,
        lifetime: config.lifetime,
        strangers: Strangers::new(config.unknown_per_address),
        client,
    });
    let requests = callout.client.queue_subscribe(SUBJECT, REGISTRY_QUEUE.to_owned()).await?;
    tasks.spawn(serving);
    tasks.spawn(take(callout, requests, tasks.clone(), stop));
    Ok(())
}

async fn take(callout: Arc<Callout>, mut requests: Subscriber, tasks: TaskTracker, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut stopping = false;
    loop {
        let message = tokio::select! {
            biased;
            () = stop.cancelled(), if !stopping => {
                // Other replicas get what comes from now on.
                stopping = true;
                let _ = requests.drain().await;
                continue;
            }
            message = requests.next() => message,
        };
        let Some(message) = message else { return };
        // Never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let callout = Arc::clone(&callout);
        tasks.spawn(async move {
            callout.answer(&message).await;
            drop(slot);
        });
    }
}

impl Callout {
    async fn answer(&self, message: &Message) {
        let Some(reply) = message.reply.clone() else { return };
        let header = message.headers.as_ref().and_then(|headers| headers.get(XKEY_HEADER));
        let server_key = header.map(|value| value.as_str());
        let answer = match self.decide(message, server_key).await {
            Ok(answer) => answer,
            Err(cause) => {
                metrics::counter!("agentnet_registry_callout_total", "outcome" => "unreadable").increment(1);
                return self.app.failures.log("callout.request", &cause);
            }
        };
        // A closed connection means that we are stopping.
        let _ = self.client.publish(reply, answer.into()).await;
    }

    /// The sealed answer, or why there is none: what no server of ours asked gets no answer.
    async fn decide(&self, message: &Message, server_key: Option<&str>) -> Result<Vec<u8>, String> {
        let (now, ids) = (self.app.now(), &*self.app.ids);
        let token = self.sealer.open(&message.payload, server_key).map_err(|error| chain(&error))?;
        let request = Request::decode(&token, now).map_err(|error| chain(&error))?;
        let verdict = match request.prove() {
            Ok(key) => match self.desk.ask(key, &request.server_id, request.client_id).await {
                Ok(grant) if grant.is_unknown && !self.strangers.admit(&request.host) => {
                    Err("rate_limited: too many keys that the network doesn't know come at once".to_owned())
                }
                Ok(grant) => Ok((key, grant)),
                Err(refusal) => Err(refusal.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let answer = match verdict {
            Ok((key, Grant { name, permissions, lifetime, .. })) => {
                metrics::counter!("agentnet_registry_callout_total", "outcome" => "admitted").increment(1);
                let lifetime = jittered(lifetime.min(self.lifetime));
                let admission = Admission { name: &name, key: &key, permissions: &permissions, lifetime };
                self.issuer.admit(&request, &admission, now, ids)
            }
            Err(reason) => {
                metrics::counter!("agentnet_registry_callout_total", "outcome" => "refused").increment(1);
                self.app.failures.log("callout.refused", &format!("{} from {}", reason, request.host));
                self.issuer.refuse(&request, &reason, now, ids)
            }
        };
        let answer = answer.map_err(|error| chain(&error))?;
        self.sealer.seal(&answer, server_key.unwrap_or_default()).map_err(|error| chain(&error))
    }
}

fn jittered(lifetime: Duration) -> Duration {
    lifetime.mul_f64(rand::random_range(1.0 - JITTER..=1.0))
}

/// How long a connection lasts at least, of those that may last `lifetime`.
pub(crate) fn shortest(lifetime: Duration) -> Duration {
    lifetime.mul_f64(1.0 - JITTER)
}
