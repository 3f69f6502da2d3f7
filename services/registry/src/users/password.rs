//! Passwords: Argon2id, a few at a time. Each costs tens of megabytes and milliseconds, so that guessing does, too.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentnet_proto::rpc::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS};
use agentnet_proto::{ErrorCode, RpcError, SecretText};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Passwords worked on at once, at most: half of what the machine can, and no more than this.
const MOST_AT_ONCE: usize = 8;
/// Further ones that may wait.
const MOST_WAITING: usize = 64;
/// How long they wait for their turn. Clients give up after 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// When to try again.
const RETRY_AFTER_S: u32 = 2;

/// What a password costs to hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// OWASP's first recommendation for Argon2id (Password Storage Cheat Sheet): 46 MiB, one pass, one lane.
    fn default() -> Self {
        Self { memory_kib: 47_104, iterations: 1, lanes: 1 }
    }
}

/// Hashes and verifies.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: PasswordCost,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// The hash that passwords of unknown users are held against, so that they take as long as those of known ones.
    nobodys: Arc<str>,
}

/// What became of a password.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is another one, or there is none to compare with.
    Wrong,
    /// It is the one. A hash with today's cost, if the one that is kept has another.
    Right { better: Option<String> },
}

impl Passwords {
    pub(crate) fn new(cost: PasswordCost) -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        let nobodys = hash(cost, &rand::random::<[u8; 16]>()).unwrap_or_default();
        Self {
            cost,
            slots: Arc::new(Semaphore::new(at_once.min(MOST_AT_ONCE))),
            waiting: AtomicUsize::new(0),
            nobodys: nobodys.into(),
        }
    }

    /// The password's hash, as it is kept.
    ///
    /// # Errors
    /// [`ErrorCode::PasswordUnsuitable`]; [`ErrorCode::Busy`] when too many wait.
    pub(crate) async fn hash(&self, password: &SecretText) -> Result<String, RpcError> {
        check(password)?;
        let (cost, password) = (self.cost, password.clone());
        self.work(move || hash(cost, password.expose().as_bytes())).await?.ok_or_else(unusable)
    }

    /// Holds a password against a hash, or against nobody's.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`] when too many wait.
    pub(crate) async fn verify(&self, password: &SecretText, phc: Option<&str>) -> Result<Verdict, RpcError> {
        // No such password can have been set, whoever it is.
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Ok(Verdict::Wrong);
        }
        let (cost, password) = (self.cost, password.clone());
        let (is_known, phc) = (phc.is_some(), phc.map_or_else(|| Arc::clone(&self.nobodys), Arc::from));
        self.work(move || {
            let Ok(kept) = PasswordHash::new(&phc) else { return Verdict::Wrong };
            let bytes = password.expose().as_bytes();
            if Argon2::default().verify_password(bytes, &kept).is_err() || !is_known {
                return Verdict::Wrong;
            }
            let is_todays = Params::try_from(&kept).is_ok_and(|params| {
                (params.m_cost(), params.t_cost(), params.p_cost())
                    == (cost.memory_kib, cost.iterations, cost.lanes)
            });
            Verdict::Right { better: if is_todays { None } else { hash(cost, bytes) } }
        })
        .await
    }

    /// Does the work when it is its turn, where nobody else has to wait for it.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        let slot = self.slot().await?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(slot);
            done
        });
        // It doesn't panic; if it did, nothing was found out.
        done.await.map_err(|_| ErrorCode::Internal.into())
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, RpcError> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(slot);
        }
        let _place = Place::take(&self.waiting)?;
        let turn = tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.slots).acquire_owned());
        match turn.await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(busy()),
        }
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, RpcError> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::AcqRel) < MOST_WAITING { Ok(place) } else { Err(busy()) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn busy() -> RpcError {
    RpcError::with_detail(ErrorCode::Busy, "too many people log in at once; try again")
        .retry_after(RETRY_AFTER_S)
}

fn unusable() -> RpcError {
    RpcError::with_detail(ErrorCode::Internal, "the password can't be hashed")
}

/// Whether it may become somebody's password.
///
/// # Errors
/// [`ErrorCode::PasswordUnsuitable`].
pub(crate) fn check(password: &SecretText) -> Result<(), RpcError> {
    let text = password.expose();
    if text.chars().count() < MIN_PASSWORD_CHARS || text.len() > MAX_PASSWORD_BYTES {
        return Err(ErrorCode::PasswordUnsuitable.into());
    }
    Ok(())
}

fn hash(cost: PasswordCost, password: &[u8]) -> Option<String> {
    let params = Params::new(cost.memory_kib, cost.iterations, cost.lanes, None).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password).ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 64, iterations: 1, lanes: 1 };

    #[tokio::test]
    async fn what_was_hashed_verifies_and_nothing_else_does() {
        let passwords = Passwords::new(CHEAP);
        let secret = SecretText::new("correct horse");
        let phc = passwords.hash(&secret).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
        assert_ne!(phc, passwords.hash(&secret).await.unwrap(), "salted");
        let right = Verdict::Right { better: None };
        assert_eq!(passwords.verify(&secret, Some(&phc)).await.unwrap(), right);
        for wrong in ["correct horsE", "", "correct horse ", &"x".repeat(MAX_PASSWORD_BYTES + 1)] {
            let wrong = SecretText::new(wrong);
            assert_eq!(passwords.verify(&wrong, Some(&phc)).await.unwrap(), Verdict::Wrong);
        }
        assert_eq!(passwords.verify(&secret, None).await.unwrap(), Verdict::Wrong);
        assert_eq!(passwords.verify(&secret, Some("no hash")).await.unwrap(), Verdict::Wrong);
        // Today's cost is another.
        let dearer = Passwords::new(PasswordCost { iterations: 2, ..CHEAP });
        let Verdict::Right { better: Some(better) } = dearer.verify(&secret, Some(&phc)).await.unwrap()
        else {
            panic!("not hashed anew")
        };
        assert_eq!(dearer.verify(&secret, Some(&better)).await.unwrap(), right);
    }

    #[test]
    fn nobodys_password_costs_as_much() {
        let passwords = Passwords::new(CHEAP);
        let params = Params::try_from(&PasswordHash::new(&passwords.nobodys).unwrap()).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (64, 1, 1));
    }

    #[test]
    fn passwords_are_bounded() {
        let is_fine = |text: &str| check(&SecretText::new(text)).is_ok();
        assert!(is_fine("12345678") && is_fine(&"é".repeat(8)) && is_fine(&"x".repeat(1024)));
        assert!(!is_fine("1234567") && !is_fine(&"x".repeat(1025)) && !is_fine(""));
    }

    #[tokio::test]
    async fn a_full_queue_says_so() {
        let passwords = Passwords::new(CHEAP);
        let _all =
            Arc::clone(&passwords.slots).acquire_many_owned(passwords.slots.available_permits() as u32);
        let _held = _all.await.unwrap();
        passwords.waiting.store(MOST_WAITING, Ordering::Release);
        let error = passwords.hash(&SecretText::new("12345678")).await.unwrap_err();
        assert_eq!((error.code(), error.retry_after_s), (Some(ErrorCode::Busy), Some(RETRY_AFTER_S)));
        assert_eq!(passwords.waiting.load(Ordering::Acquire), MOST_WAITING, "the place was given back");
    }
}
