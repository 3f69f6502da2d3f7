//! `agentnet capability restrict | open | grant | revoke | list`.

use agentnet::proto::rpc::{
    CapabilityGrantRequest, CapabilityListRequest, CapabilityListResponse, CapabilityRestrictRequest,
};

use super::Context;
use crate::{
    args::RpcTimeout,
    failure::Failure,
    output::{
        escape::clean,
        style::{DIM, paint},
        table::Table,
    },
};

/// Which capabilities only some accounts may serve
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// From now on only whom an operator grants it may serve the capability
    Restrict(Name),
    /// Whoever registers the capability may serve it again; its grants are forgotten
    Open(Name),
    /// Let an account serve a restricted capability
    Grant(Grant),
    /// Take that back
    Revoke(Grant),
    /// The restricted capabilities
    List(RpcTimeout),
}

#[derive(Debug, clap::Args)]
struct Name {
    /// The capability
    capability: String,
    #[command(flatten)]
    rpc: RpcTimeout,
}

#[derive(Debug, clap::Args)]
struct Grant {
    /// The capability
    capability: String,
    /// The account, by id or username
    #[arg(value_name = "ACCOUNT")]
    target: String,
    #[command(flatten)]
    rpc: RpcTimeout,
}

impl Grant {
    fn request(&self) -> CapabilityGrantRequest {
        CapabilityGrantRequest {
            account_id: None,
            capability: self.capability.clone(),
            target: self.target.clone(),
        }
    }
}

/// Does what the subcommand says, and prints how the capability stands then.
///
/// # Errors
/// What the registry or the network answered.
pub async fn run(ctx: &Context, args: Args) -> Result<(), Failure> {
    let link = ctx.connect("agentnet-cli-capability").await?;
    let restrict = |name: &Name, open| CapabilityRestrictRequest {
        account_id: None,
        capability: name.capability.clone(),
        open,
    };
    let answer = match &args.command {
        Command::Restrict(name) => {
            link.registry(name.rpc.timeout).capability_restrict(&restrict(name, false)).await?
        }
        Command::Open(name) => {
            link.registry(name.rpc.timeout).capability_restrict(&restrict(name, true)).await?
        }
        Command::Grant(grant) => link.registry(grant.rpc.timeout).capability_grant(&grant.request()).await?,
        Command::Revoke(grant) => {
            link.registry(grant.rpc.timeout).capability_revoke(&grant.request()).await?
        }
        Command::List(rpc) => link.registry(rpc.timeout).capability_list(&CapabilityListRequest {}).await?,
    };
    link.close().await;
    show(ctx, &answer)
}

fn show(ctx: &Context, answer: &CapabilityListResponse) -> Result<(), Failure> {
    ctx.out.show(answer, |answer| {
        if answer.restricted.is_empty() {
            return ctx.out.line(paint(DIM, "Open: whoever registers it may serve it."));
        }
        let mut table = Table::new(&["Capability", "May serve it"], ctx.out.width());
        for one in &answer.restricted {
            let granted: Vec<String> = one.granted.iter().map(|id| clean(id).into_owned()).collect();
            let granted = if granted.is_empty() { "nobody".to_owned() } else { granted.join("\n") };
            table.row(vec![clean(&one.capability).into_owned(), granted]);
        }
        ctx.out.line(table.render())
    })
}
