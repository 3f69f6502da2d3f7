//! `agentnet why`.

use agentnet::proto::rpc::{DeliveryRow, WhyResponse};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        names::Names,
        style::{BOLD, DIM, paint},
        table::Table,
        time,
    },
};

/// The whole path of one message
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The message
    pub message_id: String,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// One line of the path.
struct Step {
    at: String,
    what: String,
    who: String,
    detail: String,
}

/// Prints what happened to the message, oldest first.
///
/// # Errors
/// `not_found`, or what the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-why").await?;
    let registry = link.registry(args.rpc.timeout);
    let answer = registry.why(&args.message_id).await?;
    let mut names = Names::default();
    if !ctx.out.is_json() {
        let known = super::deliveries::accounts(&answer.deliveries).chain(answer.from_account_id.as_deref());
        names.learn(&registry, known).await;
    }
    link.close().await;
    ctx.out.show(&answer, |answer| people(ctx, answer, &names))
}

fn people(ctx: &Context, answer: &WhyResponse, names: &Names) -> Result<(), Failure> {
    let from = answer.from_account_id.as_deref().map_or_else(|| "-".to_owned(), |id| names.of(id));
    let mut facts = Table::facts(ctx.out.width());
    facts.fact("Message", paint(BOLD, clean(&answer.message_id)));
    facts.fact("Thread", clean(&answer.thread_id));
    facts.fact("From", from);
    facts.fact("To", names.of(&answer.to_agent));
    facts.fact("Kind", clean(&answer.kind));
    let expires = answer.expires_at.as_deref().map_or_else(|| "-".to_owned(), time::date_time);
    facts.fact("Expires", expires);
    for row in &answer.deliveries {
        facts.fact("Delivery", format!("{}: {}", names.of(&row.recipient), outlook(ctx, row)));
    }
    ctx.out.line(facts.render())?;
    if answer.deliveries.is_empty() {
        ctx.out.line(paint(DIM, "It is stored. Replies and errors are not tracked further."))?;
    }
    let mut table = Table::new(&["Time (UTC)", "What", "Who", "Detail"], ctx.out.width());
    for step in path(answer, names) {
        table.row(vec![time::date_time(&step.at), step.what, step.who, step.detail]);
    }
    ctx.out.line(table.render())
}

/// State, and what comes next.
fn outlook(ctx: &Context, row: &DeliveryRow) -> String {
    let state = clean(&row.state);
    let attempts = match row.attempts {
        0 => String::new(),
        n => format!(", accepted and lost {n} times"),
    };
    match &row.finished_at {
        Some(_) => format!("{state}{attempts}"),
        None => format!("{state}{attempts}, next: {}", super::deliveries::when(ctx, row)),
    }
}

/// Storing, the straight way, and everything beyond it.
fn path(answer: &WhyResponse, names: &Names) -> Vec<Step> {
    let session = |session: Option<&str>| session.map_or(String::new(), |tag| clean(tag).into_owned());
    let step = |at: &str, what: &str, who: String, detail: String| Step {
        at: at.to_owned(),
        what: what.to_owned(),
        who,
        detail,
    };
    let mut steps = vec![
        step(&answer.sent_at, "sent", session(answer.from_session_tag.as_deref()), String::new()),
        step(&answer.received_at, "stored", String::new(), String::new()),
    ];
    for row in &answer.deliveries {
        // What a redelivery brought stands among the events already.
        let told = |what: &str| answer.events.iter().any(|e| e.recipient == row.recipient && e.what == what);
        let ends = [("accepted", &row.accepted_at), (row.state.as_str(), &row.finished_at)];
        for (what, at) in ends {
            if let Some(at) = at
                && !told(what)
            {
                let who = format!("{} {}", names.of(&row.recipient), session(row.owner_session.as_deref()));
                steps.push(step(at, what, who, String::new()));
            }
        }
    }
    for event in &answer.events {
        let attempt = event.attempt.map(|n| format!("attempt {n}"));
        let parts = [attempt.as_deref(), event.code.as_deref(), event.detail.as_deref()];
        let detail: Vec<String> = parts.into_iter().flatten().map(|text| clean(text).into_owned()).collect();
        let who = format!("{} {}", names.of(&event.recipient), session(event.session.as_deref()));
        steps.push(step(&event.at, &clean(&event.what), who, detail.join(", ")));
    }
    // By text: all times have one form. The sort is stable, so what is sent stands before what is stored.
    steps.sort_by(|a, b| a.at.cmp(&b.at));
    steps
}
