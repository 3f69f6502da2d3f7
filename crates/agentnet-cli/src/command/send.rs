//! `agentnet send`.

use std::{path::PathBuf, time::Duration};

use agentnet::{Delivery, Stage};
use serde::Serialize;

use super::{
    Context, blob,
    join::{self, About},
    payload, spinner, typed,
};
use crate::{
    args::{To, seconds},
    failure::Failure,
    output::{
        escape::clean,
        note,
        style::{DIM, GOOD, WARN, paint},
    },
};

/// Agent id under which the command appears in the registry, as in the original.
const AGENT_ID: &str = "cli_sender";

/// Send a message and wait until it is stored and accepted
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub to: To,
    #[command(flatten)]
    pub about: About,
    /// Messages with the same key are one operation: it is handled once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// How many more copies are sent while the network doesn't confirm
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub retry_attempts: u32,
    /// How long a receipt may take, in seconds; then the agent counts as absent
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = seconds)]
    pub receipt_timeout: Duration,
    /// How long the network keeps trying to deliver, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = ttl)]
    pub ttl: Duration,
    /// Return after the publish
    #[arg(long)]
    pub no_ack: bool,
    /// Put this file into the network's object store, and send a reference to it
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    pub file: Option<PathBuf>,
    /// Read text from standard input and send it as it comes: readers see it while it is written, and the whole is one
    /// message in the end
    #[arg(long, conflicts_with_all = ["payload", "file", "no_ack", "retry_attempts", "receipt_timeout"])]
    pub stream: bool,
    /// The message, JSON; `-` reads standard input
    #[arg(value_name = "PAYLOAD", required_unless_present_any = ["file", "stream"])]
    pub payload: Option<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Sent<'a> {
    message_id: &'a str,
    thread_id: &'a str,
    /// `stored`, `accepted` or `processed`; null when nothing was waited for.
    stage: Option<&'a str>,
    stored: bool,
    refusal: Option<Refusal<'a>>,
}

#[derive(Serialize)]
struct Refusal<'a> {
    code: &'a str,
    detail: &'a str,
}

/// Sends, and says what is true about the message.
///
/// # Errors
/// `unconfirmed`, a permanent rejection with its code, or that the network can't be reached.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    if args.stream {
        return stream(ctx, args).await;
    }
    let payload = args.payload.as_deref().map(payload::read).transpose()?;
    let target = args.to.target()?;
    let network = join::reach(ctx).await?;
    let whom = join::describe(&args.to, &target);
    let sent = join::as_sender(ctx, &network, AGENT_ID, async |node| {
        let message = match (&args.file, &payload) {
            (Some(file), _) => node.send_blob_ref(&target, blob::put_for(node, file).await?),
            (None, payload) => node.send(&target, payload),
        };
        let wheel = spinner(format!("sending to {whom}"));
        let mut message =
            message.retry_attempts(args.retry_attempts).receipt_timeout(args.receipt_timeout).ttl(args.ttl);
        if let Some(thread) = args.about.thread_id {
            message = message.thread(thread);
        }
        if let Some(parent) = args.about.parent_message_id {
            message = message.parent(parent);
        }
        if let Some(key) = args.idempotency_key {
            message = message.idempotency_key(key);
        }
        if args.no_ack {
            message = message.no_ack();
        }
        let sent = message.await;
        wheel.finish_and_clear();
        Ok(sent?)
    });
    let sent = sent.await;
    report(ctx, &sent?)
}

/// Sends standard input as a stream.
async fn stream(ctx: &Context, args: Args) -> Result<(), Failure> {
    let target = args.to.target()?;
    let network = join::reach(ctx).await?;
    let sent = join::as_sender(ctx, &network, AGENT_ID, async |node| {
        let mut stream = node.send_stream(&target, typed::text()).ttl(args.ttl);
        if let Some(thread) = args.about.thread_id {
            stream = stream.thread(thread);
        }
        if let Some(parent) = args.about.parent_message_id {
            stream = stream.parent(parent);
        }
        if let Some(key) = args.idempotency_key {
            stream = stream.idempotency_key(key);
        }
        Ok(stream.await?)
    });
    let sent = sent.await?;
    if sent.cancelled {
        note(paint(WARN, "cancelled by its reader; what was said until then is the message"));
    }
    report(ctx, &sent.delivery)
}

fn report(ctx: &Context, delivery: &Delivery) -> Result<(), Failure> {
    if ctx.out.is_json() {
        return ctx.out.document(&Sent {
            message_id: &delivery.message_id,
            thread_id: &delivery.thread_id,
            stage: delivery.stage.map(Stage::as_str),
            stored: delivery.stored,
            refusal: delivery.refusal.as_ref().map(|r| Refusal { code: &r.code, detail: &r.detail }),
        });
    }
    let why = delivery.refusal.as_ref().map(|r| format!(" ({}: {})", clean(&r.code), clean(&r.detail)));
    let line = match delivery.stage {
        Some(Stage::Processed) => paint(GOOD, "processed"),
        Some(Stage::Accepted) => paint(GOOD, "accepted"),
        Some(Stage::Stored) => {
            paint(WARN, format_args!("stored, not yet accepted{}", why.unwrap_or_default()))
        }
        None => "sent, nothing waited for".to_owned(),
    };
    ctx.out.line(line)?;
    let ids = format!("message {} in {}", clean(&delivery.message_id), clean(&delivery.thread_id));
    ctx.out.line(paint(DIM, ids))
}

/// A time to live: from a millisecond to the network's longest.
fn ttl(text: &str) -> Result<Duration, String> {
    let longest = agentnet::proto::envelope::MAX_TTL;
    text.trim()
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|ttl| *ttl >= Duration::from_millis(1) && *ttl <= longest)
        .ok_or_else(|| format!("give seconds from 0.001 to {}", longest.as_secs()))
}
