//! `agentnet deliveries` and `agentnet dead-letters`.

use agentnet::{
    RegistryClient,
    proto::rpc::{DeliveriesRequest, DeliveryRow},
};
use comfy_table::Cell;

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        names::Names,
        style::{DIM, paint},
        table::{Table, number},
        time,
    },
};

/// What both commands filter by.
#[derive(Debug, clap::Args)]
pub struct Filters {
    /// Only of this message
    #[arg(long)]
    pub message_id: Option<String>,
    /// Only in this thread
    #[arg(long)]
    pub thread_id: Option<String>,
    /// Only to this account, or to capability:NAME
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub to_account: Option<String>,
    /// Only to the account of this username
    #[arg(long, value_name = "USERNAME", conflicts_with = "to_account")]
    pub to_username: Option<String>,
    /// Only from this account
    #[arg(long, value_name = "ACCOUNT_ID")]
    pub from_account: Option<String>,
    /// At most this many, 1 to 200
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: i64,
    /// Continue where the page before ended
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// What became of messages, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only in this state
    #[arg(long, value_parser = ["pending", "accepted", "processed", "rejected", "expired", "dead"])]
    pub state: Option<String>,
    #[command(flatten)]
    pub filters: Filters,
}

/// Messages whose attempts are used up
#[derive(Debug, clap::Args)]
pub struct DeadLetters {
    #[command(flatten)]
    pub filters: Filters,
}

/// Prints one row for each delivery.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    show(ctx, args.filters, args.state, "No delivery fits.").await
}

/// As [`run`], for what is dead.
///
/// # Errors
/// What the registry or the network answered.
pub async fn dead_letters(ctx: &Context, args: DeadLetters) -> Result<(), Failure> {
    show(ctx, args.filters, Some("dead".to_owned()), "No dead letters.").await
}

async fn show(ctx: &Context, filters: Filters, state: Option<String>, none: &str) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-deliveries").await?;
    let registry = link.registry(filters.rpc.timeout);
    let recipient = recipient(&registry, filters.to_account, filters.to_username.as_deref()).await?;
    let request = DeliveriesRequest {
        message_id: filters.message_id,
        thread_id: filters.thread_id,
        recipient,
        sender_account_id: filters.from_account,
        state,
        limit: Some(filters.limit),
        cursor: filters.cursor,
    };
    let answer = registry.deliveries(&request).await?;
    let mut names = Names::default();
    if !ctx.out.is_json() {
        names.learn(&registry, accounts(&answer.deliveries)).await;
    }
    link.close().await;
    ctx.out.show(&answer, |answer| {
        if answer.deliveries.is_empty() {
            return ctx.out.line(paint(DIM, none));
        }
        ctx.out.line(table(ctx, &answer.deliveries, &names))?;
        super::messages::next_page(ctx, answer.next_cursor.as_deref())
    })
}

/// The account or capability that an option names.
pub(super) async fn recipient(
    registry: &RegistryClient,
    account: Option<String>,
    username: Option<&str>,
) -> Result<Option<String>, Failure> {
    match username {
        Some(name) => Ok(Some(registry.resolve_account(name).await?.account_id)),
        None => Ok(account),
    }
}

/// Everybody in the rows.
pub(super) fn accounts(rows: &[DeliveryRow]) -> impl Iterator<Item = &str> {
    rows.iter().flat_map(|row| {
        let recipient = Some(row.recipient.as_str()).filter(|name| !name.contains(':'));
        [row.sender_account_id.as_deref(), recipient].into_iter().flatten()
    })
}

fn table(ctx: &Context, rows: &[DeliveryRow], names: &Names) -> String {
    let columns =
        ["Message ID", "Sent (UTC)", "From", "To", "State", "Attempts", "Again", "Next / ended", "Why"];
    let mut table = Table::new(&columns, ctx.out.width());
    for row in rows {
        table.row(vec![
            Cell::new(clean(&row.message_id)),
            Cell::new(time::date_time(&row.sent_at)),
            Cell::new(row.sender_account_id.as_deref().map_or_else(|| "-".to_owned(), |id| names.of(id))),
            Cell::new(names.of(&row.recipient)),
            Cell::new(clean(&row.state)),
            number(row.attempts),
            number(row.redeliveries),
            Cell::new(when(ctx, row)),
            Cell::new(row.last_code.as_deref().map_or_else(|| "-".into(), clean)),
        ]);
    }
    table.render()
}

/// When it ended, or when the network tries next.
pub(super) fn when(ctx: &Context, row: &DeliveryRow) -> String {
    match (&row.finished_at, &row.next_attempt_at) {
        (Some(at), _) => time::ago(at, ctx.out.now()),
        (None, _) if row.waits_for_recipient => "when somebody comes".to_owned(),
        (None, Some(at)) => format!("{} UTC", time::when(at, ctx.out.now())),
        (None, None) => "-".to_owned(),
    }
}
