//! `agentnet profile`.

use agentnet::proto::rpc::{GetProfile, Profile, ProfileRequest, ProfileUpdateRequest};

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

/// One account with its sessions, or a change of one's own
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    set: Option<Change>,
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

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Change what one's own account says about itself; what isn't given stays
    Set(Set),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
struct Set {
    /// Name for people
    #[arg(long, group = "what")]
    display_name: Option<String>,
    /// What the account says about itself; several lines are fine
    #[arg(long, group = "what")]
    bio: Option<String>,
    /// URL of a picture, http or https; "" takes it away
    #[arg(long, group = "what", value_name = "URL")]
    avatar_url: Option<String>,
    /// What the account can do; give it once for each, "" for none
    #[arg(long = "capability", group = "what", value_name = "CAPABILITY")]
    capabilities: Vec<String>,
    /// Whether search shows it to others; on an open network, where anybody may be anybody, it shows private accounts too
    #[arg(long, group = "what", value_parser = ["public", "private"])]
    visibility: Option<String>,
    /// A JSON object that others see
    #[arg(long, group = "what", value_name = "JSON")]
    metadata: Option<String>,
    /// The account that asks, by id or username; on an open network, where nothing proves it
    #[arg(long = "account", value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

async fn set(ctx: &Context, set: Set) -> Result<(), Failure> {
    let metadata = match &set.metadata {
        None => None,
        Some(text) => match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            Ok(object) => Some(object),
            Err(error) => {
                let detail = format!("--metadata is no JSON object: {error}");
                return Err(Failure::local(
                    "invalid_json",
                    detail,
                    "quote it for the shell: '{\"team\": \"blue\"}'",
                ));
            }
        },
    };
    let capabilities = (!set.capabilities.is_empty())
        .then(|| set.capabilities.into_iter().filter(|name| !name.is_empty()).collect());
    let link = ctx.connect("agentnet-cli-profile").await?;
    let registry = link.registry(set.rpc.timeout);
    let account_id = super::thread::account_of(&registry, set.account.as_deref()).await?;
    let request = ProfileUpdateRequest {
        account_id,
        display_name: set.display_name,
        bio: set.bio,
        avatar_url: set.avatar_url,
        capabilities,
        visibility: set.visibility,
        metadata,
    };
    let answer = registry.profile_update(&request).await?;
    link.close().await;
    ctx.out.show(&answer, |answer| {
        let name = (clean(&answer.username), clean(&answer.display_name), clean(&answer.visibility));
        ctx.out.line(format!("@{} is {}, {}", name.0, name.1, name.2))
    })
}

/// Prints the account and its sessions.
///
/// # Errors
/// `not_found`, or what the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    if let Some(Change::Set(change)) = args.set {
        return set(ctx, change).await;
    }
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
    if !profile.avatar_url.is_empty() {
        facts.fact("Picture", clean(&profile.avatar_url));
    }
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
