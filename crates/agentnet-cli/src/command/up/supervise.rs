//! What has ended by itself is started again, ever more slowly.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{progress::Progress, services::Kind, stack::Stack};
use crate::{
    failure::Failure,
    output::style::{GOOD, WARN, paint},
};

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// Pause before the first restart; it doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// What has run for so long counts as healthy: its next pause is the first again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Watches for ever. Each part has its own pauses, so that one in trouble doesn't hold up the others.
pub async fn run(stack: &Stack, progress: &Progress) {
    tokio::join!(
        part(
            "NATS",
            progress,
            async || stack.nats.is_running(),
            async || {
                let nats = Arc::clone(&stack.nats);
                super::blocking(move || nats.restart()).await
            }
        ),
        part(
            "Postgres",
            progress,
            async || stack.postgres.is_running(),
            async || {
                let postgres = Arc::clone(&stack.postgres);
                super::blocking(move || postgres.restart()).await
            }
        ),
        service(Kind::Registry, stack, progress),
        service(Kind::Persister, stack, progress),
        service(Kind::Gateway, stack, progress),
    );
}

async fn service(kind: Kind, stack: &Stack, progress: &Progress) {
    let runs = async || stack.running().iter().any(|s| s.name == kind.name() && !s.task.is_finished());
    let start = async || {
        let ended = {
            let mut running = stack.running();
            let index = running.iter().position(|s| s.name == kind.name());
            index.map(|index| running.swap_remove(index))
        };
        if let Some(ended) = ended
            && let Ok(Err(error)) = ended.task.await
        {
            tracing::error!(service = kind.name(), %error, "ended");
        }
        let started = kind.start(&stack.told, &stack.shutdown).await?;
        stack.running().push(started);
        Ok(())
    };
    part(kind.name(), progress, runs, start).await;
}

async fn part(
    name: &str,
    progress: &Progress,
    runs: impl AsyncFn() -> bool,
    start: impl AsyncFn() -> Result<(), Failure>,
) {
    let mut pause = FIRST;
    let mut since = Instant::now();
    loop {
        sleep(INTERVAL).await;
        if runs().await {
            if since.elapsed() > HEALTHY {
                pause = FIRST;
            }
            continue;
        }
        tracing::error!(part = name, ?pause, "ended by itself; starting it again");
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
            match start().await {
                Ok(()) => break,
                Err(failure) => {
                    tracing::error!(part = name, %failure, next_try_in = ?pause, "could not be started")
                }
            }
        }
        since = Instant::now();
        progress.say(format_args!("  {} {name} runs again", paint(GOOD, "✓")));
        if pause > FIRST * 8 {
            progress.say(paint(WARN, format_args!("    {name} keeps ending: its log says why")));
        }
    }
}
