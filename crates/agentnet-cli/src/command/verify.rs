//! `agentnet verify`.

use std::{fs, path::PathBuf};

use agentnet::{
    ErrorKind, RegistryClient,
    evidence::{Checked, Evidence},
};
use serde::Serialize;

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    network::context::write_private,
    output::{
        escape::clean,
        style::{BAD, DIM, GOOD, paint},
        table::Table,
        time,
    },
};

/// Check who sent stored messages, by their signatures
///
/// The messages and their senders' keys come from the network, the check happens here. With --export they are kept in a
/// file, which --from checks later, without any network.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["id", "from"]))]
pub struct Args {
    /// A message or a thread
    #[arg(value_name = "MESSAGE_ID | THREAD_ID")]
    pub id: Option<String>,
    /// Keep what was checked in this file
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub export: Option<PathBuf>,
    /// Check what is in this file
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

#[derive(Serialize)]
struct Report {
    deployment: String,
    proved: usize,
    unproved: usize,
    messages: Vec<Checked>,
}

/// Checks, and prints each message with what its signature says.
///
/// # Errors
/// `not_proved` when a message isn't its sender's; what can't be read or found.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let evidence = match (&args.from, &args.id) {
        (Some(file), _) => {
            let text = fs::read(file).map_err(|error| {
                Failure::local("evidence_file", format!("{}: {error}", file.display()), "check its name")
            })?;
            Evidence::from_json(&text)?
        }
        (None, id) => {
            let link = ctx.connect("agentnet-cli-verify").await?;
            let registry = link.registry(args.rpc.timeout);
            let found = collect(&registry, id.as_deref().unwrap_or_default()).await;
            link.close().await;
            found?
        }
    };
    if let Some(file) = &args.export {
        write_private(file, evidence.to_json().as_bytes())?;
    }
    let messages = evidence.check()?;
    let unproved = messages.iter().filter(|message| !message.is_proved()).count();
    let report =
        Report { deployment: evidence.deployment, proved: messages.len() - unproved, unproved, messages };
    ctx.out.show(&report, |report| people(ctx, report))?;
    if report.unproved == 0 { Ok(()) } else { Err(Failure::Reported(2)) }
}

/// An id doesn't say what it is of.
async fn collect(registry: &RegistryClient, id: &str) -> Result<Evidence, Failure> {
    match Evidence::of_message(registry, id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Evidence::of_thread(registry, id).await?),
        found => Ok(found?),
    }
}

fn people(ctx: &Context, report: &Report) -> Result<(), Failure> {
    let mut table =
        Table::new(&["Sent (UTC)", "Message ID", "From", "Signed by", "Verdict"], ctx.out.width());
    for message in &report.messages {
        let verdict = match &message.fault {
            None => paint(GOOD, "proved"),
            Some(code) => paint(BAD, clean(code)),
        };
        table.row(vec![
            time::date_time(&message.sent_at),
            clean(&message.message_id).into_owned(),
            clean(message.from_account_id.as_deref().unwrap_or("-")).into_owned(),
            clean(message.public_key.as_deref().unwrap_or("-")).into_owned(),
            verdict,
        ]);
    }
    ctx.out.line(table.render())?;
    let line = format!("{} proved, {} not, in {}", report.proved, report.unproved, clean(&report.deployment));
    ctx.out.line(paint(DIM, line))
}
