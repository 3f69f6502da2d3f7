//! Stored messages as rows: what `thread-messages` and `message-search` share.

use std::collections::HashSet;

use agentnet::{RegistryClient, proto::rpc::MessageRow};

use super::Context;
use crate::{
    failure::Failure,
    output::{
        escape::clean,
        names::Names,
        style::{DIM, paint, person},
        table::Table,
        text, time,
    },
};

/// Least columns a preview gets on a narrow terminal, where it then wraps with the rest.
const LEAST_PREVIEW: usize = 24;
/// Columns of a terminal on which thread ids leave room for the text.
const WIDE: u16 = 120;
/// Longest preview in a pipe.
const PIPE_PREVIEW: usize = 240;

/// Learns the names of everybody in `rows`.
pub async fn learn_names(registry: &RegistryClient, rows: &[MessageRow]) -> Names {
    let mut names = Names::default();
    let accounts: HashSet<&str> = rows
        .iter()
        .flat_map(|row| [row.from_account_id.as_deref(), row.to_account_id.as_deref()])
        .flatten()
        .collect();
    names.learn(registry, accounts).await;
    names
}

/// Prints the rows and where the next page starts.
///
/// # Errors
/// When standard output can't be written.
pub fn print(
    ctx: &Context,
    rows: &[MessageRow],
    next_cursor: Option<&str>,
    names: &Names,
    with_thread: bool,
) -> Result<(), Failure> {
    if rows.is_empty() {
        return ctx.out.line(paint(DIM, "No message fits."));
    }
    // On others, the text needs the room that a whole thread id takes.
    let is_wide = with_thread && ctx.out.width().is_some_and(|width| width >= WIDE);
    let mut columns = vec!["Time (UTC)", "From", "To", "Kind"];
    if with_thread {
        columns.push("Thread");
    }
    columns.push("Text");
    let mut table = Table::new(&columns, ctx.out.width()).whole(if is_wide { &[0, 4] } else { &[0] });
    let today = ctx.out.now();
    for row in rows {
        let from = row.from_account_id.as_deref().map_or_else(|| "-".to_owned(), |id| names.of(id));
        let to =
            row.to_account_id.as_deref().map_or_else(|| clean(&row.to_agent).into_owned(), |id| names.of(id));
        let mut cells = vec![
            time::when(&row.sent_at, today),
            paint(person(&from), &from),
            paint(person(&to), &to),
            clean(&row.kind).into_owned(),
        ];
        if with_thread {
            cells.push(clean(&row.thread_id).into_owned());
        }
        cells.push(text::shorten(&text::preview(&row.payload), preview_columns(ctx)));
        table.row(cells);
    }
    ctx.out.line(table.render())?;
    next_page(ctx, next_cursor)
}

/// What to add to the command for the next page, if there is one.
///
/// # Errors
/// When standard output can't be written.
pub fn next_page(ctx: &Context, cursor: Option<&str>) -> Result<(), Failure> {
    match cursor {
        Some(cursor) => ctx.out.line(paint(DIM, format_args!("next page: --cursor {}", clean(cursor)))),
        None => Ok(()),
    }
}

/// Two lines of the terminal, so that a page of messages stays a page.
fn preview_columns(ctx: &Context) -> usize {
    ctx.out.width().map_or(PIPE_PREVIEW, |width| usize::from(width).max(LEAST_PREVIEW))
}
