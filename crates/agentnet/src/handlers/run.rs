//! Running the handlers of one message.

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
};

use futures_util::{FutureExt as _, future::join_all};

use crate::inbox::{Handler, HandlerError, HandlerResult, Incoming, panic_text};

/// The first failure of several handlers, which others may outlast: there to be read when they run out of time.
#[derive(Default)]
pub(crate) struct Failed(Mutex<Option<HandlerError>>);

impl Failed {
    /// The first failure, which is the caller's to log.
    pub(crate) fn take(&self) -> Option<HandlerError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, message: &Incoming, error: HandlerError) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_some() {
            tracing::warn!(message_id = message.message_id(), %error, "another handler failed, too");
        } else {
            *first = Some(error);
        }
    }
}

/// Runs them at once. What fails is logged as it does; the first failure is the message's, and in `failed` until all are
/// done.
pub(crate) async fn run(handlers: Vec<Handler>, message: Incoming, failed: &Failed) -> HandlerResult {
    if let [one] = handlers.as_slice() {
        return one(message).await;
    }
    let all = handlers.into_iter().map(|handler| {
        let message = message.clone();
        async move {
            // The inner block: a handler may panic before it returns its future. The others go on.
            let called = message.clone();
            let ended = AssertUnwindSafe(async move { handler(called).await }).catch_unwind().await;
            let ended = ended
                .unwrap_or_else(|panic| Err(format!("handler panicked: {}", panic_text(&*panic)).into()));
            if let Err(error) = ended {
                failed.note(&message, error);
            }
        }
    });
    join_all(all).await;
    failed.take().map_or(Ok(()), Err)
}
