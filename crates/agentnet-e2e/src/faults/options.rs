//! What a run is told.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::scenario::{Sabotage, Scenario};

/// What `--kill` takes: the scenarios that kill processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kill {
    /// nats-server.
    Nats,
    /// Postgres.
    Postgres,
    /// Registries.
    Registry,
    /// Persisters.
    Persister,
    /// Recipients.
    Agent,
    /// Senders with their outboxes in files.
    Sender,
    /// All of them at random.
    All,
    /// Nothing: the figures to compare with.
    None,
}

/// In the order of the table.
const EVERY_KILL: [Kill; 8] = [
    Kill::None,
    Kill::Nats,
    Kill::Postgres,
    Kill::Registry,
    Kill::Persister,
    Kill::Agent,
    Kill::Sender,
    Kill::All,
];

impl From<Kill> for Scenario {
    fn from(kill: Kill) -> Self {
        match kill {
            Kill::Nats => Self::Nats,
            Kill::Postgres => Self::Postgres,
            Kill::Registry => Self::Registry,
            Kill::Persister => Self::Persister,
            Kill::Agent => Self::Agent,
            Kill::Sender => Self::Sender,
            Kill::All => Self::All,
            Kill::None => Self::None,
        }
    }
}

/// Options of a run.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Seconds of load.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    pub seconds: f64,
    /// Messages per second.
    #[arg(long, default_value_t = 500.0, value_parser = positive)]
    pub rate: f64,
    /// Whom to kill -9, every two seconds.
    #[arg(long)]
    pub kill: Vec<Kill>,
    /// Every kind of kill, one run after the other, and one without: the table of docs/DURABILITY.md.
    #[arg(long, conflicts_with_all = ["kill", "scenario", "every_scenario"])]
    pub every_kill: bool,
    /// Other things to do to the network; may be given several times.
    #[arg(long)]
    pub scenario: Vec<Scenario>,
    /// Run every scenario, one after the other.
    #[arg(long, conflicts_with_all = ["kill", "scenario"])]
    pub every_scenario: bool,
    /// Break a guarantee on purpose: the run must then report losses or duplicates.
    #[arg(long)]
    pub sabotage: Option<Sabotage>,
    /// Submit tasks instead of sending messages, and kill a registry and a worker every time.
    #[arg(long, conflicts_with_all = ["kill", "scenario", "every_kill", "every_scenario", "sabotage"])]
    pub tasks: bool,
    /// Seconds between two faults.
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub every: f64,
    /// Accounts that send.
    #[arg(long, default_value_t = 4)]
    pub senders: usize,
    /// Accounts that receive; the first one has two sessions, the last two share a capability.
    #[arg(long, default_value_t = 4)]
    pub recipients: usize,
    /// Messages for the recipient that is away (scenario `offline`).
    #[arg(long, default_value_t = 10_000)]
    pub backlog: u64,
    /// Runs the network in the mode that requires `dev-ed25519-v1` signatures. Otherwise every second sender signs.
    #[arg(long)]
    pub signed: bool,
    /// Decides whom faults hit and when; random unless given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// A setting of the services, as `NAME=VALUE`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub service_env: Vec<(String, String)>,
    /// Seconds to wait for everything to come to rest; three times what the scenario is allowed unless given.
    #[arg(long, value_parser = positive)]
    pub deadline: Option<f64>,
    /// Prints the table as Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Ends with one JSON object per run.
    #[arg(long)]
    pub json: bool,
    /// Where runs keep their files; the system's directory for temporary files unless given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Keep the files of runs that found nothing, too.
    #[arg(long)]
    pub keep: bool,
}

impl RunArgs {
    /// The runs that were asked for.
    pub fn scenarios(&self) -> Vec<Scenario> {
        if self.every_scenario {
            return Scenario::value_variants().to_vec();
        }
        if self.every_kill {
            return EVERY_KILL.map(Scenario::from).to_vec();
        }
        let mut scenarios: Vec<Scenario> = self.kill.iter().copied().map(Scenario::from).collect();
        scenarios.extend(&self.scenario);
        if scenarios.is_empty() {
            scenarios.push(Scenario::None);
        }
        scenarios
    }

    /// Length of the load.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long a run may take to come to rest.
    pub fn rest_deadline(&self, scenario: Scenario) -> Duration {
        self.deadline.map_or(scenario.recovery_limit() * 3, Duration::from_secs_f64)
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("a number above 0, at most 1000000".to_owned()),
    }
}
