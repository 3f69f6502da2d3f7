//! `agentnet blob put | get | head | list | delete`: files in the network's object store.

use std::{
    io::{IsTerminal as _, stderr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentnet::{
    AgentNode, BlobSource, Blobs, Progress, PutBlob,
    proto::{AccountId, rpc::BlobInfo},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Context, thread::account_of};
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, GOOD, paint},
        table::Table,
        time,
    },
};

/// Standard input or output in place of a file.
const DASH: &str = "-";

/// Files in the network's object store
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

/// What a put says beside the content.
#[derive(Debug, clap::Args)]
struct About {
    /// Name on the network; the file's own unless given
    #[arg(long)]
    name: Option<String>,
    /// Content type, such as text/plain; by the name unless given
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// For how long the network keeps it, in seconds; as long as it keeps any unless given
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    expires_in: Option<u64>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Put a file; `-` reads standard input
    Put {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        about: About,
        /// Go on with an upload that was interrupted; a file finds its own
        #[arg(long, value_name = "UPLOAD_ID")]
        resume: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// Get a blob into a file of its own name here, unless told where to
    Get {
        /// The blob
        blob_id: String,
        /// The file, or the directory to put it in; `-` writes to standard output
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
        /// Begin at this byte
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        offset: u64,
        /// At most this many bytes
        #[arg(long, value_name = "BYTES")]
        length: Option<u64>,
        #[command(flatten)]
        by: As,
    },
    /// What a blob is
    Head {
        /// The blob
        blob_id: String,
        #[command(flatten)]
        by: As,
    },
    /// An account's blobs, the latest first
    List {
        /// At most this many, 1 to 200
        #[arg(long, default_value_t = 50)]
        limit: i64,
        /// Where the page before ended
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        by: As,
    },
    /// Remove blobs
    Delete {
        /// The blobs
        #[arg(value_name = "BLOB_ID", required = true)]
        blob_ids: Vec<String>,
        #[command(flatten)]
        by: As,
    },
}

/// Does what the subcommand says.
///
/// # Errors
/// What the registry or the network answered, or this machine's files.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-blob").await?;
    let blobs = async |by: &As| -> Result<Blobs, Failure> {
        let registry = link.registry(by.rpc.timeout);
        let account = account_of(&registry, by.account.as_deref()).await?;
        Ok(registry.blobs(account.and_then(|id| AccountId::new(id).ok())))
    };
    let done = match args.command {
        Command::Put { file, about, resume, by } => {
            let blob = put(&blobs(&by).await?, &file, about, resume).await?;
            ctx.out.show(&blob, |blob| {
                ctx.out.line(paint(GOOD, clean(&blob.blob_id)))?;
                ctx.out.line(paint(DIM, summary(blob)))
            })
        }
        Command::Get { blob_id, output, force, offset, length, by } => {
            get(ctx, &blobs(&by).await?, &blob_id, output.as_deref(), force, (offset, length)).await
        }
        Command::Head { blob_id, by } => {
            let blob = blobs(&by).await?.head(&blob_id).await?;
            ctx.out.show(&blob, |blob| ctx.out.line(facts(ctx, blob).render()))
        }
        Command::List { limit, cursor, by } => {
            let page = blobs(&by).await?.list(Some(limit), cursor).await?;
            ctx.out.show(&page, |page| {
                let columns = ["Blob", "Name", "Type", "Bytes", "Made"];
                let mut table = Table::new(&columns, ctx.out.width()).whole(&[0]);
                for blob in &page.blobs {
                    table.row(vec![
                        clean(&blob.blob_id).into_owned(),
                        clean(&blob.filename).into_owned(),
                        clean(&blob.mime_type).into_owned(),
                        blob.size_bytes.to_string(),
                        time::ago(&blob.created_at, ctx.out.now()),
                    ]);
                }
                ctx.out.line(table.render())?;
                let used = format!("{} of {} bytes used", page.used_bytes, page.quota_bytes);
                ctx.out.line(paint(DIM, used))?;
                match &page.next_cursor {
                    Some(cursor) => {
                        ctx.out.line(paint(DIM, format_args!("more: --cursor {}", clean(cursor))))
                    }
                    None => Ok(()),
                }
            })
        }
        Command::Delete { blob_ids, by } => {
            let blobs = blobs(&by).await?;
            let mut done = Vec::new();
            for blob_id in blob_ids {
                let deleted = blobs.delete(&blob_id).await?;
                if !ctx.out.is_json() {
                    let word = if deleted { "deleted" } else { "not there" };
                    ctx.out.line(format_args!("{} {word}", clean(&blob_id)))?;
                }
                done.push(json!({"blob_id": blob_id, "deleted": deleted}));
            }
            if ctx.out.is_json() { ctx.out.document(&json!({"blobs": done})) } else { Ok(()) }
        }
    };
    link.close().await;
    done
}

async fn put(blobs: &Blobs, file: &Path, about: About, resume: Option<String>) -> Result<BlobInfo, Failure> {
    let source = match file.as_os_str() == DASH {
        true => BlobSource::reader(tokio::io::stdin()),
        false => BlobSource::from(file),
    };
    let mut put = blobs.put(source);
    if let Some(name) = about.name {
        put = put.name(name);
    }
    if let Some(content_type) = about.content_type {
        put = put.content_type(content_type);
    }
    if let Some(seconds) = about.expires_in {
        put = put.expires_in(Duration::from_secs(seconds));
    }
    if let Some(upload_id) = resume {
        put = put.resume(upload_id);
    }
    let (mut ended, upload) = with_bar(put).await;
    if let (Err(Failure::Refused { hint, retryable: true, .. }), Some(upload_id)) = (&mut ended, upload) {
        *hint = format!("go on where it was, within the hour, with --resume {upload_id}");
    }
    ended
}

/// Puts a file, to refer to it in a message.
///
/// # Errors
/// As [`AgentNode::put_blob`].
pub async fn put_for(node: &AgentNode, file: &Path) -> Result<BlobInfo, Failure> {
    with_bar(node.put_blob(file)).await.0
}

/// The upload is what to go on with after a failure.
async fn with_bar(put: PutBlob<'_>) -> (Result<BlobInfo, Failure>, Option<Arc<str>>) {
    let (bar, mut upload) = (bar(), None);
    let told = |at: Progress| {
        show(&bar, at.done, at.total);
        upload = at.upload_id;
    };
    let ended = put.progress(told).await;
    bar.finish_and_clear();
    (ended.map_err(Failure::from), upload)
}

async fn get(
    ctx: &Context,
    blobs: &Blobs,
    blob_id: &str,
    output: Option<&Path>,
    force: bool,
    (offset, length): (u64, Option<u64>),
) -> Result<(), Failure> {
    let bar = bar();
    let mut get = blobs.get(blob_id).range(offset, length).progress(|at| show(&bar, at.done, at.total));
    if force {
        get = get.overwrite();
    }
    let place = match output {
        Some(path) if path.as_os_str() == DASH => {
            let ended = get.to_writer(&mut tokio::io::stdout()).await;
            bar.finish_and_clear();
            return Ok(ended.map(drop)?);
        }
        Some(path) if !path.is_dir() => get.to_file(path).await,
        Some(dir) => get.into_dir(dir).await,
        None => get.into_dir(".").await,
    };
    bar.finish_and_clear();
    let place = place?.display().to_string();
    ctx.out.show(&json!({"blob_id": blob_id, "file": place}), |_| ctx.out.line(clean(&place)))
}

/// A bar on standard error; silent when that is no terminal.
fn bar() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let style = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    // The template is ours; a bar in the default style would do as well.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, done: u64, total: Option<u64>) {
    if let Some(total) = total {
        bar.set_length(total);
    }
    bar.set_position(done);
}

fn summary(blob: &BlobInfo) -> String {
    let name = if blob.filename.is_empty() { "no name" } else { &blob.filename };
    format!("{}, {}, {} bytes", clean(name), clean(&blob.mime_type), blob.size_bytes)
}

fn facts(ctx: &Context, blob: &BlobInfo) -> Table {
    let mut table = Table::facts(ctx.out.width());
    for (name, value) in [
        ("blob", &blob.blob_id),
        ("owner", &blob.account_id),
        ("name", &blob.filename),
        ("type", &blob.mime_type),
        ("bytes", &blob.size_bytes.to_string()),
        ("sha256", &blob.sha256),
        ("made", &blob.created_at),
        ("until", &blob.expires_at.clone().unwrap_or_default()),
    ] {
        table.fact(name, clean(value));
    }
    table
}
