//! The pool of seats, by login.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet::proto::{
    ErrorCode,
    rpc::{self, ResolveKeyRequest, UserSessionRequest},
    secret_text::SecretText,
    signature::SecretKey,
};
use futures_util::StreamExt as _;
use moka::sync::Cache;
use tokio::time::{Instant, MissedTickBehavior, sleep};

use super::{Entry, Seat, Why};
use crate::{config::SeatRules, http::Problem, own::Own};

/// Logins that ended here are remembered for as long as their tokens could last.
const ENDED_FOR: Duration = Duration::from_secs(1800);
const MAX_ENDED: u64 = 100_000;
/// How long a request waits for a seat's connection to come back, and how often it looks.
const COMES_BACK: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(25);
/// Logins asked about at once.
const RECHECKS: usize = 16;

/// A login, as its token says.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) sid: String,
    pub(crate) token: SecretText,
}

/// The seats of this gateway.
#[derive(Debug)]
pub(crate) struct Seats {
    entry: Entry,
    own: Arc<Own>,
    rules: SeatRules,
    open: Mutex<HashMap<String, Arc<Slot>>>,
    ended: Cache<String, ()>,
}

/// Room for one seat.
#[derive(Debug)]
struct Slot {
    live: tokio::sync::Mutex<Option<Live>>,
    used: Mutex<Instant>,
}

#[derive(Debug)]
struct Live {
    seat: Arc<Seat>,
    key: SecretKey,
    /// When the registry last said that the login is good.
    checked: Instant,
}

impl Slot {
    fn new() -> Self {
        Self { live: tokio::sync::Mutex::default(), used: Mutex::new(Instant::now()) }
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody holds the slot or its seat but the pool; it is being worked on otherwise.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
            && self
                .live
                .try_lock()
                .is_ok_and(|live| live.as_ref().is_none_or(|live| Arc::strong_count(&live.seat) == 1))
    }
}

impl Seats {
    pub(crate) fn new(entry: Entry, own: Arc<Own>, rules: SeatRules) -> Self {
        let ended = Cache::builder().max_capacity(MAX_ENDED).time_to_live(ENDED_FOR).build();
        Self { entry, own, rules, open: Mutex::default(), ended }
    }

    /// The seat of a login whose token verified: the one there is, if the registry said lately that the login is good, else
    /// one that it lets in now.
    pub(crate) async fn of(&self, login: &Login) -> Result<Arc<Seat>, Problem> {
        if self.ended.contains_key(&login.sid) {
            return Err(Problem::of(ErrorCode::LoginEnded));
        }
        let slot = self.slot(&login.sid).await?;
        let mut live = slot.live.lock().await;
        slot.touch();
        if let Some(known) = live.as_mut() {
            let is_connected = comes_back(&known.seat).await;
            if is_connected && known.checked.elapsed() < self.rules.recheck {
                return Ok(Arc::clone(&known.seat));
            }
            // Also asked where the connection stays away: perhaps the key means nothing any more.
            match self.bind(login, &known.key).await {
                Ok(_) if is_connected => {
                    known.checked = Instant::now();
                    return Ok(Arc::clone(&known.seat));
                }
                Ok(_) if !known.seat.node.is_closed() => {
                    let detail = "the account's connection to the network is being made anew; try again";
                    return Err(Problem::new(ErrorCode::Busy, detail));
                }
                // Closed, or replaced by later keys: another one takes its place.
                Ok(_) => Self::end_live(live.take(), Why::Moved),
                Err(error) if error.error_code() == Some(ErrorCode::AuthPublicKeyMismatch) => {
                    Self::end_live(live.take(), Why::Moved);
                }
                Err(error) => return Err(self.refused(login, &slot, &mut live, error)),
            }
        }
        let key = SecretKey::generate();
        let bound = match self.bind(login, &key).await {
            Ok(bound) => bound,
            Err(error) => return Err(self.refused(login, &slot, &mut live, error)),
        };
        // Older registries don't tell the kind.
        let is_person = bound.kind == "human" || (bound.kind.is_empty() && bound.role != "agent");
        let seat = self.entry.seat(&bound.account_id, &bound.username, is_person, key.clone()).await?;
        let seat = Arc::new(seat);
        *live = Some(Live { seat: Arc::clone(&seat), key, checked: Instant::now() });
        Ok(seat)
    }

    /// The registry didn't take the login's token. What says that the login is over ends its seat; anything else is about
    /// this token, or this moment.
    fn refused(
        &self,
        login: &Login,
        slot: &Arc<Slot>,
        live: &mut Option<Live>,
        error: agentnet::Error,
    ) -> Problem {
        let is_over = matches!(
            error.error_code(),
            Some(ErrorCode::LoginEnded | ErrorCode::Suspended | ErrorCode::ApiKeyInvalid)
        );
        if is_over {
            Self::end_live(live.take(), Why::LoginEnded);
        }
        if error.error_code() == Some(ErrorCode::LoginEnded) {
            self.ended.insert(login.sid.clone(), ());
        }
        if live.is_none() {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.get(&login.sid).is_some_and(|now| Arc::ptr_eq(now, slot)) {
                open.remove(&login.sid);
            }
        }
        error.into()
    }

    async fn bind(
        &self,
        login: &Login,
        key: &SecretKey,
    ) -> Result<rpc::UserSessionResponse, agentnet::Error> {
        let request = UserSessionRequest {
            access_token: login.token.clone(),
            session_key: Some(key.verifying().to_nkey()),
            ..UserSessionRequest::default()
        };
        self.own.registry().call::<rpc::UserSession>(&request).await
    }

    /// The access token that a ticket stands for: its socket joins the login's seat.
    pub(crate) async fn redeem(&self, ticket: SecretText) -> Result<SecretText, Problem> {
        let request = rpc::WsTicketRedeemRequest { ticket, ..rpc::WsTicketRedeemRequest::default() };
        let answer = self.own.registry().call::<rpc::WsTicketRedeem>(&request).await?;
        answer.access_token.ok_or_else(|| Problem::of(ErrorCode::LoginUnavailable))
    }

    /// Asks again and again whether the logins go on whose sockets are open: nobody else asks for them. Their tokens may have
    /// expired meanwhile; their keys tell.
    pub(crate) async fn watch(&self) {
        let mut tick = tokio::time::interval(self.rules.recheck);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let slots: Vec<(String, Arc<Slot>)> = {
                let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.iter().map(|(sid, slot)| (sid.clone(), Arc::clone(slot))).collect()
            };
            let asked = slots.into_iter().map(|(sid, slot)| async move { self.recheck(&sid, &slot).await });
            futures_util::stream::iter(asked).buffer_unordered(RECHECKS).collect::<()>().await;
        }
    }

    async fn recheck(&self, sid: &str, slot: &Arc<Slot>) {
        // Being worked on: it is asked about just now.
        let Ok(mut live) = slot.live.try_lock() else { return };
        let Some(known) = live.as_mut().filter(|known| known.checked.elapsed() >= self.rules.recheck) else {
            return;
        };
        let (account_id, key) = (known.seat.account.to_string(), known.key.verifying().to_string());
        let request =
            ResolveKeyRequest { account_id, public_key: Some(key.clone()), ..ResolveKeyRequest::default() };
        let is_good = match self.own.registry().call::<rpc::ResolveKey>(&request).await {
            Ok(answer) => answer.public_key == key && !answer.suspended,
            Err(error) if error.kind() == agentnet::ErrorKind::NotFound => false,
            // The network is busy with itself; the next time.
            Err(_) => return,
        };
        if is_good {
            known.checked = Instant::now();
        } else {
            tracing::debug!(sid, "a login ended elsewhere");
            Self::end_live(live.take(), Why::LoginEnded);
        }
    }

    /// Room for a login's seat.
    async fn slot(&self, sid: &str) -> Result<Arc<Slot>, Problem> {
        let mut out = None;
        let slot = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = open.get(sid) {
                return Ok(Arc::clone(slot));
            }
            if open.len() >= self.rules.max {
                let oldest = open
                    .iter()
                    .filter(|(_, slot)| slot.is_idle())
                    .min_by_key(|(_, slot)| slot.used())
                    .map(|(sid, _)| sid.clone());
                let Some(oldest) = oldest else {
                    let detail = "the gateway acts for as many accounts as it can at once; try again";
                    return Err(Problem::new(ErrorCode::Busy, detail));
                };
                out = open.remove(&oldest);
            }
            let slot = Arc::new(Slot::new());
            open.insert(sid.to_owned(), Arc::clone(&slot));
            slot
        };
        if let Some(out) = out {
            Self::end_live(out.live.lock().await.take(), Why::Moved);
        }
        Ok(slot)
    }

    /// Ends a login's seat here, and remembers that its token means nothing any more.
    pub(crate) async fn end(&self, sid: &str) {
        self.ended.insert(sid.to_owned(), ());
        if let Some(slot) = self.forget(sid) {
            let live = slot.live.lock().await.take();
            Self::end_live(live, Why::LoginEnded);
        }
    }

    fn forget(&self, sid: &str) -> Option<Arc<Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(sid)
    }

    fn end_live(live: Option<Live>, why: Why) {
        let Some(Live { seat, .. }) = live else { return };
        seat.end(why);
        tokio::spawn(async move {
            if let Err(error) = seat.node.close().await {
                tracing::debug!(%error, "a session ended with messages unconfirmed");
            }
        });
    }

    /// Closes what nobody uses, and what the network let go.
    pub(crate) fn sweep(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |slot: &Arc<Slot>| slot.is_idle() && slot.used().elapsed() >= self.rules.idle;
        let gone: Vec<String> =
            open.iter().filter(|(_, slot)| stale(slot)).map(|(sid, _)| sid.clone()).collect();
        for name in gone {
            let Some(slot) = open.remove(&name) else { continue };
            if let Ok(mut live) = slot.live.try_lock() {
                Self::end_live(live.take(), Why::Moved);
            }
        }
    }

    /// Ends every seat in order.
    pub(crate) async fn close(&self) {
        let slots: Vec<Arc<Slot>> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.drain().map(|(_, slot)| slot).collect()
        };
        let closing = slots.into_iter().map(async |slot| {
            if let Some(live) = slot.live.lock().await.take() {
                live.seat.end(Why::Moved);
                if let Err(error) = live.seat.node.close().await {
                    tracing::warn!(%error, account = %live.seat.account, "a session ended with messages unconfirmed");
                }
            }
        });
        futures_util::future::join_all(closing).await;
    }
}

/// Whether the seat's connection is there, or comes back in a moment: NATS may just be restarting.
async fn comes_back(seat: &Seat) -> bool {
    let deadline = Instant::now() + COMES_BACK;
    while !seat.node.is_closed() {
        if seat.node.connection().is_connected() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK).await;
    }
    false
}
