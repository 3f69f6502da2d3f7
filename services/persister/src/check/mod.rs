//! Who sent it: between decoding and committing, where the network wants signatures.
//!
//! A message is inserted, and a receipt counts, only if the key that spoke for its account when the network took it
//! signed it. What isn't proved goes to the quarantine with its code, and nobody is told: whoever it names as its
//! sender may not have sent it. So the first copy that verifies wins, and a badly signed one can't use up its id.

mod keys;
mod proof;

use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use agentnet_proto::{ErrorCode, Security, signature::Deployment};
use agentnet_service::shutdown::Shutdown;
use agentnet_store::ingest::Item;
use tokio::sync::mpsc;

pub(crate) use self::keys::KeyBook;
use self::proof::{Claim, Known};
use crate::{
    counters::{Count, Handle},
    decode::unproved,
    work::Work,
};

/// Most items that are checked together.
const TOGETHER: usize = 256;
/// So many are checked faster than another thread is woken.
const FEW: usize = 4;

/// The checking stage.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) security: Security,
    pub(crate) deployment: Deployment,
    pub(crate) keys: KeyBook,
    pub(crate) input: mpsc::Receiver<Work>,
    pub(crate) out: mpsc::Sender<Work>,
    pub(crate) handle: Handle,
}

impl Checker {
    /// Checks until there is nothing more to come. While Postgres can't say which keys count, waits, and gives up only at
    /// the soft deadline of a stop; what isn't checked then comes again.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut taken = Vec::with_capacity(TOGETHER);
        while self.input.recv_many(&mut taken, TOGETHER).await > 0 {
            let claims: Arc<[Claim]> = taken.iter().map(Claim::of).collect();
            let known = tokio::select! {
                biased;
                known = self.keys.look_up(&claims, self.security) => known,
                () = shutdown.soft_deadline() => return,
            };
            let verdicts = self.judge(claims, Arc::new(known)).await;
            for (work, verdict) in taken.drain(..).zip(verdicts) {
                let Some(work) = self.apply(work, verdict) else { continue };
                if self.out.send(work).await.is_err() {
                    return;
                }
            }
        }
    }

    /// One verdict for each claim, in their order; on as many threads as there are cores.
    async fn judge(&self, claims: Arc<[Claim]>, known: Arc<Known>) -> Vec<Result<(), ErrorCode>> {
        if claims.len() <= FEW {
            return claims.iter().map(|claim| claim.check(&known, self.security, &self.deployment)).collect();
        }
        let threads = available_parallelism().map_or(1, NonZero::get);
        let share = claims.len().div_ceil(threads);
        let parts: Vec<_> = (0..claims.len())
            .step_by(share)
            .map(|start| {
                let (claims, known, deployment) = (claims.clone(), known.clone(), self.deployment.clone());
                let security = self.security;
                tokio::task::spawn_blocking(move || {
                    let part = claims.iter().skip(start).take(share);
                    part.map(|claim| claim.check(&known, security, &deployment)).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut verdicts = Vec::with_capacity(claims.len());
        for part in parts {
            let upto = (verdicts.len() + share).min(claims.len());
            // Nothing there panics; if something did, it isn't proved.
            verdicts.extend(part.await.unwrap_or_default());
            verdicts.resize(upto, Err(ErrorCode::AuthValidationFailed));
        }
        verdicts
    }

    /// What is left of the work; `None` for what nobody asked to store.
    fn apply(&self, mut work: Work, verdict: Result<(), ErrorCode>) -> Option<Work> {
        let raw = work.raw.take();
        let Err(code) = verdict else { return Some(work) };
        self.handle.add(Count::Unproved, 1);
        // Not even the reason why it can't be stored is for somebody who only says who they are.
        work.meta.answer = None;
        if matches!(work.item, Item::Quarantine(_)) {
            return Some(work);
        }
        // What the tap hears isn't sent to us.
        let raw = raw.filter(|raw| raw.stream_seq.is_some())?;
        work.item = unproved(&raw, code);
        Some(work)
    }
}
