//! `agentnet request`.

use std::time::Duration;

use indicatif::ProgressBar;

use super::{
    Context, ask,
    join::{self, About},
    payload, spinner,
};
use crate::{
    args::{To, seconds},
    failure::Failure,
    output::{
        Out,
        escape::{clean, clean_block},
        style::{DIM, paint, person},
    },
};

/// Agent id under which the command appears in the registry, as in the original.
const AGENT_ID: &str = "cli_requester";

/// Ask an agent and print its reply, as it comes if the agent streams it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub to: To,
    /// How long the reply may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
    #[command(flatten)]
    pub about: About,
    /// Requests with the same key are one operation: it is handled once
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// The request, JSON; `-` reads standard input
    #[arg(value_name = "PAYLOAD")]
    pub payload: String,
}

/// Prints the reply: its payload for people, its envelope with `--json`.
///
/// # Errors
/// No reply in time, exit code 1; an error reply, `no_responder` or an unreachable network, exit code 2.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let payload = payload::read(&args.payload)?;
    let target = args.to.target()?;
    let network = join::reach(ctx).await?;
    let who = join::describe(&args.to, &target);
    let wheel = spinner(format!("waiting for {who}"));
    let question = ask::Question {
        target: &target,
        who: &who,
        payload: &payload,
        thread: args.about.thread_id.as_deref(),
        parent: args.about.parent_message_id.as_deref(),
        idempotency_key: args.idempotency_key.as_deref(),
        timeout: args.timeout,
    };
    let mut live = Live { out: ctx.out, wheel: &wheel, at_line_start: true, has_begun: false };
    let said = |delta: String| live.show(&delta);
    let reply =
        join::as_sender(ctx, &network, AGENT_ID, async |node| ask::ask(node, question, said).await).await;
    wheel.finish_and_clear();
    let was_shown = live.end()?;
    let reply = reply?;
    if ctx.out.is_json() {
        return ctx.out.document(&reply);
    }
    let from = clean(&reply.from_agent).into_owned();
    ctx.out.line(format_args!(
        "{} {}",
        paint(person(&from), &from),
        paint(DIM, format_args!("replied in {}", clean(&reply.thread_id_or_default())))
    ))?;
    if was_shown {
        return Ok(());
    }
    let pretty = serde_json::to_string_pretty(&reply.payload.value()).unwrap_or_default();
    // A payload that a Value can't hold, such as one with lone surrogates, is shown as it came.
    let text = if reply.payload.value().is_null() { reply.payload.get() } else { &pretty };
    ctx.out.line(clean_block(text))
}

/// A reply that is shown as it comes. For programs there is only the whole.
struct Live<'a> {
    out: Out,
    wheel: &'a ProgressBar,
    at_line_start: bool,
    has_begun: bool,
}

impl Live<'_> {
    fn show(&mut self, delta: &str) -> Result<(), Failure> {
        if self.out.is_json() {
            return Ok(());
        }
        self.wheel.finish_and_clear();
        self.has_begun = true;
        self.at_line_start = delta.ends_with('\n');
        self.out.text(clean_block(delta))
    }

    /// Ends the line; whether anything was shown.
    fn end(&self) -> Result<bool, Failure> {
        if !self.at_line_start {
            self.out.line("")?;
        }
        Ok(self.has_begun)
    }
}
