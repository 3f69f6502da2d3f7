//! What a run does to the network.

use std::{fmt, time::Duration};

use clap::ValueEnum;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a nats-server, and its restart.
    KillNats,
    /// kill -9 of Postgres, and its restart.
    KillPostgres,
    /// kill -9 of a registry, and its restart.
    KillRegistry,
    /// kill -9 of a persister, and its restart.
    KillPersister,
    /// kill -9 of a recipient, and its restart.
    KillAgent,
    /// kill -9 of a sender whose outbox is a file, and its restart.
    KillSender,
    /// The same while nats-server is down: what the sender has queued is nowhere but in its file.
    KillSenderAlone,
    /// kill -9 of every persister while Postgres doesn't answer: between taking messages and their COMMIT.
    KillMidCommit,
    /// Orderly restart of Postgres.
    RestartPostgres,
    /// A registry stands still with its connections open.
    FreezeRegistry,
    /// A persister stands still with its connections open.
    FreezePersister,
    /// A recipient stands still with its connections open.
    FreezeAgent,
    /// No byte is free on the server's disk.
    FillDisk,
    /// Every connection to NATS is closed.
    CutNats,
    /// Every connection to NATS goes silent in both directions, then closes.
    StallNats,
    /// Clients hear nothing from NATS any more, then their connections close.
    HalfOpenNats,
    /// Everything to and from NATS takes 200 ms more in each direction.
    DelayNats,
    /// Half the bandwidth the load takes.
    ThinNats,
    /// Every connection to Postgres is closed.
    CutPostgres,
    /// Every connection to Postgres goes silent, then closes.
    StallPostgres,
    /// Every answer of Postgres takes 400 ms more.
    DelayPostgres,
}

impl Fault {
    /// Whether it kills a process with SIGKILL.
    pub fn kills(self) -> bool {
        matches!(
            self,
            Self::KillNats
                | Self::KillPostgres
                | Self::KillRegistry
                | Self::KillPersister
                | Self::KillAgent
                | Self::KillSender
                | Self::KillSenderAlone
                | Self::KillMidCommit
        )
    }

    /// How long it lasts at most; a random half less.
    pub fn lasts(self) -> Duration {
        Duration::from_millis(match self {
            Self::CutNats | Self::CutPostgres => 0,
            Self::FillDisk => 3000,
            Self::FreezeRegistry | Self::FreezePersister | Self::FreezeAgent => 1500,
            Self::StallNats | Self::HalfOpenNats | Self::StallPostgres => 1500,
            Self::DelayNats | Self::ThinNats | Self::DelayPostgres => 1500,
            _ => 400,
        })
    }
}

/// A run: which faults, in which kind of stack, under which load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Scenario {
    /// No fault: the figures to compare with.
    None,
    /// kill -9 of nats-server.
    Nats,
    /// kill -9 of Postgres.
    Postgres,
    /// kill -9 of registries.
    Registry,
    /// kill -9 of persisters.
    Persister,
    /// kill -9 of recipients.
    Agent,
    /// kill -9 of senders, which are processes then, with their outboxes in files; half of the time while nats-server is
    /// down.
    Sender,
    /// kill -9 of all of them at random, up to two at once.
    All,
    /// kill -9 of all persisters at the worst moment.
    MidCommit,
    /// Connections to NATS and Postgres are cut.
    Cut,
    /// Connections go silent, half or whole.
    Stall,
    /// Connections are slow or thin.
    Slow,
    /// Postgres restarts in order.
    PgRestart,
    /// Registries, persisters and recipients stand still.
    Freeze,
    /// The disk of JetStream is full.
    DiskNats,
    /// The disk of Postgres is full.
    DiskPostgres,
    /// Clocks are off by 25 s, some ahead, some behind.
    Skew,
    /// One recipient takes far less than it is sent.
    SlowConsumer,
    /// One message in a hundred is poison.
    Poison,
    /// 10,000 messages for a recipient that is away.
    Offline,
    /// A cluster of three nats-servers, stream replicas 3, loses one after the other.
    Cluster,
}

impl Scenario {
    /// The faults it takes from.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Self::None | Self::Skew | Self::SlowConsumer | Self::Poison | Self::Offline => &[],
            Self::Nats | Self::Cluster => &[Fault::KillNats],
            Self::Postgres => &[Fault::KillPostgres],
            Self::Registry => &[Fault::KillRegistry],
            Self::Persister => &[Fault::KillPersister],
            Self::Agent => &[Fault::KillAgent],
            Self::Sender => &[Fault::KillSender, Fault::KillSenderAlone],
            Self::All => &[
                Fault::KillNats,
                Fault::KillPostgres,
                Fault::KillRegistry,
                Fault::KillPersister,
                Fault::KillAgent,
                Fault::KillSender,
            ],
            Self::MidCommit => &[Fault::KillMidCommit],
            Self::Cut => &[Fault::CutNats, Fault::CutPostgres],
            Self::Stall => &[Fault::StallNats, Fault::HalfOpenNats, Fault::StallPostgres],
            Self::Slow => &[Fault::DelayNats, Fault::ThinNats, Fault::DelayPostgres],
            Self::PgRestart => &[Fault::RestartPostgres],
            Self::Freeze => &[Fault::FreezeRegistry, Fault::FreezePersister, Fault::FreezeAgent],
            Self::DiskNats | Self::DiskPostgres => &[Fault::FillDisk],
        }
    }

    /// Whether several faults may be at work at once.
    pub fn is_mixed(self) -> bool {
        self == Self::All
    }

    /// Whether some senders are processes that can be killed, with their outboxes in files.
    pub fn has_sender_processes(self) -> bool {
        self.faults().contains(&Fault::KillSender)
    }

    /// Whether the stack needs proxies.
    pub fn is_proxied(self) -> bool {
        matches!(self, Self::Cut | Self::Stall | Self::Slow | Self::MidCommit)
    }

    /// Back to normal within this time after the last fault.
    pub fn recovery_limit(self) -> Duration {
        Duration::from_secs(if self == Self::All { 90 } else { 15 })
    }

    /// Longest wait for an acknowledgement that is taken for normal.
    pub fn wait_limit(self) -> Option<Duration> {
        // Several faults at once, and disks and links that stay bad for as long as the fault lasts, have no figure.
        let single = [
            Self::None,
            Self::Nats,
            Self::Postgres,
            Self::Registry,
            Self::Persister,
            Self::Agent,
            Self::Sender,
        ];
        single.contains(&self).then_some(Duration::from_secs(5))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

/// A guarantee that is broken on purpose: the run must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Sabotage {
    /// The persister confirms and acknowledges before COMMIT.
    EarlyAck,
    /// Recipients forget what they handled.
    NoDedupe,
    /// Senders take a publish for an acknowledgement.
    NoOutbox,
}
