//! The pool of seats, by login.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentnet::proto::{
    ErrorCode,
    rpc::{self, UserSessionRequest},
    secret_text::SecretText,
    signature::SecretKey,
};
use moka::sync::Cache;
use tokio::time::Instant;

use super::{Entry, Seat};
use crate::{config::SeatRules, http::Problem, own::Own};

/// Logins that ended here are remembered for as long as their tokens could last.
const ENDED_FOR: Duration = Duration::from_secs(1800);
const MAX_ENDED: u64 = 100_000;

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
            let usable = !known.seat.node.is_closed() && known.seat.node.connection().is_connected();
            if usable && known.checked.elapsed() < self.rules.recheck {
                return Ok(Arc::clone(&known.seat));
            }
            if usable {
                match self.bind(login, &known.key).await {
                    Ok(_) => {
                        known.checked = Instant::now();
                        return Ok(Arc::clone(&known.seat));
                    }
                    Err(problem) if !problem.status.is_server_error() => {
                        Self::end_live(live.take());
                        self.forget(&login.sid);
                        return Err(problem);
                    }
                    Err(problem) => return Err(problem),
                }
            }
            Self::end_live(live.take());
        }
        let key = SecretKey::generate();
        let bound = self.bind(login, &key).await?;
        let is_person = bound.role != "agent";
        let seat = self.entry.seat(&bound.account_id, &bound.username, is_person, key.clone()).await?;
        let seat = Arc::new(seat);
        *live = Some(Live { seat: Arc::clone(&seat), key, checked: Instant::now() });
        Ok(seat)
    }

    async fn bind(&self, login: &Login, key: &SecretKey) -> Result<rpc::UserSessionResponse, Problem> {
        let request = UserSessionRequest {
            access_token: login.token.clone(),
            session_key: Some(key.verifying().to_nkey()),
            ..UserSessionRequest::default()
        };
        Ok(self.own.registry().call::<rpc::UserSession>(&request).await?)
    }

    /// A seat for one socket, by a ticket. It ends with the socket.
    pub(crate) async fn of_ticket(
        &self,
        ticket: SecretText,
    ) -> Result<(Arc<Seat>, rpc::UserSessionResponse), Problem> {
        let key = SecretKey::generate();
        let request = rpc::WsTicketRedeemRequest {
            ticket,
            session_key: Some(key.verifying().to_nkey()),
            ..rpc::WsTicketRedeemRequest::default()
        };
        let bound = self.own.registry().call::<rpc::WsTicketRedeem>(&request).await?;
        let is_person = bound.role != "agent";
        let seat = self.entry.seat(&bound.account_id, &bound.username, is_person, key.clone()).await?;
        let seat = Arc::new(seat);
        let slot = Slot::new();
        let live = Live { seat: Arc::clone(&seat), key, checked: Instant::now() };
        let slot = Slot { live: tokio::sync::Mutex::new(Some(live)), ..slot };
        let name = format!("ticket {}", seat.node.session_tag());
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(slot));
        Ok((seat, bound))
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
            Self::end_live(out.live.lock().await.take());
        }
        Ok(slot)
    }

    /// Ends a login's seat here, and remembers that its token means nothing any more.
    pub(crate) async fn end(&self, sid: &str) {
        self.ended.insert(sid.to_owned(), ());
        if let Some(slot) = self.forget(sid) {
            let live = slot.live.lock().await.take();
            Self::end_live(live);
        }
    }

    fn forget(&self, sid: &str) -> Option<Arc<Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(sid)
    }

    fn end_live(live: Option<Live>) {
        let Some(Live { seat, .. }) = live else { return };
        seat.ended.cancel();
        tokio::spawn(async move {
            if let Err(error) = seat.node.close().await {
                tracing::debug!(%error, "a session ended with messages unconfirmed");
            }
        });
    }

    /// Closes what nobody uses, and what the network let go.
    pub(crate) fn sweep(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |name: &str, slot: &Arc<Slot>| {
            slot.is_idle() && (name.starts_with("ticket ") || slot.used().elapsed() >= self.rules.idle)
        };
        let gone: Vec<String> =
            open.iter().filter(|(name, slot)| stale(name, slot)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            let Some(slot) = open.remove(&name) else { continue };
            if let Ok(mut live) = slot.live.try_lock() {
                Self::end_live(live.take());
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
                live.seat.ended.cancel();
                if let Err(error) = live.seat.node.close().await {
                    tracing::warn!(%error, account = %live.seat.account, "a session ended with messages unconfirmed");
                }
            }
        });
        futures_util::future::join_all(closing).await;
    }
}
