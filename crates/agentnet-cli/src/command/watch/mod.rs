//! `agentnet watch`.

pub mod event;
pub mod render;

use std::time::Duration;

use agentnet::{
    RegistryClient,
    proto::subject::{ALL_ACCOUNTS, ALL_CAPABILITIES, ALL_INBOXES, ALL_RECEIPTS, ALL_STORED, ALL_STREAMS},
};
use futures_util::{StreamExt as _, stream::SelectAll};

use super::Context;
use crate::{
    failure::Failure,
    network::Link,
    output::{
        Out,
        names::Names,
        note,
        style::{DIM, WARN, paint},
    },
};
use event::Event;
use render::Look;

/// How long a name may take to be found; the line waits for it.
const NAME_TIMEOUT: Duration = Duration::from_millis(500);
/// How long subscribing may take.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

const RECEIPTS: [&str; 2] = [ALL_RECEIPTS, ALL_STORED];
const ALL: [&str; 2] = [ALL_ACCOUNTS, ALL_CAPABILITIES];

/// Show messages as they pass
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Subjects to watch, with NATS wildcards; may be given several times
    #[arg(long, default_value = ALL_INBOXES)]
    pub subject: Vec<String>,
    /// End after this many; 0 means never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_messages: u64,
    /// Show whole payloads
    #[arg(long)]
    pub include_payload: bool,
    /// Receipts and the network's confirmations too
    #[arg(long)]
    pub receipts: bool,
    /// Streamed texts too, piece by piece as they come
    #[arg(long)]
    pub streams: bool,
    /// Everything: also replies, redeliveries and messages to capabilities
    #[arg(long, conflicts_with_all = ["subject", "receipts", "streams"])]
    pub all: bool,
}

impl Args {
    fn subjects(&self) -> Vec<String> {
        if self.all {
            return ALL.map(str::to_owned).to_vec();
        }
        let receipts = RECEIPTS.iter().filter(|_| self.receipts).map(|subject| (*subject).to_owned());
        let streams = self.streams.then(|| ALL_STREAMS.to_owned());
        let mut subjects: Vec<String> = self.subject.iter().cloned().chain(receipts).chain(streams).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }
}

/// Prints what passes until `--max-messages` or Ctrl-C, through any number of reconnects.
///
/// # Errors
/// `invalid_subject`, or that the network can't be reached.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let subjects = args.subjects();
    if let Some(bad) = subjects.iter().find(|subject| !is_pattern(subject)) {
        return Err(Failure::local(
            "invalid_subject",
            format!("{bad:?} is no subject"),
            "use tokens with dots between them; `*` stands for one token and `>` for the rest",
        ));
    }
    let link = ctx.connect("agentnet-cli-watch").await?;
    let mut messages = subscribe(&link, &subjects).await?;
    if !ctx.out.is_json() {
        let text = format!("watching {} on {}; Ctrl-C ends", subjects.join(", "), link.connection().target());
        note(paint(DIM, text));
    }
    let mut printer = Printer::new(ctx.out, link.registry(NAME_TIMEOUT), args.include_payload);
    let mut state = link.connection().state();
    let mut dropped = 0;
    let mut shown = 0;
    while args.max_messages == 0 || shown < args.max_messages {
        tokio::select! {
            biased;
            changed = state.changed() => {
                if changed.is_err() {
                    break;
                }
                let connected = state.borrow_and_update().connected;
                let text = if connected { "connection is back" } else { "connection lost; trying to reconnect" };
                note(paint(WARN, text));
            }
            message = messages.next() => {
                let Some(message) = message else { break };
                printer.print(&message).await?;
                shown += 1;
                let count = link.connection().slow_consumer_count();
                if count > dropped {
                    note(paint(WARN, format_args!("{} messages passed too fast to be shown", count - dropped)));
                    dropped = count;
                }
            }
        }
    }
    link.close().await;
    Ok(())
}

/// Subscribes to every subject; when this returns, the server knows.
///
/// # Errors
/// That the network can't be reached.
pub async fn subscribe(
    link: &Link,
    subjects: &[String],
) -> Result<SelectAll<async_nats::Subscriber>, Failure> {
    let mut messages = SelectAll::new();
    for subject in subjects {
        let subscriber = link.connection().client().subscribe(subject.clone()).await.map_err(|error| {
            Failure::local(
                "nats_unavailable",
                format!("cannot subscribe to {subject}: {error}"),
                "check the network",
            )
        })?;
        messages.push(subscriber);
    }
    link.connection().round_trip(SUBSCRIBE_TIMEOUT).await?;
    Ok(messages)
}

/// Prints events, with names for accounts.
pub struct Printer {
    out: Out,
    registry: RegistryClient,
    names: Names,
    look: Look,
}

impl Printer {
    /// A printer that asks `registry` for names.
    pub fn new(out: Out, registry: RegistryClient, payloads: bool) -> Self {
        Self { out, registry, names: Names::default(), look: Look { width: out.width(), payloads } }
    }

    /// Prints one message.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub async fn print(&mut self, message: &async_nats::Message) -> Result<(), Failure> {
        let event = Event::read(&message.subject, &message.payload);
        let now = self.out.now().to_string();
        if self.out.is_json() {
            return self.out.json_line(&event.to_json(&message.subject, &now, self.look.payloads));
        }
        self.names.learn(&self.registry, event.accounts()).await;
        self.out.line(render::line(&event, &self.names, self.look, &now))
    }
}

/// Whether NATS takes `text` as a subject to subscribe to.
fn is_pattern(text: &str) -> bool {
    let tokens: Vec<&str> = text.split('.').collect();
    let last = tokens.len() - 1;
    !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && tokens
            .iter()
            .enumerate()
            .all(|(index, token)| !token.is_empty() && (*token != ">" || index == last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for good in ["account.*.inbox", ">", "a", "a.b.>"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "a..b", ".a", "a.", "a b", "a.>.b", "a\r\nPUB x 0", "a\tb"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
