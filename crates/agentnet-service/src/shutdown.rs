//! The order of a stop: intake, in-flight work, flush, connection.
//!
//! One [`Shutdown`] is shared by everything in the process. Asking it to stop ends intake at once; handlers go
//! on until the soft deadline, after which they are cut off and answered; at the hard deadline nothing is
//! waited for any more.

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::ShutdownConfig;

/// What a forced stop leaves for answers.
pub const FORCED_GRACE: Duration = Duration::from_millis(500);

/// Shared request to stop, with its two deadlines. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    config: ShutdownConfig,
    stop: CancellationToken,
    force: CancellationToken,
    asked_at: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// Not yet asked to stop.
    pub fn new(config: ShutdownConfig) -> Self {
        Self {
            config,
            stop: CancellationToken::new(),
            force: CancellationToken::new(),
            asked_at: Arc::default(),
        }
    }

    /// Asks everything to stop in order.
    pub fn request(&self) {
        self.asked_at.get_or_init(Instant::now);
        self.stop.cancel();
    }

    /// Ends the soft phase now and the hard one [`FORCED_GRACE`] later, time enough to answer what is cut off.
    pub fn force(&self) {
        self.request();
        self.force.cancel();
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Cancelled when a stop is asked for: end intake.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        self.stop.cancelled().await;
    }

    /// Waits for a stop and then the soft deadline: cut off handlers and answer them.
    pub async fn soft_deadline(&self) {
        self.phase(self.config.soft, Duration::ZERO).await;
    }

    /// Waits for a stop and then the hard deadline: leave everything.
    pub async fn hard_deadline(&self) {
        self.phase(self.config.hard, FORCED_GRACE).await;
    }

    /// Runs `work` unless the hard deadline of a stop passes first.
    pub async fn bounded<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.hard_deadline() => None,
        }
    }

    /// How long is left until the hard deadline; the whole time when no stop was asked for.
    pub fn remaining(&self) -> Duration {
        let elapsed = self.asked_at.get().map_or(Duration::ZERO, Instant::elapsed);
        let remaining = self.config.hard.saturating_sub(elapsed);
        if self.force.is_cancelled() { remaining.min(FORCED_GRACE) } else { remaining }
    }

    /// SIGINT and SIGTERM ask for a stop; a second one forces it. Must run inside a tokio runtime.
    pub fn listen_for_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::info!(signal = name, "stopping: intake ends, in-flight work finishes");
            shutdown.request();
            let name = signals.next().await;
            tracing::warn!(signal = name, "stopping at once");
            shutdown.force();
        });
        Ok(())
    }

    async fn phase(&self, after: Duration, forced_after: Duration) {
        self.stop.cancelled().await;
        let end = *self.asked_at.get_or_init(Instant::now) + after;
        tokio::select! {
            () = sleep_until(end) => {}
            () = async {
                self.force.cancelled().await;
                sleep(forced_after).await;
            } => {}
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shutdown(soft: u64, hard: u64) -> Shutdown {
        Shutdown::new(ShutdownConfig { soft: Duration::from_millis(soft), hard: Duration::from_millis(hard) })
    }

    #[tokio::test]
    async fn phases_come_in_order() {
        let shutdown = shutdown(20, 60);
        let start = Instant::now();
        shutdown.request();
        shutdown.requested().await;
        shutdown.soft_deadline().await;
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(shutdown.bounded(std::future::pending::<()>()).await, None);
        assert!(start.elapsed() >= Duration::from_millis(60));
        assert_eq!(shutdown.remaining(), Duration::ZERO);
    }

    #[tokio::test]
    async fn force_ends_every_wait() {
        let shutdown = shutdown(3_600_000, 7_200_000);
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.bounded(std::future::pending::<()>()).await }
        });
        shutdown.force();
        let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        assert_eq!(ended.expect("force must end the wait").unwrap(), None);
        assert!(shutdown.is_requested());
    }
}
