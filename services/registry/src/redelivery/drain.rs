//! One recipient: leases what is due in windows, in the order it came, and publishes it.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use agentnet_proto::envelope::CAPABILITY_PREFIX;
use agentnet_store::agents;
use agentnet_store::deliveries::{self, Decision, Leasing};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use tokio::time::{Instant, sleep};

use super::{Redelivery, decide::Unwillings, quota};
use crate::presence::Route;

/// How long a recipient is this replica's without being renewed.
const OWNERSHIP: Duration = Duration::from_secs(5);
const RENEW: Duration = Duration::from_secs(2);
/// Rows made due at once.
const CHUNK: i64 = 1_000;
/// The next chunk is made due when so few of the last are left.
const LOW: u64 = 256;
/// How long rows that were made due take at most to be so for the persister's progress too, before the timer has to
/// find them.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who has held nothing back for so long has room again.
const QUIET: Duration = Duration::from_secs(2);
/// Pauses while the recipient works off what it has, the longer the slower it is.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Where one drain stands.
struct Drain {
    limit: DefaultDirectRateLimiter,
    owned_at: Option<Instant>,
    /// Rows that were made due and not seen since.
    coming: u64,
    /// Until when these may appear.
    until: Instant,
    /// Whether parked rows may be left.
    parked: bool,
    pause: Duration,
}

/// How a round ended.
enum Round {
    /// There may be more at once.
    More,
    /// More when the recipient has worked something off, or when time has passed.
    Later,
    /// Nothing is left to do now.
    Done,
}

impl Redelivery {
    /// Delivers until nothing is due. Ends early when another replica looks after the recipient.
    pub(super) async fn drain(self: Arc<Self>, recipient: String, mut woken: bool) {
        loop {
            self.drain_once(&recipient, woken).await;
            let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            match active.get_mut(&recipient) {
                Some(again) if *again && !self.stop.is_cancelled() => *again = false,
                _ => {
                    active.remove(&recipient);
                    return;
                }
            }
            woken = true;
        }
    }

    async fn drain_once(&self, recipient: &str, woken: bool) {
        let burst = NonZeroU32::new(self.config.window).unwrap_or(NonZeroU32::MIN);
        let mut state = Drain {
            limit: RateLimiter::direct(quota(self.config.account_rate).allow_burst(burst)),
            owned_at: None,
            coming: 0,
            until: Instant::now(),
            parked: true,
            pause: PAUSE.0,
        };
        if woken && !self.make_due(recipient, &mut state, false).await {
            return;
        }
        while self.may_work() && self.keep(recipient, &mut state).await {
            match self.round(recipient, &mut state).await {
                Some(Round::More) => state.pause = PAUSE.0,
                Some(Round::Later) => {
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = sleep(state.pause) => {}
                    }
                    state.pause = (state.pause * 3 / 2).min(PAUSE.1);
                }
                // After a failure the timer tries again.
                Some(Round::Done) | None => break,
            }
        }
        if state.owned_at.is_some() {
            let released = deliveries::release(self.app.store.pool(), recipient, &self.replica).await;
            self.logged("db.redelivery_release", released);
        }
    }

    /// Keeps the recipient this replica's; `false` when it is another's.
    async fn keep(&self, recipient: &str, state: &mut Drain) -> bool {
        if state.owned_at.is_some_and(|at| at.elapsed() < RENEW) {
            return true;
        }
        let _db = self.db().await;
        let owned = deliveries::own(self.app.store.pool(), recipient, &self.replica, OWNERSHIP).await;
        let owned = self.logged("db.redelivery_own", owned).unwrap_or(false);
        state.owned_at = owned.then(Instant::now);
        owned
    }

    async fn make_due(&self, recipient: &str, state: &mut Drain, parked: bool) -> bool {
        let _db = self.db().await;
        let made = deliveries::make_due(self.app.store.pool(), recipient, parked, CHUNK).await;
        let Some(made) = self.logged("db.redelivery_make_due", made) else { return false };
        if made > 0 {
            state.coming += made;
            state.until = Instant::now() + PATIENCE;
        }
        state.parked = made > 0 || !parked;
        true
    }

    async fn round(&self, recipient: &str, state: &mut Drain) -> Option<Round> {
        let pool = self.app.store.pool();
        let route = self.app.presence.route(recipient);
        let window = i64::from(self.config.window);
        if route != Route::Nobody && state.parked && state.coming < LOW {
            self.make_due(recipient, state, true).await.then_some(())?;
        }
        let db = self.db().await;
        let outstanding = self.logged("db.redelivery_window", deliveries::window(pool, recipient).await)?;
        let room = window - outstanding.outstanding;
        // A few at a time would be a transaction each; but a slow recipient gets what it has room for.
        if room < (window / 4).max(1) && (room < 1 || state.pause < PAUSE.1 / 4) {
            return Some(Round::Later);
        }
        let leasing = Leasing::begin(pool, recipient, room).await;
        let mut leasing = self.logged("db.redelivery_candidates", leasing)?;
        if leasing.candidates.is_empty() {
            drop(leasing);
            if route != Route::Nobody && state.coming == 0 {
                let resumed = deliveries::resume_held_back(pool, recipient, QUIET, window).await;
                state.coming = self.logged("db.redelivery_resume", resumed)?;
                state.until = Instant::now() + PATIENCE;
            }
            drop(db);
            return Some(self.nothing_due(&route, state));
        }
        let limits = matches!(route, Route::Legacy(_)).then(|| self.legacy_limits(recipient));
        let unwilling = self.unwilling(&mut leasing, recipient, &route).await?;
        let decisions = self.decide(&route, &leasing.candidates, &unwilling, limits.as_deref());
        let seen = leasing.candidates.len() as u64;
        let all_left = decisions.iter().all(|decision| *decision == Decision::Leave);
        if all_left {
            drop(leasing);
            if route == Route::Nobody {
                return self.park(recipient).await;
            }
            return Some(Round::Later);
        }
        let via = if limits.is_some() { "inbox" } else { "redelivery" };
        let finished = leasing.finish(&decisions, &self.replica, via).await;
        let (granted, dead) = self.logged("db.redelivery_lease", finished)?;
        drop(db);
        state.coming = state.coming.saturating_sub(seen);
        self.tell(dead).await;
        self.publish(&route, granted, &unwilling, &state.limit).await;
        Some(Round::More)
    }

    /// Holders of a capability that won't take some of the candidates.
    async fn unwilling(
        &self,
        leasing: &mut Leasing<'_>,
        recipient: &str,
        route: &Route,
    ) -> Option<Unwillings> {
        let Route::Redelivery(accounts) = route else { return Some(Unwillings::default()) };
        if !recipient.starts_with(CAPABILITY_PREFIX) {
            return Some(Unwillings::default());
        }
        let holders: Vec<&str> = accounts.iter().map(AsRef::as_ref).collect();
        let rows = self.logged("db.redelivery_unwilling", leasing.unwilling(&holders).await)?;
        Some(Unwillings::of(&self.app.presence, rows))
    }

    /// What was made due counts only when the persisters have committed everything until then.
    fn nothing_due(&self, route: &Route, state: &mut Drain) -> Round {
        if *route != Route::Nobody && state.coming > 0 && Instant::now() < state.until {
            // No need to get slower: it is a matter of a quarter of a second.
            state.pause = PAUSE.0 * 4;
            return Round::Later;
        }
        state.coming = 0;
        if *route != Route::Nobody && state.parked { Round::More } else { Round::Done }
    }

    async fn park(&self, recipient: &str) -> Option<Round> {
        let one = [recipient.to_owned()];
        let parked = deliveries::park(self.app.store.pool(), &one, CHUNK).await;
        let rows = self.logged("db.redelivery_park", parked)?;
        let marked = agents::mark_due(self.app.store.pool(), &one).await;
        self.logged("db.webhooks_due", marked);
        // Whoever came in between found the rows due and left them to us.
        if self.app.presence.route(recipient) != Route::Nobody {
            self.app.presence.wake(one);
        }
        Some(if rows > 0 { Round::More } else { Round::Done })
    }
}
