//! `agentnet user create | list | password | disable | enable`: people, who come in over HTTP.

use agentnet::proto::rpc::{
    self, StandingRequest, UserCreateRequest, UserListRequest, UserResponse, UserRow, UserSetPasswordRequest,
};

use super::{
    Context,
    secret_input::{self, Given},
};
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

/// Name of its connections.
const LINK: &str = "agentnet-cli-user";

/// People, who come in over HTTP with a password
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a person's account; the password is asked for
    Create(Create),
    /// People by username
    List(List),
    /// Give a person another password, which ends all their logins
    Password(Password),
    /// Lock a person out, and end all their logins
    Disable(Target),
    /// Let a person in again
    Enable(Target),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The username
    username: String,
    /// Name for people; the username unless given
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The person runs the network
    #[arg(long)]
    operator: bool,
    #[command(flatten)]
    password: Given,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Args)]
struct List {
    /// At most this many, 1 to 200
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=200))]
    limit: i64,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Args)]
struct Password {
    /// The account's id or username; one's own unless given
    #[arg(value_name = "ACCOUNT")]
    target: Option<String>,
    /// Ask for the password so far, too: one's own takes it
    #[arg(long)]
    old: bool,
    #[command(flatten)]
    password: Given,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The account's id or username
    #[arg(value_name = "ACCOUNT")]
    target: String,
    #[command(flatten)]
    rpc: RpcTimeout,
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered; `password_*`.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create(args) => create(ctx, args).await,
        Command::List(args) => list(ctx, args).await,
        Command::Password(args) => password(ctx, args).await,
        Command::Disable(target) => disable(ctx, target).await,
        Command::Enable(target) => enable(ctx, target).await,
    }
}

async fn create(ctx: &Context, args: Create) -> Result<(), Failure> {
    let request = UserCreateRequest {
        username: args.username,
        password: args.password.new_password()?,
        display_name: args.display_name,
        role: args.operator.then(|| "operator".to_owned()),
        ..UserCreateRequest::default()
    };
    let answer = ctx.ask::<rpc::UserCreate>(LINK, &args.rpc, &request).await?;
    report(ctx, &answer, "may log in")
}

async fn password(ctx: &Context, args: Password) -> Result<(), Failure> {
    let old_password = if args.old { Some(secret_input::ask("Password so far: ")?) } else { None };
    let new_password = args.password.new_password()?;
    let request =
        UserSetPasswordRequest { account_id: None, target: args.target, old_password, new_password };
    let answer = ctx.ask::<rpc::UserSetPassword>(LINK, &args.rpc, &request).await?;
    report(ctx, &answer, "has another password; all logins ended")
}

async fn disable(ctx: &Context, target: Target) -> Result<(), Failure> {
    let request = StandingRequest { account_id: None, target: target.target };
    let answer = ctx.ask::<rpc::UserDisable>(LINK, &target.rpc, &request).await?;
    report(ctx, &answer, "is locked out; all logins ended")
}

async fn enable(ctx: &Context, target: Target) -> Result<(), Failure> {
    let request = StandingRequest { account_id: None, target: target.target };
    let answer = ctx.ask::<rpc::UserEnable>(LINK, &target.rpc, &request).await?;
    report(ctx, &answer, "may log in again")
}

fn report(ctx: &Context, answer: &UserResponse, what: &str) -> Result<(), Failure> {
    ctx.out.show(answer, |answer| {
        let UserRow { username, account_id, .. } = &answer.user;
        ctx.out.line(format!("@{} ({}) {what}.", clean(username), clean(account_id)))
    })
}

async fn list(ctx: &Context, args: List) -> Result<(), Failure> {
    let request = UserListRequest { limit: Some(args.limit), cursor: args.cursor };
    let answer = ctx.ask::<rpc::UserList>(LINK, &args.rpc, &request).await?;
    ctx.out.show(&answer, |answer| {
        if answer.users.is_empty() {
            return ctx.out.line(paint(DIM, "Nobody; `agentnet user create NAME` makes an account."));
        }
        let mut table =
            Table::new(&["Username", "Name", "Account", "Role", "Status", "Last login"], ctx.out.width());
        for user in &answer.users {
            let last = user.last_login_at.as_deref().map_or_else(|| "never".to_owned(), time::date_time);
            table.row(vec![
                format!("@{}", clean(&user.username)),
                clean(&user.display_name).into_owned(),
                clean(&user.account_id).into_owned(),
                clean(&user.role).into_owned(),
                clean(&user.status).into_owned(),
                last,
            ]);
        }
        ctx.out.line(table.render())?;
        match &answer.next_cursor {
            Some(cursor) => ctx.out.line(paint(DIM, format!("more: --cursor {}", clean(cursor)))),
            None => Ok(()),
        }
    })
}
