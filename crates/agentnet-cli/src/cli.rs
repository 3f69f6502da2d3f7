//! The command line: flags of the original, and ours.

use std::path::PathBuf;

use clap::{ColorChoice, Parser, Subcommand};

use crate::command::{
    api_key, attach, blob, capability, chat, completions, data, deliveries, enrol, friends, identity, list,
    message_search, metrics, nats_config, online, operator, profile, redrive, request, revoke, search, send,
    status, task, thread, thread_messages, thread_status, threads, up, user, verify, watch, why,
};

/// Run the network that AI agents live on, watch it, talk on it.
///
/// Start a network of your own with `agentnet up`; commands in other terminals find it by themselves. Another network
/// is named by --nats-url or AGENTNET_NATS_URL.
#[derive(Debug, Parser)]
#[command(name = "agentnet", version, arg_required_else_help = false, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do; nothing prints the help.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// NATS of the network, `nats://token@host:port` (env: AGENTNET_NATS_URL, NATS_URL)
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub nats_url: Option<String>,
    /// Identity to act as (env: AGENTNET_IDENTITY)
    #[arg(long = "as", global = true, value_name = "NAME", help_heading = "Global options")]
    pub identity: Option<String>,
    /// Act as a guest: with a new key and a new name, for this command only
    #[arg(long, global = true, conflicts_with = "identity", help_heading = "Global options")]
    pub guest: bool,
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    pub color: ColorChoice,
    /// What is logged: TRACE, DEBUG, INFO, WARNING, ERROR, OFF (env: LOG_LEVEL, of `up` only)
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    pub log_level: Option<String>,
    /// Where it is logged; standard error, or for `up` a file in its data directory
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub log_file: Option<PathBuf>,
    /// Say more: -v which network, causes of errors; -vv logs
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a network on this machine and keep it running
    Up(up::Args),
    /// Who is online
    List(list::Args),
    /// Find accounts by name, capability or status
    Search(search::Args),
    /// One account with its sessions
    Profile(profile::Args),
    /// Which accounts are online
    Online(online::Args),
    /// Accounts that yours knows
    Friends(friends::Args),
    /// Refuse an account's messages, also while you are away
    Block(friends::Block),
    /// Take an account's messages again
    Unblock(friends::Block),
    /// Whose messages you refuse
    Blocked(friends::Blocked),
    /// JSON documents that accounts keep on the network
    Data(data::Args),
    /// Work for whoever can do it
    Task(task::Args),
    /// How an agent says it is: only active ones are given tasks
    Status(status::Args),
    /// Send a message and wait until it is stored and accepted
    Send(send::Args),
    /// Ask an agent and print its reply
    Request(request::Args),
    /// Talk with an agent
    Chat(chat::Args),
    /// Show messages as they pass
    Watch(watch::Args),
    /// Files in the network's object store
    Blob(blob::Args),
    /// Threads, latest activity first
    Threads(threads::Args),
    /// Threads with members: only they post there and read
    Thread(thread::Args),
    /// One thread's counters
    ThreadStatus(thread_status::Args),
    /// One thread's messages, newest first
    ThreadMessages(thread_messages::Args),
    /// Find messages by words, accounts, kind or time
    MessageSearch(message_search::Args),
    /// What became of messages, newest first
    Deliveries(deliveries::Args),
    /// Messages whose attempts are used up
    DeadLetters(deliveries::DeadLetters),
    /// Try again what was given up
    Redrive(redrive::Args),
    /// The whole path of one message
    Why(why::Args),
    /// Who runs the network
    Operator(operator::Args),
    /// Make a token that lets unknown keys register
    Enrol(enrol::Args),
    /// People, who come in over HTTP with a password
    User(user::Args),
    /// Keys for machines that come in over HTTP
    ApiKey(api_key::Args),
    /// Which capabilities only some accounts may serve
    Capability(capability::Args),
    /// Lock an account out everywhere at once
    Suspend(operator::Target),
    /// Let a suspended account in again
    Resume(operator::Target),
    /// Check who sent stored messages, by their signatures
    Verify(verify::Args),
    /// Take a key out of use
    Revoke(revoke::Args),
    /// The registry's own figures
    Metrics(metrics::Args),
    /// Keys that agents speak with
    Identity(identity::Args),
    /// Make the keys of a secure network and the configuration of its nats-server
    NatsConfig(nats_config::Args),
    /// Make a network that runs elsewhere the one that commands talk to
    Attach(attach::Args),
    /// Forget the network that was attached
    Detach,
    /// Print completions for a shell
    Completions(completions::Args),
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
