//! The commands, one file each: its arguments and what it does.

pub mod api_key;
pub mod blob;
pub mod capability;
pub mod chat;
pub mod completions;
pub mod data;
pub mod deliveries;
pub mod enrol;
pub mod friends;
pub mod identity;
pub mod list;
pub mod message_search;
pub mod metrics;
pub mod nats_config;
pub mod online;
pub mod operator;
pub mod profile;
pub mod redrive;
pub mod request;
pub mod revoke;
pub mod search;
pub mod send;
pub mod status;
pub mod task;
pub mod thread;
pub mod thread_messages;
pub mod thread_status;
pub mod threads;
pub mod up;
pub mod user;
pub mod verify;
pub mod watch;
pub mod why;

mod ask;
pub mod attach;
mod join;
mod messages;
mod payload;
mod secret_input;
mod typed;

use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use agentnet::{AgentNodeBuilder, Identity, proto::rpc::Rpc};
use tokio::{runtime, signal};

use crate::{
    args::RpcTimeout,
    cli::{Command, Global},
    failure::Failure,
    network::{self, Link, Network, context::UserIdentity},
    output::{Out, note},
};

/// Names the identity to act as.
const IDENTITY_VARIABLE: &str = "AGENTNET_IDENTITY";

/// What the command line gives every command.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where and how to print.
    pub out: Out,
    global: Global,
    /// One for all that the command does.
    guest: Option<Identity>,
}

impl Context {
    /// The network this command is for.
    ///
    /// # Errors
    /// As [`Network::find`].
    pub fn network(&self) -> Result<Network, Failure> {
        let mut network = Network::find(self.global.nats_url.as_deref(), &environment)?;
        if let Some(name) = self.identity_name() {
            network.who = Some(UserIdentity { dir: PathBuf::new(), name });
        }
        network.guest.clone_from(&self.guest);
        if self.global.verbose > 0 {
            note(network::describe(&network));
        }
        Ok(network)
    }

    /// A connection to it.
    ///
    /// # Errors
    /// As [`Network::connect`]; an identity that was named and can't be used.
    pub async fn connect(&self, name: &str) -> Result<Link, Failure> {
        let link = self.network()?.connect(name).await?;
        if let Some(guest) = self.guest.as_ref().filter(|_| link.signer().is_none()) {
            return link.signed_by(guest).await;
        }
        match self.identity_name() {
            Some(name) if link.signer().is_none() => link.signed_by(&Identity::load(&name)?).await,
            _ => Ok(link),
        }
    }

    /// One question to the registry, over a connection of its own.
    ///
    /// # Errors
    /// As [`Context::connect`]; what the registry or the network answered.
    pub async fn ask<R: Rpc>(
        &self,
        name: &str,
        within: &RpcTimeout,
        request: &R::Request,
    ) -> Result<R::Response, Failure> {
        let link = self.connect(name).await?;
        let answer = link.registry(within.timeout).call::<R>(request).await;
        link.close().await;
        Ok(answer?)
    }

    /// Which identity to act as, if one was named: `--as`, else `AGENTNET_IDENTITY`.
    pub fn identity_name(&self) -> Option<String> {
        let named = || self.global.identity.clone().or_else(|| environment(IDENTITY_VARIABLE));
        if self.guest.is_some() { None } else { named() }
    }

    /// An agent to be, as the identity that was named or the person's own.
    ///
    /// # Errors
    /// As [`Network::agent`].
    pub fn agent(&self, network: &Network, agent_id: &str) -> Result<AgentNodeBuilder, Failure> {
        network.agent(agent_id)
    }

    /// Whether a network was named on the command line.
    pub fn names_network(&self) -> bool {
        self.global.nats_url.is_some()
    }

    /// The options of every command.
    pub fn global(&self) -> &Global {
        &self.global
    }
}

/// A variable of this process's environment; empty counts as unset.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A turning wheel on standard error while something takes long; silent when that is no terminal.
pub fn spinner(text: String) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let spinner = indicatif::ProgressBar::new_spinner().with_message(text);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// Runs a command to its end or to Ctrl-C.
///
/// # Errors
/// Why it didn't do what was asked.
pub fn run(command: Command, global: Global) -> Result<(), Failure> {
    let guest = global.guest.then(Identity::guest);
    let ctx = Context { out: Out::new(global.json), global, guest };
    if let Command::Completions(args) = &command {
        return completions::run(args);
    }
    if let Command::NatsConfig(args) = &command {
        return nats_config::run(&ctx, args);
    }
    match &command {
        Command::Attach(args) => return attach::attach(&ctx, args),
        Command::Detach => return attach::detach(&ctx),
        _ => {}
    }
    if let Command::Identity(args) = command {
        return identity::run(&ctx, args);
    }
    let runtime = match &command {
        // The services of `up` share its process.
        Command::Up(_) => runtime::Builder::new_multi_thread().enable_all().build()?,
        _ => runtime::Builder::new_current_thread().enable_all().build()?,
    };
    if !matches!(command, Command::Up(_)) {
        start_logs(&ctx.global)?;
    }
    let ended = runtime.block_on(async {
        match command {
            // These answer Ctrl-C themselves.
            Command::Up(args) => up::run(&ctx, args).await,
            Command::Chat(args) => chat::run(&ctx, args).await,
            Command::Send(args) => send::run(&ctx, args).await,
            Command::Request(args) => request::run(&ctx, args).await,
            other => tokio::select! {
                biased;
                _ = signal::ctrl_c() => Err(Failure::Interrupted),
                ended = dispatch(&ctx, other) => ended,
            },
        }
    });
    // A blocking read of standard input must not hold the exit.
    runtime.shutdown_background();
    ended
}

async fn dispatch(ctx: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(ctx, args).await,
        Command::Search(args) => search::run(ctx, args).await,
        Command::Profile(args) => profile::run(ctx, args).await,
        Command::Online(args) => online::run(ctx, args).await,
        Command::Friends(args) => friends::run(ctx, args).await,
        Command::Block(args) => friends::block(ctx, args).await,
        Command::Unblock(args) => friends::unblock(ctx, args).await,
        Command::Blocked(args) => friends::blocked(ctx, args).await,
        Command::Data(args) => data::run(ctx, args).await,
        Command::Task(args) => task::run(ctx, args).await,
        Command::Status(args) => status::run(ctx, args).await,
        Command::Watch(args) => watch::run(ctx, args).await,
        Command::Threads(args) => threads::run(ctx, args).await,
        Command::Thread(args) => thread::run(ctx, args).await,
        Command::Enrol(args) => enrol::run(ctx, args).await,
        Command::Blob(args) => blob::run(ctx, args).await,
        Command::User(args) => user::run(ctx, args).await,
        Command::ApiKey(args) => api_key::run(ctx, args).await,
        Command::Capability(args) => capability::run(ctx, args).await,
        Command::Operator(args) => operator::run(ctx, args).await,
        Command::Suspend(args) => operator::suspend(ctx, args).await,
        Command::Resume(args) => operator::resume(ctx, args).await,
        Command::ThreadStatus(args) => thread_status::run(ctx, args).await,
        Command::ThreadMessages(args) => thread_messages::run(ctx, args).await,
        Command::MessageSearch(args) => message_search::run(ctx, args).await,
        Command::Deliveries(args) => deliveries::run(ctx, args).await,
        Command::DeadLetters(args) => deliveries::dead_letters(ctx, args).await,
        Command::Redrive(args) => redrive::run(ctx, args).await,
        Command::Why(args) => why::run(ctx, args).await,
        Command::Verify(args) => verify::run(ctx, args).await,
        Command::Revoke(args) => revoke::run(ctx, args).await,
        Command::Metrics(args) => metrics::run(ctx, args).await,
        Command::Up(_)
        | Command::Chat(_)
        | Command::Send(_)
        | Command::Request(_)
        | Command::Identity(_)
        | Command::NatsConfig(_)
        | Command::Attach(_)
        | Command::Detach
        | Command::Completions(_) => Ok(()),
    }
}

/// Logs of the client library, for those who ask with `-vv`, a level or a file.
fn start_logs(global: &Global) -> Result<(), Failure> {
    let level = match (&global.log_level, global.verbose) {
        (Some(level), _) => level,
        (None, 0 | 1) if global.log_file.is_none() => return Ok(()),
        (None, 0..=2) => "info",
        (None, 3) => "debug,async_nats=info",
        (None, _) => "trace",
    };
    Ok(agentnet::logging::start(level, global.log_file.as_deref())?)
}
