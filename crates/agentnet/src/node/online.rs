//! Going and coming back without ending the node.

use std::sync::atomic::Ordering;

use tokio::time::{Instant, timeout};

use super::{
    AgentNode,
    close::{FLUSH, INTAKE_END},
    start::SUBSCRIBE_TIMEOUT,
    tasks::Intake,
};
use crate::{deadline::after, error::Error};

impl AgentNode {
    /// Whether the node is a session that others may reach. Not after [`offline`](Self::offline) and
    /// [`close`](Self::close).
    pub fn is_online(&self) -> bool {
        self.inner.is_online() && !self.is_closed()
    }

    /// Ends the session without closing the node: takes no more messages, lets handlers finish within the drain timeout
    /// (20 s), waits for the confirmation of what they answered (5 s), and says goodbye. What is sent to the agent from
    /// then on goes to the account's other sessions, or waits for its time to live. The node still sends, asks and hears
    /// replies. Nothing happens when it is offline already.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed); [`ErrorKind::NatsUnavailable`](crate::ErrorKind::NatsUnavailable)
    /// when the goodbye couldn't be sent: the node is offline all the same, and the network notices by its silence.
    pub async fn offline(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let _switching = inner.switching.lock().await;
        inner.check_open()?;
        if !inner.online.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        if self.feeds.heard().is_some() {
            inner.intake_wanted.send_replace(false);
            let _ = timeout(INTAKE_END, inner.intake_paused.notified()).await;
            let left = inner.jobs.drained(after(Instant::now(), inner.config.drain_timeout)).await;
            if left > 0 {
                tracing::warn!(left, "going offline before all handlers finished");
            }
            inner.receipts.drain(after(Instant::now(), inner.config.flush_timeout)).await;
        }
        inner.goodbye().await?;
        inner.connection.flush(FLUSH).await
    }

    /// Opens a session again after [`offline`](Self::offline), of the same account and under another tag: what waited
    /// is delivered. Nothing happens when the node is online already.
    ///
    /// # Errors
    /// As [`start`](crate::AgentNodeBuilder::start); the node stays offline.
    pub async fn online(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let _switching = inner.switching.lock().await;
        inner.check_open()?;
        if inner.is_online() {
            return Ok(());
        }
        inner.register_again().await?;
        if let Some(names) = self.feeds.heard() {
            let connection = &inner.connection;
            let intake = Intake::open_on(connection, &connection.client(), &inner.account, names).await?;
            // As at the start: the hello makes the network deliver what waits.
            connection.round_trip(SUBSCRIBE_TIMEOUT).await?;
            inner.intake_wanted.send_replace(true);
            self.feeds.resumed(intake).await;
        }
        inner.online.store(true, Ordering::Release);
        inner.hello().await
    }
}
