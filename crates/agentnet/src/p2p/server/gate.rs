//! One set of handlers for the network and for the ports, so many questions at once.

use std::{sync::Arc, time::Duration};

use agentnet_proto::ErrorCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::super::{P2pCall, P2pHandlers};
use crate::{
    blobs::Blobs,
    error::Error,
    inbox::{HandlerResult, Incoming},
};

/// Questions at the ports that may wait for a handler before others are refused: as many as of the network.
const MAX_WAITING: usize = 100;

/// The handlers and who may ask them.
#[derive(Clone)]
pub(crate) struct Gate {
    handlers: Arc<P2pHandlers>,
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    work_timeout: Duration,
    token: Option<Arc<SecretString>>,
}

impl Gate {
    pub(super) fn new(
        handlers: P2pHandlers,
        max_threads: usize,
        work_timeout: Duration,
        token: Option<SecretString>,
    ) -> Self {
        Self {
            handlers: Arc::new(handlers),
            at_once: Arc::new(Semaphore::new(max_threads)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            work_timeout,
            token: token.map(Arc::new),
        }
    }

    /// Whether what is shown is what is wanted.
    pub(super) fn lets_in(&self, shown: Option<&str>) -> bool {
        let Some(token) = &self.token else { return true };
        let (wanted, shown) = (token.expose_secret().as_bytes(), shown.unwrap_or_default().as_bytes());
        // Every byte is looked at, so that the time says nothing.
        wanted.len() == shown.len() && wanted.iter().zip(shown).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }

    /// Answers a message of the network.
    pub(super) async fn answer(&self, message: Incoming) -> HandlerResult {
        let _turn = self.turn().await;
        self.handlers.answer(message).await
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.at_once).acquire_owned().await.ok()
    }

    /// Answers a question that came in at a port. It goes on when this is dropped, as a message of the network would.
    pub(super) async fn ask(&self, call: P2pCall, content: Value, blobs: Blobs) -> Result<Value, Error> {
        let waits = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| {
            Error::of(ErrorCode::Busy, "the agent has as many questions as it takes; try again")
        })?;
        let gate = self.clone();
        let work = tokio::spawn(async move {
            let turn = gate.turn().await;
            drop(waits);
            let answer = timeout(gate.work_timeout, gate.handlers.work(call.payload(&content), blobs)).await;
            drop(turn);
            answer
        });
        match work.await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => {
                // Details stay here.
                tracing::warn!(%error, "a P2P handler failed");
                Err(Error::of(ErrorCode::HandlerError, "the agent's handler failed"))
            }
            Ok(Err(_)) => Err(Error::of(ErrorCode::Timeout, "the agent's handler took too long")),
            Err(error) => {
                tracing::error!(%error, "a P2P handler panicked");
                Err(Error::of(ErrorCode::HandlerError, "the agent's handler failed"))
            }
        }
    }
}
