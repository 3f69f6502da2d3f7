//! Who a proved key is, looked up in Postgres for all who connect at the same moment at once.
//!
//! Nothing is remembered in between: a batch costs little, and a remembered answer could let in a key that was revoked
//! a moment ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::Timestamp;
use agentnet_proto::signature::PublicKey;
use agentnet_proto::subject::{AccountId, Capability};
use agentnet_store::StoreError;
use agentnet_store::connections::{self, Admitted, KeyStanding};
use tokio::sync::{mpsc, oneshot};

use super::{Permissions, Role};
use crate::app::{App, QUERY_DEADLINE, chain};

/// Most who are looked up by one query.
const BATCH: usize = 256;
/// Most who wait for their turn; others wait in the subscription.
const QUEUE: usize = 1024;
/// Pause before Postgres is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a key without an account may stay connected: long enough to register.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

/// Why a key that was proved isn't let in. The text goes to the logs of the registry and of nats-server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It ended.
    #[error("auth_key_revoked: the key was {0} and speaks for {1} no more")]
    Ended(String, String),
    /// Its account is locked out.
    #[error("suspended: the account {0} is suspended")]
    Suspended(String),
    /// Its account can't stand in a permission.
    #[error("{0}: the account {1} can't be given permissions")]
    NoPermissions(agentnet_proto::ErrorCode, String),
    /// Postgres doesn't answer.
    #[error("store_unavailable: the registry's database doesn't answer; try again")]
    Unavailable,
}

/// What is granted to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// What the connection is called in the server's reports.
    pub(super) name: String,
    pub(super) permissions: Permissions,
    pub(super) lifetime: Duration,
    /// Whether the key speaks for no account yet.
    pub(super) is_unknown: bool,
}

/// A key that asks to be let in.
#[derive(Debug)]
struct Ask {
    key: PublicKey,
    server_id: String,
    client_id: i64,
    answer: oneshot::Sender<Result<Grant, Refusal>>,
}

/// Where proved keys ask.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    asks: mpsc::Sender<Ask>,
}

impl Desk {
    /// The desk, and the task that serves it until the last clone of the desk is gone.
    pub(super) fn open(app: Arc<App>) -> (Self, impl Future<Output = ()>) {
        let (asks, mut queue) = mpsc::channel(QUEUE);
        let serve = async move {
            let mut batch = Vec::with_capacity(BATCH);
            while queue.recv_many(&mut batch, BATCH).await > 0 {
                serve(&app, &mut batch).await;
            }
        };
        (Self { asks }, serve)
    }

    /// What the key may do; noted before this returns, so that the connection can be ended again.
    pub(super) async fn ask(
        &self,
        key: PublicKey,
        server_id: &str,
        client_id: u64,
    ) -> Result<Grant, Refusal> {
        let (answer, answered) = oneshot::channel();
        let client_id = i64::try_from(client_id).map_err(|_| Refusal::Unavailable)?;
        let ask = Ask { key, server_id: server_id.to_owned(), client_id, answer };
        // Either fails only when the registry stops.
        self.asks.send(ask).await.map_err(|_| Refusal::Unavailable)?;
        answered.await.unwrap_or(Err(Refusal::Unavailable))
    }
}

async fn serve(app: &App, batch: &mut Vec<Ask>) {
    let started = std::time::Instant::now();
    let timer = app.stats.timer("db.callout");
    let mut cause = format!("no answer from Postgres within {} s", QUERY_DEADLINE.as_secs_f64());
    // Until the deadline, also when Postgres fails at once: clients tell by the time it took that the refusal isn't about
    // their key.
    let decided = async {
        loop {
            match decide(app, batch).await {
                Ok(verdicts) => return verdicts,
                Err(error) => cause = chain(&error),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    let decided = tokio::time::timeout(QUERY_DEADLINE, decided).await;
    timer.record(started.elapsed());
    let verdicts = decided.unwrap_or_else(|_| {
        timer.record_error();
        app.failures.log("db.callout", &cause);
        vec![Err(Refusal::Unavailable); batch.len()]
    });
    for (ask, verdict) in batch.drain(..).zip(verdicts) {
        // Who asked may have gone meanwhile.
        let _ = ask.answer.send(verdict);
    }
}

async fn decide(app: &App, batch: &[Ask]) -> Result<Vec<Result<Grant, Refusal>>, StoreError> {
    let db = app.store.pool();
    let texts: Vec<String> = batch.iter().map(|ask| ask.key.to_string()).collect();
    let keys: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut known: HashMap<String, KeyStanding> = connections::standing_of_keys(db, &keys).await?;
    let standings: Vec<Option<KeyStanding>> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| {
            // The same key may ask twice in a batch.
            let again = texts.get(i + 1..).is_some_and(|rest| rest.contains(text));
            if again { known.get(text).cloned() } else { known.remove(text) }
        })
        .collect();
    let verdicts: Vec<Result<Grant, Refusal>> = batch
        .iter()
        .zip(&texts)
        .zip(&standings)
        .map(|((ask, text), standing)| {
            let operator = app.config.operator_keys.contains(text);
            grant(&ask.key, standing.as_ref(), operator, app.config.connection_lifetime(), app.now())
        })
        .collect();
    let admitted: Vec<Admitted> = batch
        .iter()
        .zip(&standings)
        .zip(&verdicts)
        .filter_map(|((ask, standing), verdict)| {
            let grant = verdict.as_ref().ok()?;
            Some(Admitted {
                server_id: ask.server_id.clone(),
                client_id: ask.client_id,
                public_key: ask.key.to_string(),
                account_id: standing.as_ref().map(|standing| standing.account_id.clone()),
                lifetime: grant.lifetime,
            })
        })
        .collect();
    if !admitted.is_empty() {
        connections::note(db, &admitted).await?;
    }
    Ok(verdicts)
}

fn grant(
    key: &PublicKey,
    standing: Option<&KeyStanding>,
    operator: bool,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let Some(standing) = standing else {
        let no_account = |code| Refusal::NoPermissions(code, "of no account".to_owned());
        let permissions = Role::Unknown { key }.permissions().map_err(no_account)?;
        let lifetime = lifetime.min(UNKNOWN_LIFETIME);
        return Ok(Grant { name: key.to_nkey(), permissions, lifetime, is_unknown: true });
    };
    let id = &standing.account_id;
    if let Some(how) = &standing.ended_as {
        return Err(Refusal::Ended(how.clone(), id.clone()));
    }
    let lifetime = match standing.session_until {
        None => lifetime,
        // Not a moment longer than the login that bound it.
        Some(until) => match u64::try_from(Timestamp::from(until).duration_since(now)) {
            Ok(left) if left > 0 => lifetime.min(Duration::from_millis(left)),
            _ => return Err(Refusal::Ended("bound until its time was over".to_owned(), id.clone())),
        },
    };
    if standing.status == "suspended" {
        return Err(Refusal::Suspended(id.clone()));
    }
    let refused = |code| Refusal::NoPermissions(code, id.clone());
    let account = AccountId::new(id.as_str()).map_err(refused)?;
    // What can't stand in a subject can't be addressed either.
    let capabilities: Vec<Capability> =
        standing.capabilities.iter().filter_map(|name| Capability::new(name.as_str()).ok()).collect();
    let (account, capabilities) = (&account, capabilities.as_slice());
    let role = match standing.role.as_str() {
        "operator" => Role::Operator { account, key, capabilities },
        "gateway" => Role::Gateway { account, key },
        _ if operator => Role::Operator { account, key, capabilities },
        _ => Role::Agent { account, key, capabilities },
    };
    let permissions = role.permissions().map_err(refused)?;
    Ok(Grant { name: id.clone(), permissions, lifetime, is_unknown: false })
}

#[cfg(test)]
mod tests {
    use agentnet_proto::ErrorCode;
    use agentnet_proto::signature::SecretKey;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn standing() -> KeyStanding {
        KeyStanding {
            account_id: "acct_01kahj000000000000000000ab".to_owned(),
            ended_as: None,
            session_until: None,
            role: "agent".to_owned(),
            status: "active".to_owned(),
            capabilities: vec!["weather".to_owned(), "not.a.token".to_owned(), "*".to_owned()],
        }
    }

    #[test]
    fn what_stands_in_the_tables_decides() {
        let key = SecretKey::from_seed(&[1; 32]).verifying();
        let agent = grant(&key, Some(&standing()), false, HOUR, NOW).unwrap();
        assert_eq!((agent.name.as_str(), agent.lifetime), ("acct_01kahj000000000000000000ab", HOUR));
        let capabilities: Vec<_> =
            agent.permissions.subscribe.iter().filter(|subject| subject.starts_with("agent.")).collect();
        assert_eq!(capabilities, ["agent.capability.weather agentnet-capability-weather"]);
        let named = grant(&key, Some(&standing()), true, HOUR, NOW).unwrap();
        assert!(named.permissions.subscribe.contains(&"account.*.inbox".to_owned()));
        let granted = KeyStanding { role: "operator".to_owned(), ..standing() };
        assert_eq!(grant(&key, Some(&granted), false, HOUR, NOW).unwrap(), named);
        let unknown = grant(&key, None, true, HOUR, NOW).unwrap();
        assert_eq!(unknown.lifetime, UNKNOWN_LIFETIME);
        assert_eq!(unknown.permissions, Role::Unknown { key: &key }.permissions().unwrap());
        let revoked = KeyStanding { ended_as: Some("revoked".to_owned()), ..standing() };
        let refused = grant(&key, Some(&revoked), true, HOUR, NOW).unwrap_err();
        assert!(refused.to_string().starts_with("auth_key_revoked: the key was revoked"), "{refused}");
        let suspended =
            KeyStanding { status: "suspended".to_owned(), role: "operator".to_owned(), ..standing() };
        let refused = grant(&key, Some(&suspended), true, HOUR, NOW).unwrap_err();
        assert!(refused.to_string().starts_with("suspended: "), "{refused}");
        // A login's key is let in as its account, and no longer than the login says.
        let until = |seconds| NOW.saturating_add(Duration::from_secs(seconds)).to_offset();
        let session = KeyStanding { session_until: Some(until(60)), ..standing() };
        let grants = grant(&key, Some(&session), false, HOUR, NOW).unwrap();
        assert_eq!((grants.lifetime, grants.permissions), (Duration::from_secs(60), agent.permissions));
        let over = KeyStanding { session_until: Some(until(0)), ..standing() };
        let refused = grant(&key, Some(&over), false, HOUR, NOW).unwrap_err();
        assert!(refused.to_string().starts_with("auth_key_revoked: "), "{refused}");
        for widening in ["*", "x", "acct_01KAHJ000000000000000000AB", "a.b"] {
            let bad = KeyStanding { account_id: widening.to_owned(), ..standing() };
            let refused = grant(&key, Some(&bad), false, HOUR, NOW).unwrap_err();
            assert_eq!(refused, Refusal::NoPermissions(ErrorCode::InvalidAccountId, widening.to_owned()));
        }
    }
}
