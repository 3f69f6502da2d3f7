//! Faults, one after the other, until the load is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentnet_local::StopMode;
use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{
    task::spawn_blocking,
    time::{sleep, sleep_until},
};

use super::{
    agents::Fleet,
    proxy::{Proxy, Shape},
    scenario::{Fault, Scenario},
    senders::Senders,
    stack::{SmallDisk, Stack},
};

/// What was done to the stack.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// When and what, since the beginning of the load.
    pub events: Vec<(Duration, String)>,
    /// Processes killed with SIGKILL.
    pub kills: u64,
    /// Processes that ended without being asked to, and were started again.
    pub collapsed: u64,
}

/// Does what the scenario says, to a stack and its agents.
#[derive(Debug)]
pub struct Injector {
    /// The servers and services.
    pub stack: Arc<Stack>,
    /// The agents.
    pub fleet: Arc<Fleet>,
    /// The senders that are processes.
    pub senders: Arc<Senders>,
    /// Decides whom it hits, and when.
    pub rng: StdRng,
    /// Beginning of the load.
    pub start: Instant,
    log: Log,
}

impl Injector {
    /// Prepares for a run; the same seed hits the same targets.
    pub fn new(
        stack: Arc<Stack>,
        fleet: Arc<Fleet>,
        senders: Arc<Senders>,
        seed: u64,
        start: Instant,
    ) -> Self {
        Self { stack, fleet, senders, rng: StdRng::seed_from_u64(seed), start, log: Log::default() }
    }

    /// Hits every two seconds, for the last time at `last`. When it returns, every process runs again and every
    /// connection is whole.
    ///
    /// # Errors
    /// When a process can't be brought back.
    pub async fn run(mut self, scenario: Scenario, every: Duration, last: Duration) -> Result<Log> {
        let mut at = every;
        while at <= last {
            sleep_until((self.start + at).into()).await;
            self.revive().await?;
            let faults = scenario.faults();
            let hits = if faults.len() > 1 && scenario.is_mixed() { self.rng.random_range(1..=2) } else { 1 };
            let chosen: Vec<Fault> = faults.sample(&mut self.rng, hits).copied().collect();
            self.hit(&chosen).await?;
            // What took long to come back has some time to work before the next fault.
            at = (at + every).max(self.start.elapsed() + every / 2);
        }
        Ok(self.log)
    }

    async fn hit(&mut self, faults: &[Fault]) -> Result<()> {
        let mut targets = Vec::new();
        for fault in faults {
            let target = self.rng.random_range(0..self.count(*fault).max(1));
            self.note(&format!("{fault:?} {target}"));
            targets.push((*fault, target));
        }
        for (fault, target) in &targets {
            self.begin(*fault, *target).await.with_context(|| format!("{fault:?} {target}"))?;
        }
        let pause = self.pause(faults);
        sleep(pause).await;
        for (fault, target) in &targets {
            self.end(*fault, *target).await.with_context(|| format!("after {fault:?} {target}"))?;
        }
        Ok(())
    }

    /// How many things the fault can hit.
    fn count(&self, fault: Fault) -> usize {
        match fault {
            Fault::KillNats => self.stack.nats.len(),
            Fault::KillRegistry | Fault::FreezeRegistry => self.stack.registries.len(),
            Fault::KillPersister | Fault::FreezePersister => self.stack.persisters.len(),
            Fault::KillAgent | Fault::FreezeAgent => self.fleet.len(),
            Fault::KillSender | Fault::KillSenderAlone => self.senders.len(),
            Fault::KillPostgres | Fault::RestartPostgres | Fault::FillDisk | Fault::KillMidCommit => 1,
            Fault::CutNats | Fault::StallNats | Fault::HalfOpenNats | Fault::DelayNats | Fault::ThinNats => {
                self.stack.nats_proxies.len()
            }
            Fault::CutPostgres | Fault::StallPostgres | Fault::DelayPostgres => 1,
        }
    }

    /// How long it lasts.
    fn pause(&mut self, faults: &[Fault]) -> Duration {
        let longest = faults.iter().map(|fault| fault.lasts()).max().unwrap_or_default();
        longest.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    async fn begin(&mut self, fault: Fault, target: usize) -> Result<()> {
        self.log.kills += u64::from(fault.kills());
        match fault {
            Fault::KillNats => {
                let server = self.stack.nats[target].clone();
                spawn_blocking(move || server.kill()).await?;
            }
            Fault::KillPostgres => {
                let server = self.stack.postgres.clone();
                spawn_blocking(move || server.kill()).await?;
            }
            Fault::RestartPostgres => {
                let server = self.stack.postgres.clone();
                spawn_blocking(move || server.stop(StopMode::Fast)).await?;
            }
            Fault::KillRegistry => self.stack.registries[target].lock().await.child.kill().await?,
            Fault::KillPersister => self.stack.persisters[target].lock().await.child.kill().await?,
            Fault::KillAgent => self.fleet.kill(target).await?,
            Fault::KillSender => self.senders.kill(target).await?,
            Fault::KillSenderAlone => {
                self.kill_nats().await?;
                // Long enough for it to queue something.
                sleep(Duration::from_millis(200)).await;
                self.senders.kill(target).await?;
            }
            Fault::KillMidCommit => {
                self.postgres_proxy()?.shape(Shape::STALLED);
                // Long enough for messages to pile up in the persisters.
                sleep(Duration::from_millis(500)).await;
                for persister in &self.stack.persisters {
                    persister.lock().await.child.kill().await?;
                }
            }
            Fault::FreezeRegistry => self.stack.registries[target].lock().await.child.freeze()?,
            Fault::FreezePersister => self.stack.persisters[target].lock().await.child.freeze()?,
            Fault::FreezeAgent => self.fleet.freeze(target).await?,
            Fault::FillDisk => self.stack.disk.as_ref().context("no small disk")?.fill()?,
            Fault::CutNats => self.nats_proxy(target)?.cut(),
            Fault::CutPostgres => self.postgres_proxy()?.cut(),
            Fault::StallNats => self.nats_proxy(target)?.shape(Shape::STALLED),
            Fault::HalfOpenNats => self.nats_proxy(target)?.shape(Shape::HALF_OPEN),
            Fault::StallPostgres => self.postgres_proxy()?.shape(Shape::STALLED),
            Fault::DelayNats => self.nats_proxy(target)?.shape(DELAYED),
            Fault::DelayPostgres => self.postgres_proxy()?.shape(DELAYED),
            Fault::ThinNats => self.nats_proxy(target)?.shape(THIN),
        }
        Ok(())
    }

    async fn end(&mut self, fault: Fault, target: usize) -> Result<()> {
        match fault {
            Fault::KillNats => {
                let server = self.stack.nats[target].clone();
                spawn_blocking(move || server.restart()).await??;
            }
            Fault::KillPostgres | Fault::RestartPostgres => {
                let server = self.stack.postgres.clone();
                spawn_blocking(move || server.restart()).await??;
            }
            Fault::KillRegistry => self.stack.registries[target].lock().await.start().await?,
            Fault::KillPersister => self.stack.persisters[target].lock().await.start().await?,
            Fault::KillAgent => self.fleet.start_again(target).await?,
            Fault::KillSender => self.senders.start_again(target).await?,
            Fault::KillSenderAlone => {
                self.restart_nats().await?;
                self.senders.start_again(target).await?;
            }
            Fault::KillMidCommit => {
                self.postgres_proxy()?.cut();
                self.postgres_proxy()?.shape(Shape::CLEAR);
                for persister in &self.stack.persisters {
                    persister.lock().await.start().await?;
                }
            }
            Fault::FreezeRegistry => self.stack.registries[target].lock().await.child.thaw()?,
            Fault::FreezePersister => self.stack.persisters[target].lock().await.child.thaw()?,
            Fault::FreezeAgent => self.fleet.thaw(target).await?,
            Fault::FillDisk => self.clear_disk().await?,
            Fault::CutNats | Fault::CutPostgres => {}
            // What is silent for good is cut in the end, as a router does that forgot the connection.
            Fault::StallNats | Fault::HalfOpenNats => {
                self.nats_proxy(target)?.cut();
                self.nats_proxy(target)?.shape(Shape::CLEAR);
            }
            Fault::StallPostgres => {
                self.postgres_proxy()?.cut();
                self.postgres_proxy()?.shape(Shape::CLEAR);
            }
            Fault::DelayNats | Fault::ThinNats => self.nats_proxy(target)?.shape(Shape::CLEAR),
            Fault::DelayPostgres => self.postgres_proxy()?.shape(Shape::CLEAR),
        }
        Ok(())
    }

    /// A full disk may have ended its server.
    async fn clear_disk(&mut self) -> Result<()> {
        self.stack.disk.as_ref().context("no small disk")?.clear()?;
        if !self.stack.postgres.is_running() {
            self.note("Postgres had ended");
            let server = self.stack.postgres.clone();
            spawn_blocking(move || server.restart()).await??;
        }
        if self.stack.options().small_disk == Some(SmallDisk::Nats) {
            // A nats-server that met a full disk takes nothing into the stream any more, and says that it is well.
            self.restart_nats().await?;
        }
        Ok(())
    }

    async fn kill_nats(&self) -> Result<()> {
        for server in self.stack.nats.clone() {
            spawn_blocking(move || server.kill()).await?;
        }
        Ok(())
    }

    async fn restart_nats(&self) -> Result<()> {
        for server in self.stack.nats.clone() {
            spawn_blocking(move || server.restart()).await??;
        }
        Ok(())
    }

    /// Starts what ended by itself, as a supervisor would.
    async fn revive(&mut self) -> Result<()> {
        let stack = self.stack.clone();
        let services = stack.registries.iter().chain(&stack.persisters);
        for service in services {
            let mut service = service.lock().await;
            if !service.child.is_running() {
                self.note(&format!("{} had ended", service.child.name()));
                self.log.collapsed += 1;
                service.start().await?;
            }
        }
        let mut revived = self.fleet.revive().await?;
        revived.extend(self.senders.revive().await?);
        for name in revived {
            self.note(&format!("{name} had ended"));
            self.log.collapsed += 1;
        }
        Ok(())
    }

    fn nats_proxy(&self, target: usize) -> Result<&Proxy> {
        self.stack.nats_proxies.get(target).context("NATS is not proxied")
    }

    fn postgres_proxy(&self) -> Result<&Proxy> {
        self.stack.postgres_proxy.as_ref().context("Postgres is not proxied")
    }

    fn note(&mut self, what: &str) {
        tracing::info!(at = self.start.elapsed().as_secs_f64(), "{what}");
        self.log.events.push((self.start.elapsed(), what.to_owned()));
    }
}

/// A bad link between continents.
const DELAYED: Shape = Shape { delay: Duration::from_millis(200), ..Shape::CLEAR };
/// About half of what 500 messages a second take.
const THIN: Shape = Shape { bytes_per_second: 250_000, ..Shape::CLEAR };
