//! Who came and who went. That only makes rows due; everything else is the drains' business.

use std::sync::Arc;
use std::time::Duration;

use agentnet_store::deliveries;
use tokio::time::sleep;

use super::Redelivery;

/// Recipients asked about in one statement.
const CHUNK: usize = 500;
/// Between two looks whether a drain has ended.
const ROOM_PAUSE: Duration = Duration::from_millis(10);

impl Redelivery {
    /// Acts on news of presence until told to stop.
    pub(super) async fn follow_wakes(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.app.presence.woken.notified() => {}
            }
            let news = self.app.presence.take_wakes();
            for (session, recipients) in news.ended {
                self.session_ended(&session, recipients).await;
            }
            let came: Vec<String> = news.recipients.into_iter().collect();
            for chunk in came.chunks(CHUNK) {
                let open = {
                    let _db = self.db().await;
                    deliveries::with_open(self.app.store.pool(), chunk).await
                };
                // Most have nothing waiting.
                for recipient in self.logged("db.redelivery_wake", open).unwrap_or_default() {
                    if !self.room_for_drain().await {
                        return;
                    }
                    self.start_drain(recipient, true);
                }
            }
        }
    }

    /// Waits until another recipient can be delivered to; `false` at a stop.
    async fn room_for_drain(&self) -> bool {
        while self.is_full() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = sleep(ROOM_PAUSE) => {}
            }
        }
        true
    }

    async fn session_ended(self: &Arc<Self>, session: &str, recipients: Vec<String>) {
        let ended = {
            let _db = self.db().await;
            deliveries::session_ended(self.app.store.pool(), session, &recipients).await
        };
        if self.logged("db.redelivery_session_ended", ended).is_some_and(|rows| rows > 0) {
            for recipient in recipients {
                self.start_drain(recipient, false);
            }
        }
    }
}
