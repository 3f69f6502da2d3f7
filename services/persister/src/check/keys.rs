//! Keys of accounts, from Postgres and from memory.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentnet_proto::{AccountEvent, EventType, Security, Subject};
use agentnet_service::{
    CancellationToken,
    nats::{ConnectionState, Nats},
};
use agentnet_store::{Store, StoreError, keys, sessions};
use async_nats::Subscriber;
use futures_util::StreamExt;
use moka::sync::Cache;
use tokio::time::sleep;

use super::proof::{Claim, Known, Span};

/// How long keys are remembered if no event says that they changed.
const LIFE: Duration = Duration::from_secs(60);
const MAX_ACCOUNTS: u64 = 100_000;
/// Keys of logins of one account that are looked up anew with another one.
const MAX_SESSIONS: usize = 64;
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What is remembered. Accounts without any key are not: theirs may be bound the next moment.
#[derive(Debug, Clone)]
pub(crate) struct KeyBook {
    store: Store,
    spans: Cache<String, Arc<[Span]>>,
    /// News heard: what was asked before and answered after may be old.
    news: Arc<AtomicU64>,
}

impl KeyBook {
    pub(crate) fn new(store: Store) -> Self {
        let spans = Cache::builder().max_capacity(MAX_ACCOUNTS).time_to_live(LIFE).build();
        Self { store, spans, news: Arc::default() }
    }

    /// What the claims' checks need, waiting for Postgres if need be.
    pub(super) async fn look_up(&self, claims: &[Claim], security: Security) -> Known {
        let mut pause = PAUSE.0;
        loop {
            match self.try_look_up(claims, security).await {
                Ok(known) => return known,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "keys can't be looked up; trying on");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    async fn try_look_up(&self, claims: &[Claim], security: Security) -> Result<Known, StoreError> {
        let mut known = Known::default();
        let mut missing = HashSet::new();
        // Keys that logins bound are looked up one by one: an account has had any number of them.
        let mut named = HashSet::new();
        for claim in claims {
            let Some(account) = claim.account() else { continue };
            let spans = match known.keys.get(account) {
                Some(spans) => Some(spans.clone()),
                None => self.spans.get(account),
            };
            // One that doesn't count may have been bound, or prolonged, since the others were read.
            let is_known = |spans: &Arc<[Span]>| claim.key_text().is_none_or(|key| claim.counts(spans, key));
            match spans {
                Some(spans) if is_known(&spans) => {
                    known.keys.insert(account.to_owned(), spans);
                }
                spans => {
                    missing.insert(account);
                    named.extend(claim.key_text().map(str::to_owned));
                    let sessions = spans.iter().flat_map(|spans| spans.iter()).filter(|span| span.is_session);
                    named.extend(sessions.take(MAX_SESSIONS).map(|span| span.text.to_string()));
                }
            }
        }
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.into_iter().collect();
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            let before = self.news.load(Ordering::Acquire);
            let rows = keys::history(self.store.pool(), &missing, &named).await?;
            let mut found: HashMap<String, Vec<Span>> = HashMap::new();
            for row in rows {
                // The registry binds no other texts.
                let Ok(key) = row.public_key.parse() else { continue };
                let (is_session, ended_at, text) = (row.is_session(), row.until(), row.public_key.into());
                let span = Span { key, text, bound_at: row.bound_at, ended_at, is_session };
                found.entry(row.account_id).or_default().push(span);
            }
            for (account, spans) in found {
                let spans: Arc<[Span]> = spans.into();
                if self.news.load(Ordering::Acquire) == before {
                    self.spans.insert(account.clone(), spans.clone());
                    // In between, perhaps.
                    if self.news.load(Ordering::Acquire) != before {
                        self.spans.invalidate(&account);
                    }
                }
                known.keys.insert(account, spans);
            }
        }
        let tags: HashSet<&str> =
            claims.iter().filter_map(|claim| claim.unsigned_session(security)).collect();
        if !tags.is_empty() {
            let tags: Vec<&str> = tags.into_iter().collect();
            known.sessions = sessions::versions(self.store.pool(), &tags).await?;
        }
        Ok(known)
    }

    /// Hears news of keys until told to stop.
    pub(crate) async fn listen(self, mut events: Subscriber, nats: Nats, stop: CancellationToken) {
        let mut state = nats.connection_state();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = state.changed() => {
                    // News may have been missed meanwhile.
                    if changed.is_err() || *state.borrow_and_update() == ConnectionState::Connected {
                        self.forget_all();
                    }
                    if changed.is_err() {
                        return stop.cancelled().await;
                    }
                }
                event = events.next() => {
                    let Some(event) = event else { return stop.cancelled().await };
                    match serde_json::from_slice::<AccountEvent>(&event.payload) {
                        Ok(event) => self.forget(&event.account_id),
                        Err(_) => self.forget_all(),
                    }
                }
            }
        }
    }

    /// Where that news comes.
    pub(crate) fn subject() -> String {
        Subject::Event(EventType::Keys).to_string()
    }

    fn forget(&self, account: &str) {
        self.news.fetch_add(1, Ordering::AcqRel);
        self.spans.invalidate(account);
    }

    fn forget_all(&self) {
        self.news.fetch_add(1, Ordering::AcqRel);
        self.spans.invalidate_all();
    }
}
