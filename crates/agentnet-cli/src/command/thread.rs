//! `agentnet thread create | invite | accept | join | leave | eject | close | members | list | read | set | role`: threads
//! that only members post to and read.

use agentnet::{
    RegistryClient, Target,
    proto::rpc::{
        Conversation, ConversationListRequest, ConversationListResponse, MemberRole, MemberState,
        ThreadCreateRequest, ThreadEjectRequest, ThreadInviteRequest, ThreadJoinRequest,
        ThreadMembersRequest, ThreadMembersResponse, ThreadReadRequest, ThreadRoleRequest,
        ThreadUpdateRequest,
    },
};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::{clean, clean_block},
        style::{DIM, paint},
        table::{Table, number},
        text, time,
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
        /// What it is about
        #[arg(long, default_value = "")]
        subject: String,
        /// Whoever wants may join
        #[arg(long)]
        public: bool,
        /// A JSON object that its members see
        #[arg(long, value_name = "JSON", value_parser = json_object)]
        metadata: Option<Metadata>,
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
    /// Join a thread: one that you are invited to, or that is public
    #[command(visible_alias = "accept")]
    Join {
        /// The thread
        thread_id: String,
        #[command(flatten)]
        by: As,
    },
    /// Leave a thread, or decline an invitation; an owner that leaves hands over to the member that came first
    #[command(visible_alias = "decline")]
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
    /// Close a thread for good: members still read it, nobody posts any more
    Close {
        /// The thread
        thread_id: String,
        #[command(flatten)]
        by: As,
    },
    /// Change what a thread says about itself; what isn't given stays
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
    Set {
        /// The thread
        thread_id: String,
        /// For people
        #[arg(long, group = "what")]
        title: Option<String>,
        /// What it is about
        #[arg(long, group = "what")]
        subject: Option<String>,
        /// Whether whoever wants may join
        #[arg(long, group = "what", value_name = "BOOL")]
        public: Option<bool>,
        /// A JSON object that its members see
        #[arg(long, group = "what", value_name = "JSON", value_parser = json_object)]
        metadata: Option<Metadata>,
        #[command(flatten)]
        by: As,
    },
    /// Say what a member may do
    Role {
        /// The thread
        thread_id: String,
        /// By id or username
        member: String,
        /// An owner does everything; an admin invites, ejects members and describes the thread
        #[arg(value_parser = ["owner", "admin", "member"])]
        role: String,
        #[command(flatten)]
        by: As,
    },
    /// Your threads, latest activity first, with what you haven't read there
    List {
        /// Only those that you are invited to
        #[arg(long)]
        invited: bool,
        /// Only those with something unread
        #[arg(long)]
        unread: bool,
        /// At most this many, 1 to 100
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: i64,
        /// Continue where the page before ended
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// Note how far you have read: everything, or up to a message
    Read {
        /// The thread
        thread_id: String,
        /// The last message that you read
        #[arg(long, value_name = "MESSAGE_ID")]
        up_to: Option<String>,
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
        Command::Create { thread_id, title, subject, public, metadata, invite, by } => {
            let registry = link.registry(by.rpc.timeout);
            let (account_id, invite) = (asks(&registry, &by).await?, ids(&registry, &invite).await?);
            let metadata = metadata.unwrap_or_default();
            let request =
                ThreadCreateRequest { account_id, thread_id, title, subject, public, metadata, invite };
            registry.thread_create(&request).await?
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
        Command::Close { thread_id, by } => {
            let registry = link.registry(by.rpc.timeout);
            let account_id = asks(&registry, &by).await?;
            registry.thread_close(&ThreadJoinRequest { account_id, thread_id }).await?
        }
        Command::Set { thread_id, title, subject, public, metadata, by } => {
            let registry = link.registry(by.rpc.timeout);
            let account_id = asks(&registry, &by).await?;
            let request = ThreadUpdateRequest { account_id, thread_id, title, subject, public, metadata };
            registry.thread_update(&request).await?
        }
        Command::Role { thread_id, member, role, by } => {
            let registry = link.registry(by.rpc.timeout);
            let (account_id, member) = (asks(&registry, &by).await?, id(&registry, &member).await?);
            let role = match role.as_str() {
                "owner" => MemberRole::Owner,
                "admin" => MemberRole::Admin,
                _ => MemberRole::Member,
            };
            registry.thread_role(&ThreadRoleRequest { account_id, thread_id, member, role }).await?
        }
        Command::List { invited, unread, limit, cursor, by } => {
            let registry = link.registry(by.rpc.timeout);
            let account_id = asks(&registry, &by).await?;
            let request = ConversationListRequest {
                account_id,
                state: invited.then_some(MemberState::Invited),
                unread_only: unread,
                limit: Some(limit),
                cursor,
            };
            let answer = registry.conversation_list(&request).await?;
            link.close().await;
            return ctx.out.show(&answer, |answer| list(ctx, answer));
        }
        Command::Read { thread_id, up_to, by } => {
            let registry = link.registry(by.rpc.timeout);
            let account_id = asks(&registry, &by).await?;
            let answer = registry.thread_read(&ThreadReadRequest { account_id, thread_id, up_to }).await?;
            link.close().await;
            return ctx.out.show(&answer, |answer| {
                ctx.out.line(format!("{} unread in {}", answer.unread, clean(&answer.thread_id)))
            });
        }
        Command::Members { thread_id, rpc } => {
            link.registry(rpc.timeout).thread_members(&ThreadMembersRequest { thread_id }).await?
        }
    };
    link.close().await;
    show(ctx, &answer)
}

/// A JSON object.
pub(super) type Metadata = serde_json::Map<String, serde_json::Value>;

/// Reads one.
pub(super) fn json_object(text: &str) -> Result<Metadata, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("no JSON object: {error}; quote it for the shell: '{{\"team\": \"blue\"}}'"))
}

fn list(ctx: &Context, answer: &ConversationListResponse) -> Result<(), Failure> {
    if answer.conversations.is_empty() {
        return ctx.out.line(paint(DIM, "No thread with members fits."));
    }
    let columns = ["Thread ID", "Title", "Unread", "Messages", "Members", "You", "Last activity"];
    let mut table = Table::new(&columns, ctx.out.width()).whole(&[0, 6]);
    for row in &answer.conversations {
        let last = row.last_message_at.as_deref().unwrap_or(&row.updated_at);
        table.row(vec![
            comfy_table::Cell::new(clean(&row.thread_id)),
            clean(&row.title).into(),
            number(text::grouped(row.unread)),
            number(text::grouped(row.message_count)),
            number(text::grouped(row.members)),
            stands(row).into(),
            time::ago(last, ctx.out.now()).into(),
        ]);
    }
    ctx.out.line(table.render())?;
    super::messages::next_page(ctx, answer.next_cursor.as_deref())
}

fn stands(row: &Conversation) -> String {
    let how = if row.state == MemberState::Joined { role(row.role) } else { state(row.state) };
    if row.closed_at.is_some() { format!("{how}, closed") } else { how.to_owned() }
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
        let closed = answer
            .closed_at
            .as_deref()
            .map_or_else(String::new, |at| format!(", closed {} UTC", time::date_time(at)));
        ctx.out.line(format!("{}{public}{closed}  {}", clean(&answer.thread_id), clean(&answer.title)))?;
        if !answer.subject.is_empty() {
            ctx.out.line(paint(DIM, clean_block(&answer.subject)))?;
        }
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
        MemberRole::Admin => "admin",
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
