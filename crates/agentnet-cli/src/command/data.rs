//! `agentnet data put | get | list | delete`: JSON documents that accounts keep on the network.

use agentnet::proto::rpc::{DataDeleteRequest, DataGetRequest, DataListRequest, DataPutRequest};

use super::{
    Context,
    friends::{As, Page},
    messages::next_page,
    payload,
};
use crate::{
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, paint},
        table::{Table, number},
        text, time,
    },
};

/// JSON documents that accounts keep on the network
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep a JSON value under a key, in the place of what was there
    Put {
        /// At most 128 characters
        key: String,
        /// Any JSON value of at most 64 KiB; - reads standard input
        #[arg(value_name = "JSON")]
        value: String,
        /// Everybody may read it
        #[arg(long)]
        public: bool,
        #[command(flatten)]
        by: As,
    },
    /// Print the value of a key
    Get {
        /// The key
        key: String,
        /// Whose, by id or username; yours unless given
        #[arg(long, value_name = "ACCOUNT")]
        owner: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// Keys: yours, those that another account shows, or those that all show
    List {
        /// Whose, by id or username; yours unless given
        #[arg(long, value_name = "ACCOUNT", conflicts_with = "all")]
        owner: Option<String>,
        /// What all accounts show that aren't private
        #[arg(long)]
        all: bool,
        /// Only keys that start so, among those of one account
        #[arg(long, conflicts_with = "all")]
        prefix: Option<String>,
        /// With the values, as JSON
        #[arg(long)]
        values: bool,
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        by: As,
    },
    /// Remove a key
    Delete {
        /// The key
        key: String,
        #[command(flatten)]
        by: As,
    },
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered; a value that is no JSON.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let connect = ctx.connect("agentnet-cli-data");
    match args.command {
        Command::Put { key, value, public, by } => {
            let value = Some(payload::read(&value)?);
            let link = connect.await?;
            let (registry, account_id) = by.ask(&link).await?;
            let answer = registry.data_put(&DataPutRequest { account_id, key, value, public }).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                let document = &answer.document;
                let who = if document.public { "everybody reads it" } else { "only you read it" };
                let size = text::grouped(document.bytes);
                ctx.out.line(format!("{}: {size} bytes, {who}.", clean(&document.key)))
            })
        }
        Command::Get { key, owner, by } => {
            let link = connect.await?;
            let (registry, account_id) = by.ask(&link).await?;
            let answer = registry.data_get(&DataGetRequest { account_id, owner, key }).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                let value = answer.document.value.as_ref().map_or("null", |value| value.get());
                ctx.out.line(clean(value))
            })
        }
        Command::List { owner, all, prefix, values, page, by } => {
            let link = connect.await?;
            let (registry, account_id) = by.ask(&link).await?;
            let request = DataListRequest {
                account_id,
                owner,
                all,
                prefix,
                values,
                limit: Some(page.limit),
                cursor: page.cursor,
            };
            let answer = registry.data_list(&request).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                if answer.documents.is_empty() {
                    return ctx.out.line(paint(DIM, "No documents."));
                }
                let mut table = Table::new(
                    &["Key", "Account", "Bytes", "For", "Written (UTC)", "Value"],
                    ctx.out.width(),
                );
                for row in &answer.documents {
                    table.row(vec![
                        comfy_table::Cell::new(clean(&row.key)),
                        clean(&row.account_id).into(),
                        number(text::grouped(row.bytes)),
                        if row.public { "everybody" } else { "you" }.into(),
                        time::date_time(&row.updated_at).into(),
                        clean(row.value.as_ref().map_or("", |value| value.get())).into(),
                    ]);
                }
                ctx.out.line(table.render())?;
                next_page(ctx, answer.next_cursor.as_deref())
            })
        }
        Command::Delete { key, by } => {
            let link = connect.await?;
            let (registry, account_id) = by.ask(&link).await?;
            let answer = registry.data_delete(&DataDeleteRequest { account_id, key }).await?;
            link.close().await;
            ctx.out.show(&answer, |answer| {
                let how = if answer.deleted { "deleted" } else { "there was no such key" };
                ctx.out.line(format!("{}: {how}.", clean(&answer.key)))
            })
        }
    }
}
