//! `agentnet thread create | invite | join | leave | eject | members`: threads that only members post to and read.

use agentnet::{
    RegistryClient, Target,
    proto::rpc::{
        MemberRole, MemberState, ThreadCreateRequest, ThreadEjectRequest, ThreadInviteRequest,
        ThreadJoinRequest, ThreadMembersRequest, ThreadMembersResponse,
    },
};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, paint},
        table::Table,
        time,
    },
};

/// Threads with members: only they post there and read
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Who asks.
#[derive(Debug, clap::Args)]
struct As {
    /// The account that asks, by id or username; on an open network, where nothing proves it
    #[arg(long = "account", value_name = "ACCOUNT")]
    account: Option<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a thread, and own it
    Create {
        /// The thread's id; made up unless given
        #[arg(long)]
        thread_id: Option<String>,
        /// For people
        #[arg(long, default_value = "")]
        title: String,
        /// Whoever wants may join
        #[arg(long)]
        public: bool,
        /// Accounts to invite, by id or username
        #[arg(value_name = "ACCOUNT")]
        invite: Vec<String>,
        #[command(flatten)]
        by: As,
    },
    /// Invite accounts
    Invite {
        /// The thread
        thread_id: String,
        /// By id or username
        #[arg(value_name = "ACCOUNT", required = true)]
        invite: Vec<String>,
        #[command(flatten)]
        by: As,
    },
    /// Join a thread
    Join {
        /// The thread
        thread_id: String,
        #[command(flatten)]
        by: As,
    },
    /// Leave a thread, or decline an invitation
    Leave {
        /// The thread
        thread_id: String,
        #[command(flatten)]
        by: As,
    },
    /// Put members out, or take invitations back
    Eject {
        /// The thread
        thread_id: String,
        /// By id or username
        #[arg(value_name = "ACCOUNT", required = true)]
        eject: Vec<String>,
        #[command(flatten)]
        by: As,
    },
    /// Who is in a thread or invited
    Members {
        /// The thread
        thread_id: String,
        #[command(flatten)]
        rpc: RpcTimeout,
    },
}

/// Does what the subcommand says, and prints who is in the thread then.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-thread").await?;
    let answer = match args.command {
        Command::Create { thread_id, title, public, invite, by } => {
            let registry = link.registry(by.rpc.timeout);
            let (account_id, invite) = (asks(&registry, &by).await?, ids(&registry, &invite).await?);
            registry
                .thread_create(&ThreadCreateRequest { account_id, thread_id, title, public, invite })
                .await?
        }
        Command::Invite { thread_id, invite, by } => {
            let registry = link.registry(by.rpc.timeout);
            let (account_id, invite) = (asks(&registry, &by).await?, ids(&registry, &invite).await?);
            registry.thread_invite(&ThreadInviteRequest { account_id, thread_id, invite }).await?
        }
        Command::Join { thread_id, by } => {
            let registry = link.registry(by.rpc.timeout);
            let account_id = asks(&registry, &by).await?;
            registry.thread_join(&ThreadJoinRequest { account_id, thread_id }).await?
        }
        Command::Leave { thread_id, by } => {
            let registry = link.registry(by.rpc.timeout);
            let account_id = asks(&registry, &by).await?;
            registry.thread_leave(&ThreadJoinRequest { account_id, thread_id }).await?
        }
        Command::Eject { thread_id, eject, by } => {
            let registry = link.registry(by.rpc.timeout);
            let (account_id, eject) = (asks(&registry, &by).await?, ids(&registry, &eject).await?);
            registry.thread_eject(&ThreadEjectRequest { account_id, thread_id, eject }).await?
        }
        Command::Members { thread_id, rpc } => {
            link.registry(rpc.timeout).thread_members(&ThreadMembersRequest { thread_id }).await?
        }
    };
    link.close().await;
    show(ctx, &answer)
}

async fn asks(registry: &RegistryClient, by: &As) -> Result<Option<String>, Failure> {
    account_of(registry, by.account.as_deref()).await
}

/// The account's id, of what a person calls it by.
pub(super) async fn account_of(
    registry: &RegistryClient,
    account: Option<&str>,
) -> Result<Option<String>, Failure> {
    match account {
        Some(account) => Ok(Some(id(registry, account).await?)),
        None => Ok(None),
    }
}

async fn ids(registry: &RegistryClient, accounts: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::with_capacity(accounts.len());
    for account in accounts {
        ids.push(id(registry, account).await?);
    }
    Ok(ids)
}

async fn id(registry: &RegistryClient, account: &str) -> Result<String, Failure> {
    match Target::parse(account)? {
        Target::Account(id) => Ok(id.to_string()),
        Target::Username(name) => Ok(registry.resolve_account(&name).await?.account_id),
        Target::Capability(_) | Target::Thread(_) => Err(Failure::local(
            "invalid_target",
            format!("{account} is no account"),
            "name accounts by id or username",
        )),
    }
}

fn show(ctx: &Context, answer: &ThreadMembersResponse) -> Result<(), Failure> {
    ctx.out.show(answer, |answer| {
        let public = if answer.public { ", public" } else { "" };
        ctx.out.line(format!("{}{public}  {}", clean(&answer.thread_id), clean(&answer.title)))?;
        if answer.members.is_empty() {
            return ctx.out.line(paint(DIM, "Nobody is in it."));
        }
        let mut table = Table::new(&["Username", "Account", "Role", "State", "Since"], ctx.out.width());
        for member in &answer.members {
            let username = member.username.as_deref().map(|name| format!("@{}", clean(name)));
            table.row(vec![
                username.unwrap_or_default(),
                clean(&member.account_id).into_owned(),
                role(member.role).to_owned(),
                state(member.state).to_owned(),
                time::date_time(&member.updated_at),
            ]);
        }
        ctx.out.line(table.render())
    })
}

fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Owner => "owner",
        MemberRole::Member => "member",
        MemberRole::Other => "?",
    }
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Invited => "invited",
        MemberState::Joined => "joined",
        MemberState::Left => "left",
        MemberState::Ejected => "ejected",
        MemberState::Other => "?",
    }
}
