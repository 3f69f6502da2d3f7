//! Running the handlers of one message.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, future::join_all};

use crate::inbox::{Handler, HandlerResult, Incoming, panic_text};

/// Runs them at once. What fails is logged; the first failure is the message's.
pub(crate) async fn run(handlers: Vec<Handler>, message: Incoming) -> HandlerResult {
    if let [one] = handlers.as_slice() {
        return one(message).await;
    }
    // The inner block: a handler may panic before it returns its future. The others go on.
    let all = handlers.into_iter().map(|handler| {
        let message = message.clone();
        AssertUnwindSafe(async move { handler(message).await }).catch_unwind()
    });
    let mut result = Ok(());
    for ended in join_all(all).await {
        let ended =
            ended.unwrap_or_else(|panic| Err(format!("handler panicked: {}", panic_text(&*panic)).into()));
        if let Err(error) = ended {
            match &result {
                Ok(()) => result = Err(error),
                // The worker logs the first.
                Err(_) => {
                    tracing::warn!(message_id = message.message_id(), %error, "another handler failed, too");
                }
            }
        }
    }
    result
}
