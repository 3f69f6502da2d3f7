//! `agentnet identity list`.

use std::path::PathBuf;

use agentnet::{
    IdentityStore,
    identity::{Listed, Origin},
};
use serde::Serialize;

use super::view::Shown;
use crate::{
    command::Context,
    failure::Failure,
    output::{
        escape::clean,
        note,
        style::{BOLD, DIM, WARN, paint},
        table::Table,
        time,
    },
};

/// All identities
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    directory: PathBuf,
    identities: Vec<Shown>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Unreadable {
    file: PathBuf,
    error: &'static str,
    detail: String,
}

/// Prints one row for each.
pub fn run(ctx: &Context, store: &IdentityStore, _: &Args) -> Result<(), Failure> {
    let mut document =
        Document { directory: store.dir().to_owned(), identities: Vec::new(), unreadable: Vec::new() };
    let mut table = Table::new(&["Name", "Public key", "Encrypted", "Created (UTC)"], ctx.out.width());
    for Listed { path, found } in store.list()? {
        match found {
            Ok(found) => {
                let created = found.created_at.map(|at| time::date_time(&at.to_string()));
                table.row(vec![
                    paint(BOLD, clean(&found.name)),
                    found.public_key.to_string(),
                    if found.is_encrypted { "yes" } else { "no" }.to_owned(),
                    created.unwrap_or_else(|| match found.origin {
                        Origin::Original => "(original's key file)".to_owned(),
                        Origin::Store | Origin::Guest => String::new(),
                    }),
                ]);
                document.identities.push(Shown::of(&found, &path));
            }
            Err(error) => {
                let (error, detail) = (error.code(), error.to_string());
                document.unreadable.push(Unreadable { file: path, error, detail });
            }
        }
    }
    ctx.out.show(&document, |document| {
        if document.identities.is_empty() {
            ctx.out.line(format!("No identities in {}", clean(&document.directory.to_string_lossy())))?;
        } else {
            ctx.out.line(table.render())?;
            ctx.out
                .line(paint(DIM, format_args!("\nin {}", clean(&document.directory.to_string_lossy()))))?;
        }
        for file in &document.unreadable {
            note(paint(WARN, clean(&file.detail)));
        }
        Ok(())
    })
}
