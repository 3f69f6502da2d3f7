//! `agentnet friends add | list | remove | note`, `agentnet block`, `unblock` and `blocked`: whom an account knows, and whose
//! messages it refuses.

use agentnet::{
    RegistryClient,
    proto::rpc::{
        BlockListRequest, BlockRequest, BlockResponse, Peer, PeerAddRequest, PeerListRequest,
        PeerRemoveRequest,
    },
};

use super::{Context, messages::next_page, thread::account_of};
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::{clean, clean_block},
        style::{BAD, DIM, GOOD, paint},
        table::Table,
        time,
    },
};

/// Accounts that yours knows
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Who asks.
#[derive(Debug, clap::Args)]
pub struct As {
    /// The account that asks, by id or username; on an open network, where nothing proves it
    #[arg(long = "account", value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

impl As {
    /// The registry, and the account's id where it was named.
    pub(super) async fn ask(
        &self,
        link: &crate::network::Link,
    ) -> Result<(RegistryClient, Option<String>), Failure> {
        let registry = link.registry(self.rpc.timeout);
        let account = account_of(&registry, self.account.as_deref()).await?;
        Ok((registry, account))
    }
}

/// Which page of a list.
#[derive(Debug, clap::Args)]
pub struct Page {
    /// At most this many, 1 to 200
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: i64,
    /// Continue where the page before ended
    #[arg(long)]
    pub(super) cursor: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Note an account; adding it again changes the note, if you give one
    Add {
        /// By id or username
        #[arg(value_name = "ACCOUNT")]
        friend: String,
        /// For yourself
        #[arg(long)]
        note: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// Everybody you noted
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        by: As,
    },
    /// Forget an account
    Remove {
        /// By id or username
        #[arg(value_name = "ACCOUNT")]
        friend: String,
        #[command(flatten)]
        by: As,
    },
    /// Change what you noted about an account
    Note {
        /// By id or username
        #[arg(value_name = "ACCOUNT")]
        friend: String,
        /// For yourself; "" takes it away
        note: String,
        #[command(flatten)]
        by: As,
    },
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-friends").await?;
    match args.command {
        Command::Add { friend, note, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let answer = registry
                .peer_add(&PeerAddRequest { account_id, peer: friend, note, ..PeerAddRequest::default() })
                .await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                let how = if answer.added { "is a friend now" } else { "is a friend" };
                ctx.out.line(format!("{} {how}.", name(&answer.peer)))
            })
        }
        Command::Note { friend, note, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let request =
                PeerAddRequest { account_id, peer: friend, note: Some(note), ..PeerAddRequest::default() };
            let answer = registry.peer_add(&request).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| ctx.out.line(format!("{}: noted.", name(&answer.peer))))
        }
        Command::Remove { friend, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let answer = registry
                .peer_remove(&PeerRemoveRequest { account_id, peer: friend, ..PeerRemoveRequest::default() })
                .await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                let how = if answer.removed { "is no friend any more" } else { "was no friend" };
                ctx.out.line(format!("{} {how}.", clean(&answer.account_id)))
            })
        }
        Command::List { page, by } => {
            let (registry, account_id) = by.ask(&link).await?;
            let request = PeerListRequest { account_id, limit: Some(page.limit), cursor: page.cursor };
            let answer = registry.peer_list(&request).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                if answer.peers.is_empty() {
                    return ctx.out.line(paint(DIM, "No friends yet: `agentnet friends add NAME`."));
                }
                let mut table =
                    Table::new(&["Username", "Name", "Account", "Online", "Note"], ctx.out.width());
                for peer in &answer.peers {
                    table.row(vec![
                        peer.username.as_deref().map(|name| format!("@{}", clean(name))).unwrap_or_default(),
                        clean(peer.display_name.as_deref().unwrap_or_default()).into_owned(),
                        clean(&peer.account_id).into_owned(),
                        if peer.online { paint(GOOD, "yes") } else { paint(BAD, "no") },
                        clean_block(&peer.note).to_string(),
                    ]);
                }
                ctx.out.line(table.render())?;
                next_page(ctx, answer.next_cursor.as_deref())
            })
        }
    }
}

fn name(peer: &Peer) -> String {
    peer.username
        .as_deref()
        .map_or_else(|| clean(&peer.account_id).into_owned(), |name| format!("@{}", clean(name)))
}

/// An account whose messages are meant.
#[derive(Debug, clap::Args)]
pub struct Block {
    /// By id or username
    #[arg(value_name = "ACCOUNT")]
    target: String,
    #[command(flatten)]
    by: As,
}

/// Refuses an account's messages.
///
/// # Errors
/// What the registry or the network answered.
pub async fn block(ctx: &Context, args: Block) -> Result<(), Failure> {
    change(ctx, args, true, "is blocked: what it sends you is refused").await
}

/// Takes an account's messages again.
///
/// # Errors
/// What the registry or the network answered.
pub async fn unblock(ctx: &Context, args: Block) -> Result<(), Failure> {
    change(ctx, args, false, "isn't blocked").await
}

async fn change(ctx: &Context, args: Block, blocks: bool, what: &str) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-block").await?;
    let (registry, account_id) = args.by.ask(&link).await?;
    let request = BlockRequest { account_id, target: args.target.clone() };
    let answer: BlockResponse =
        if blocks { registry.block_add(&request).await? } else { registry.block_remove(&request).await? };
    link.close().await;
    ctx.out.show(&answer, |answer| {
        ctx.out.line(format!("{} ({}) {what}.", clean(&args.target), clean(&answer.account_id)))
    })
}

/// Whose messages you refuse.
#[derive(Debug, clap::Args)]
pub struct Blocked {
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    by: As,
}

/// Prints the blocked accounts.
///
/// # Errors
/// What the registry or the network answered.
pub async fn blocked(ctx: &Context, args: Blocked) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-block").await?;
    let (registry, account_id) = args.by.ask(&link).await?;
    let request = BlockListRequest { account_id, limit: Some(args.page.limit), cursor: args.page.cursor };
    let answer = registry.block_list(&request).await?;
    link.close().await;
    ctx.out.show(&answer, |answer| {
        if answer.blocked.is_empty() {
            return ctx.out.line(paint(DIM, "Nobody is blocked."));
        }
        let mut table = Table::new(&["Username", "Account", "Since (UTC)"], ctx.out.width());
        for row in &answer.blocked {
            table.row(vec![
                row.username.as_deref().map(|name| format!("@{}", clean(name))).unwrap_or_default(),
                clean(&row.account_id).into_owned(),
                time::date_time(&row.created_at),
            ]);
        }
        ctx.out.line(table.render())?;
        next_page(ctx, answer.next_cursor.as_deref())
    })
}
