//! The end of a node, in order.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use agentnet_proto::ErrorCode;
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::AgentNode;
use crate::{
    deadline::after,
    error::{Error, ErrorKind},
    inbox::panic_text,
};

/// How long what arrived before the subscriptions ended may take to be answered.
pub(super) const INTAKE_END: Duration = Duration::from_secs(1);
/// How long the last bytes may take to be written.
pub(super) const FLUSH: Duration = Duration::from_secs(2);

type Hook = Box<dyn FnOnce(AgentNode) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What an agent does last, once.
#[derive(Clone, Default)]
pub(super) struct ExitHook(Arc<Mutex<Option<Hook>>>);

impl ExitHook {
    pub(super) fn of(
        hook: impl FnOnce(AgentNode) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(hook)))))
    }

    fn take(&self) -> Option<Hook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl AgentNode {
    /// Ends the session in order: takes no more messages (other sessions of the account get them), lets handlers
    /// finish within the drain timeout (20 s), waits until messages and receipts are confirmed (5 s), says goodbye,
    /// and closes the connection. Messages that wait without a handler are handed back as `shutting_down`.
    ///
    /// Every wait has its limit, so this ends also without a connection. A second call returns at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unconfirmed`] when messages weren't confirmed; the node is closed all the same.
    pub async fn close(&self) -> Result<(), Error> {
        if self.finish_work().await { self.leave().await } else { Ok(()) }
    }

    /// Takes no more, and waits for the handlers; `false` when that has been done.
    async fn finish_work(&self) -> bool {
        let inner = &self.inner;
        if !inner.accepting.swap(false, Ordering::AcqRel) {
            return false;
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.stop_intake.cancel();
        inner.handlers.release();
        let start = Instant::now();
        if let Some(intake) = tasks.intake {
            let _ = timeout_at(start + INTAKE_END, intake).await;
        }
        let left = inner.jobs.drained(after(start, inner.config.drain_timeout)).await;
        if left > 0 {
            tracing::warn!(left, "closing before all handlers finished");
        }
        for worker in &tasks.workers {
            worker.abort();
        }
        for job in inner.jobs.take_all() {
            inner.guards.forget(&job.envelope, inner.account.as_str());
            let code = ErrorCode::ShuttingDown;
            inner.reject(&job.envelope, &job.body_sha256, code, "agent is shutting down").await;
        }
        true
    }

    /// The words that are left, the goodbye, and the end of the connection.
    async fn leave(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let deadline = after(Instant::now(), inner.config.flush_timeout);
        let unconfirmed = inner.outbox.drain(deadline).await;
        let receipts = inner.receipts.drain(deadline).await;
        if receipts > 0 {
            tracing::warn!(
                receipts,
                "closing before all receipts were confirmed; their messages may come again"
            );
        }
        if let Err(error) = inner.goodbye().await {
            tracing::debug!(%error, "goodbye not sent");
        }
        if let Err(error) = inner.connection.flush(FLUSH).await {
            tracing::debug!(%error, "closing without a connection");
        }
        inner.stop();
        inner.outbox.close_file().await;
        if let Some(remembered) = &inner.remembered {
            remembered.close().await;
        }
        if inner.owns_connection {
            let _ = inner.connection.close(FLUSH).await;
        }
        if unconfirmed == 0 {
            return Ok(());
        }
        let detail = match inner.outbox.file() {
            Some(path) => format!(
                "closed while the network hadn't confirmed {unconfirmed} messages; they stay in {} and are sent when the \
                 agent starts again",
                path.display()
            ),
            None => format!(
                "closed while the network hadn't confirmed {unconfirmed} messages; they may still arrive. Check the \
                 persister"
            ),
        };
        Err(Error::new(ErrorKind::Unconfirmed, detail))
    }

    /// Serves until Ctrl-C or SIGTERM, then closes in order, with what [`on_exit`](crate::AgentNodeBuilder::on_exit) asked
    /// for between the last handler and the goodbye. A second signal changes nothing: every wait has its limit. Returns also when the node was closed elsewhere.
    ///
    /// # Errors
    /// As [`close`](Self::close); [`ErrorKind::Closed`] when the node stopped because it is broken, which its log
    /// explains.
    pub async fn serve_forever(&self) -> Result<(), Error> {
        tokio::select! {
            signal = shutdown_signal() => signal?,
            () = self.inner.cancel.cancelled() => {
                return match self.inner.broken.get() {
                    Some(task) => {
                        let detail = format!("the node stopped: its {task} failed; its log says how. Start it again");
                        Err(Error::new(ErrorKind::Closed, detail))
                    }
                    None => Ok(()),
                };
            }
        }
        tracing::info!(agent = self.agent_id(), "stopping");
        if !self.finish_work().await {
            return Ok(());
        }
        self.run_exit_hook().await;
        self.leave().await
    }

    async fn run_exit_hook(&self) {
        let Some(hook) = self.exit_hook.take() else { return };
        let limit = self.inner.config.drain_timeout;
        let ended = timeout(limit, AssertUnwindSafe(async { hook(self.clone()).await }).catch_unwind()).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => tracing::error!(panic = panic_text(&*panic), "the exit hook panicked"),
            Err(_) => tracing::warn!(limit_s = limit.as_secs_f64(), "the exit hook took too long; closing"),
        }
    }
}

/// Completes at Ctrl-C or SIGTERM.
async fn shutdown_signal() -> Result<(), Error> {
    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::InvalidArgument, "signals can't be listened for on this system").source_of(e)
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result.map_err(failed),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map_err(failed)
}
