//! `agentnet profile`.

use agentnet::proto::rpc::{GetProfile, Profile, ProfileRequest};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::{clean, clean_block},
        style::{BAD, BOLD, DIM, GOOD, paint},
        table::Table,
        text, time,
    },
};

/// One account with its sessions
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub who: Who,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Which account; exactly one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Who {
    /// The account with this id
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub account_id: Option<String>,
    /// The account of this username
    #[arg(long)]
    pub username: Option<String>,
}

/// Prints the account and its sessions.
///
/// # Errors
/// `not_found`, or what the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-profile").await?;
    let request = ProfileRequest { account_id: args.who.account_id, username: args.who.username };
    let answer = link.registry(args.rpc.timeout).call::<GetProfile>(&request).await;
    link.close().await;
    ctx.out.show(&answer?, |answer| people(ctx, &answer.profile))
}

fn people(ctx: &Context, profile: &Profile) -> Result<(), Failure> {
    let mut facts = Table::facts(ctx.out.width());
    facts.fact("Username", paint(BOLD, clean(&profile.username)));
    facts.fact("Name", clean(&profile.display_name));
    facts.fact("Account", clean(&profile.account_id));
    facts.fact("Online", if profile.online { paint(GOOD, "yes") } else { paint(BAD, "no") });
    facts.fact("Capabilities", text::join(&profile.capabilities));
    if !profile.bio.is_empty() {
        facts.fact("Bio", clean_block(&profile.bio));
    }
    facts.fact("Status", format!("{}, {}", clean(&profile.status), clean(&profile.visibility)));
    facts.fact("Created", format!("{} UTC", time::date_time(&profile.created_at)));
    facts.fact("Updated", format!("{} UTC", time::date_time(&profile.updated_at)));
    if !profile.metadata.is_empty() {
        let json = serde_json::to_string(&profile.metadata).unwrap_or_default();
        facts.fact("Metadata", clean(&json));
    }
    ctx.out.line(facts.render())?;
    if profile.online_sessions.is_empty() {
        return Ok(());
    }
    ctx.out.line(paint(DIM, "\nSessions"))?;
    let mut table =
        Table::new(&["Session", "Agent", "Registry", "Connected (UTC)", "Last seen"], ctx.out.width())
            .whole(&[0]);
    for session in &profile.online_sessions {
        table.row(vec![
            clean(&session.session_tag).into_owned(),
            clean(&session.agent_id).into_owned(),
            clean(&session.server_id).into_owned(),
            time::date_time(&session.connected_at),
            time::ago(&session.last_seen, ctx.out.now()),
        ]);
    }
    ctx.out.line(table.render())
}
