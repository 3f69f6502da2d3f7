//! `agentnet send`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use agentnet::{AgentNode, Delivery, MemberDelivery, Stage, Target};
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
        table::Table,
    },
};

/// Agent id under which the command appears in the registry, as in the original.
const AGENT_ID: &str = "cli_sender";

/// Send a message and wait until it is stored and accepted
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub to: To,
    /// The members of this thread
    #[arg(long, value_name = "THREAD", group = "To", conflicts_with = "thread_id")]
    pub to_thread: Option<String>,
    /// Of the thread, only this member, by id or username; may be given several times. The others can read it
    #[arg(long, value_name = "ACCOUNT", requires = "to_thread", conflicts_with = "stream")]
    pub to_member: Vec<String>,
    #[command(flatten)]
    pub about: About,
    /// The message's own id; made up unless given. The same message sent again under its id is stored once
    #[arg(long, value_name = "MESSAGE_ID", conflicts_with = "stream")]
    pub message_id: Option<String>,
    /// Messages with the same key are one operation: it is handled once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// How many more copies are sent while the network doesn't confirm
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub retry_attempts: u32,
    /// How long a receipt may take, in seconds; then the agent counts as absent
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = seconds)]
    pub receipt_timeout: Duration,
    /// How long the network keeps trying to deliver, in seconds; 30 unless given, a day to a thread
    #[arg(long, value_name = "SECONDS", value_parser = ttl)]
    pub ttl: Option<Duration>,
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
    /// Of a message to a thread: each member it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<Member<'a>>,
}

#[derive(Serialize)]
struct Member<'a> {
    account_id: &'a str,
    username: Option<&'a str>,
    /// Null while it has said nothing.
    stage: Option<&'a str>,
    refusal: Option<Refusal<'a>>,
    /// Null where nobody had to ask.
    online: Option<bool>,
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
    let target = args.target()?;
    let members = args.to_member.iter().map(|who| Target::parse(who)).collect::<Result<Vec<_>, _>>()?;
    let network = join::reach(ctx).await?;
    let whom = join::describe(&args.to, &target);
    let sent = join::as_sender(ctx, &network, AGENT_ID, async |node| {
        let message = match (&args.file, &payload) {
            (Some(file), _) => node.send_blob_ref(&target, blob::put_for(node, file).await?),
            (None, payload) => node.send(&target, payload),
        };
        let wheel = spinner(format!("sending to {whom}"));
        let mut message = message
            .retry_attempts(args.retry_attempts)
            .receipt_timeout(args.receipt_timeout)
            .to_members(members);
        if let Some(ttl) = args.ttl {
            message = message.ttl(ttl);
        }
        if let Some(id) = args.message_id {
            message = message.message_id(id);
        }
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
        let sent = sent?;
        let names = names(node, &sent).await;
        Ok((sent, names))
    });
    let (sent, names) = sent.await?;
    report(ctx, &sent, &names)
}

impl Args {
    fn target(&self) -> Result<Target, Failure> {
        match &self.to_thread {
            Some(thread) => Ok(Target::thread(thread)?),
            None => self.to.target(),
        }
    }
}

/// What a thread's members are called, by their accounts. Without it they are named by those.
async fn names(node: &AgentNode, sent: &Delivery) -> BTreeMap<String, String> {
    if sent.members.is_empty() {
        return BTreeMap::new();
    }
    match node.thread_members(&sent.thread_id).await {
        Ok(answer) => {
            let named = answer.members.into_iter().filter_map(|m| Some((m.account_id, m.username?)));
            named.collect()
        }
        Err(error) => {
            tracing::debug!(%error, "what the members are called couldn't be found out");
            BTreeMap::new()
        }
    }
}

/// Sends standard input as a stream.
async fn stream(ctx: &Context, args: Args) -> Result<(), Failure> {
    let target = args.target()?;
    let network = join::reach(ctx).await?;
    let sent = join::as_sender(ctx, &network, AGENT_ID, async |node| {
        let mut stream = node.send_stream(&target, typed::text());
        if let Some(ttl) = args.ttl {
            stream = stream.ttl(ttl);
        }
        if let Some(thread) = args.about.thread_id {
            stream = stream.thread(thread);
        }
        if let Some(parent) = args.about.parent_message_id {
            stream = stream.parent(parent);
        }
        if let Some(key) = args.idempotency_key {
            stream = stream.idempotency_key(key);
        }
        let sent = stream.await?;
        let names = names(node, &sent.delivery).await;
        Ok((sent, names))
    });
    let (sent, names) = sent.await?;
    if sent.cancelled {
        note(paint(WARN, "cancelled by its reader; what was said until then is the message"));
    }
    report(ctx, &sent.delivery, &names)
}

fn report(ctx: &Context, delivery: &Delivery, names: &BTreeMap<String, String>) -> Result<(), Failure> {
    if ctx.out.is_json() {
        return ctx.out.document(&Sent {
            message_id: &delivery.message_id,
            thread_id: &delivery.thread_id,
            stage: delivery.stage.map(Stage::as_str),
            stored: delivery.stored,
            refusal: delivery.refusal.as_ref().map(Refusal::of),
            members: delivery.members.iter().map(|member| Member::of(member, names)).collect(),
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
    ctx.out.line(paint(DIM, ids))?;
    members(ctx, delivery, names)
}

/// A line for each member, and who isn't there.
fn members(ctx: &Context, delivery: &Delivery, names: &BTreeMap<String, String>) -> Result<(), Failure> {
    if delivery.members.is_empty() {
        return Ok(());
    }
    let called = |id: &str| match names.get(id) {
        Some(name) => format!("@{}", clean(name)),
        None => clean(id).into_owned(),
    };
    let mut table = Table::new(&["Member", "Stage", "Online"], ctx.out.width());
    for member in &delivery.members {
        let stage = match (&member.refusal, member.stage) {
            (Some(refusal), _) => format!("refused: {}", clean(&refusal.code)),
            (None, Some(stage)) => stage.to_string(),
            (None, None) => Stage::Stored.to_string(),
        };
        let online = match (member.online, member.stage) {
            (Some(false), _) => "no",
            (Some(true), _) | (None, Some(_)) => "yes",
            (None, None) => "",
        };
        table.row(vec![called(&member.account_id), stage, online.to_owned()]);
    }
    ctx.out.line(table.render())?;
    let offline: Vec<String> = delivery.offline_members().map(called).collect();
    if offline.is_empty() {
        return Ok(());
    }
    ctx.out.line(paint(WARN, format_args!("offline, get it when they come: {}", offline.join(", "))))
}

impl<'a> Refusal<'a> {
    fn of(refusal: &'a agentnet::Refusal) -> Self {
        Self { code: &refusal.code, detail: &refusal.detail }
    }
}

impl<'a> Member<'a> {
    fn of(member: &'a MemberDelivery, names: &'a BTreeMap<String, String>) -> Self {
        Self {
            account_id: &member.account_id,
            username: names.get(&member.account_id).map(String::as_str),
            stage: member.stage.map(Stage::as_str),
            refusal: member.refusal.as_ref().map(Refusal::of),
            online: member.online,
        }
    }
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
