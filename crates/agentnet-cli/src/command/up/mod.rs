//! `agentnet up`.

mod banner;
mod demo;
mod logs;
mod progress;
mod ready;
pub mod secrets;
mod servers;
mod services;
mod signals;
mod stack;
mod supervise;

use std::path::PathBuf;

use agentnet::proto::Security;
use agentnet_local::DataDir;

use super::Context;
use crate::{
    failure::Failure,
    network::context,
    output::style::{DIM, WARN, paint},
};
use demo::Demo;
use progress::Progress;
use signals::Signals;
use stack::Stack;

/// Start a network on this machine and keep it running
///
/// Runs a private nats-server and Postgres under a data directory, and the registry, the persister and the gateway in this
/// process. Commands in other terminals find it by themselves. Ctrl-C stops everything in order; the next `agentnet up`
/// finds its data again.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Add agents that talk, and show what they say
    #[arg(long)]
    pub demo: bool,
    /// Run without keys: whoever has the token may be anybody. The original Python and TypeScript agents need this
    #[arg(long, conflicts_with = "signed")]
    pub open: bool,
    /// Run with a shared token and signed messages
    #[arg(long)]
    pub signed: bool,
    /// Where data and secrets are kept; per user unless given
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Port of NATS; 4222, or a free one if that is taken
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub nats_port: Option<u16>,
    /// Port of Postgres; a free one unless given
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub pg_port: Option<u16>,
    /// Port of the gateway's HTTP API; 8000, or a free one if that is taken
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: Option<u16>,
    /// Serve HTTP over TLS with this PEM file's certificates; it is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The PEM file with the certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Write one JSON object with the URLs here once everything answers, for scripts
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

impl Args {
    /// The mode of the network: every agent has a key, unless something else is asked for.
    pub fn security(&self) -> Security {
        match (self.open, self.signed) {
            (true, _) => Security::Open,
            (_, true) => Security::Signed,
            _ => Security::Secure,
        }
    }
}

/// Starts everything, waits for Ctrl-C, stops everything.
///
/// # Errors
/// What couldn't be started, with what to do about it; `interrupted` when Ctrl-C came before the network was up or
/// a second one before it was down.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    if ctx.names_network() {
        return Err(Failure::local(
            "usage",
            "`up` starts a network and takes no --nats-url",
            "choose its port with --nats-port",
        ));
    }
    let mut signals = Signals::new()?;
    let progress = Progress::new();
    let dir = open_data_dir(args.data_dir.clone()).await?;
    logs::start(&dir.path().join("logs"), ctx.global(), &progress)?;
    // A file of an earlier run would tell scripts that we are ready.
    if let Some(file) = &args.ready_file {
        ready::forget(file)?;
    }
    let started = tokio::select! {
        biased;
        signal = signals.next() => {
            progress.say(paint(WARN, format_args!("{signal}: giving up the start")));
            // Servers that are just starting end with this process: their watchdogs see to it. Package clients don't.
            let _ = tokio::task::spawn_blocking(agentnet_local::abandon_installs).await;
            return Err(Failure::Interrupted);
        }
        started = Stack::start(&dir, &args, &progress) => started?,
    };
    serve(ctx, &args, &dir, started, signals, &progress).await
}

async fn serve(
    ctx: &Context,
    args: &Args,
    dir: &DataDir,
    stack: Stack,
    mut signals: Signals,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut demo = None;
    let ended = tokio::select! {
        biased;
        signal = signals.next() => {
            progress.say(paint(DIM, format_args!("\n{signal}: stopping")));
            Ok(())
        }
        ended = live(ctx, args, dir, &stack, progress, &mut demo) => ended,
    };
    ready::retract(args);
    let stop = async {
        if let Some(demo) = demo {
            demo.stop(progress).await;
        }
        stack.stop(progress).await;
    };
    let stopped = tokio::select! {
        biased;
        signal = signals.next() => {
            progress.say(paint(WARN, format_args!("{signal} again: leaving at once")));
            Err(Failure::Interrupted)
        }
        () = stop => Ok(()),
    };
    ended.and(stopped)
}

/// What happens between start and stop; ends only if it fails.
async fn live(
    ctx: &Context,
    args: &Args,
    dir: &DataDir,
    stack: &Stack,
    progress: &Progress,
    demo: &mut Option<Demo>,
) -> Result<(), Failure> {
    ready::announce(dir, args, stack)?;
    banner::print(ctx, args, dir, stack)?;
    if args.demo {
        *demo = Some(Demo::start(ctx, dir, stack).await?);
    }
    supervise::run(stack, progress).await;
    Ok(())
}

async fn open_data_dir(path: Option<PathBuf>) -> Result<DataDir, Failure> {
    blocking(move || DataDir::open(path.as_deref())).await
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> agentnet_local::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::local("internal", "a task of the start panicked", "report this with the log")),
    }
}

impl From<agentnet_local::Error> for Failure {
    fn from(error: agentnet_local::Error) -> Self {
        use agentnet_local::Error as E;
        let hint = match &error {
            E::InUse { .. } => {
                "one `agentnet up` runs there already; commands in any terminal find it by themselves"
            }
            E::PortTaken { .. } => "leave the option out to take a free port",
            E::Missing { .. } | E::Override { .. } | E::OtherMajor { .. } => "then run `agentnet up` again",
            E::StartFailed { .. } | E::StartTimeout { .. } => "the log has more; -v shows causes",
            E::NotReachable { .. } => "name another directory with --data-dir",
            E::Io { .. } => "check the disk, the permissions and --data-dir",
            _ => "run it again with -v for the cause",
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::local(error.code(), format!("{error}{cause}"), hint)
    }
}

/// The file that tells other terminals about this network; `None` without a home directory.
fn context_path() -> Option<PathBuf> {
    context::path(&super::environment)
}
