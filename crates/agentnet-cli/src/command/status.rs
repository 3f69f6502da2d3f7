//! `agentnet status set | show`: how an agent says it is.

use std::collections::BTreeMap;

use agentnet::proto::rpc::{self, SetStatusRequest, StatusListRequest, StatusView};

use super::{Context, friends::As, thread::account_of};
use crate::{
    failure::Failure,
    output::{
        escape::clean,
        style::{BAD, GOOD, paint},
    },
};

/// How an agent says it is: only active ones are given tasks
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say how an agent is
    Set {
        /// active, inactive, busy, stale, maintenance or error
        status: String,
        /// A figure of its load, such as cpu_usage=0.4; may be given several times
        #[arg(long = "load", value_name = "NAME=NUMBER", value_parser = figure)]
        load: Vec<(String, f64)>,
        /// The account it is about, by id or username; your own unless given
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// What agents said
    Show {
        /// By id or username
        #[arg(value_name = "ACCOUNT", required = true)]
        agents: Vec<String>,
        #[command(flatten)]
        by: As,
    },
}

fn figure(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=NUMBER")?;
    let value: f64 = value.trim().parse().map_err(|_| format!("{value:?} is no number"))?;
    match name.trim() {
        "" => Err("a figure needs a name".to_owned()),
        name => Ok((name.to_owned(), value)),
    }
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-status").await?;
    match args.command {
        Command::Set { status, load, agent, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let load_metrics: BTreeMap<String, f64> = load.into_iter().collect();
            let request = SetStatusRequest { account_id, target: agent, status: Some(status), load_metrics };
            let answer = registry.call::<rpc::SetStatus>(&request).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| ctx.out.line(line(&answer.status)))
        }
        Command::Show { agents, by } => {
            let (registry, _) = by.ask(&link).await?;
            let mut accounts = Vec::with_capacity(agents.len());
            for agent in &agents {
                accounts.extend(account_of(&registry, Some(agent)).await?);
            }
            let answer = registry.call::<rpc::StatusList>(&StatusListRequest { accounts }).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                for agent in &answer.agents {
                    let tasks =
                        format!("{} tasks in hand, {} completed", agent.tasks_in_hand, agent.tasks_completed);
                    ctx.out.line(format!("{}, {tasks}", line(&agent.status)))?;
                }
                Ok(())
            })
        }
    }
}

fn line(status: &StatusView) -> String {
    let style = if status.status == agentnet::proto::task::AgentStatus::Active { GOOD } else { BAD };
    let load = status.load_metrics.iter().map(|(name, value)| format!(" {}={value}", clean(name)));
    let load: String = load.collect();
    format!("{} is {}{load}", clean(&status.account_id), paint(style, status.status.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(figure("cpu_usage=0.5"), Ok(("cpu_usage".to_owned(), 0.5)));
        for bad in ["cpu", "=1", "cpu=x", "cpu="] {
            assert!(figure(bad).is_err(), "{bad}");
        }
    }
}
