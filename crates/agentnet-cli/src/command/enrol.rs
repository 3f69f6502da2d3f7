//! `agentnet enrol`.

use agentnet::proto::rpc::EnrolRequest;

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{BOLD, DIM, paint},
        time,
    },
};

/// Make a token that lets unknown keys register
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For this existing account without a key, by id or username, instead of new ones
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// How many keys it lets in, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "account", value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub uses: i64,
    /// How long it is good, in hours, at most 720
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=720))]
    pub hours: i64,
    /// What it is for
    #[arg(long, default_value = "")]
    pub note: String,
    #[command(flatten)]
    pub rpc: RpcTimeout,
}

/// Prints the token, this once.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-enrol").await?;
    let request = EnrolRequest {
        account_id: None,
        target: args.account,
        uses: Some(args.uses),
        seconds: Some(args.hours.saturating_mul(3_600)),
        note: args.note,
    };
    let answer = link.registry(args.rpc.timeout).enrol(&request).await?;
    link.close().await;
    ctx.out.show(&answer, |answer| {
        ctx.out.line(paint(BOLD, clean(answer.token.expose())))?;
        let whom = match &answer.account_id {
            Some(account) => format!("a key of {}", clean(account)),
            None if answer.uses == 1 => "one new account".to_owned(),
            None => format!("{} new accounts", answer.uses),
        };
        let until = time::date_time(&answer.expires_at);
        let line = format!("for {whom}, until {until}: give it to the agent as AGENTNET_ENROLMENT_TOKEN. It isn't shown again.");
        ctx.out.line(paint(DIM, line))
    })
}
