//! The other processes of a run: this same binary under another argument, so that all are built alike.

use std::{
    io::Read as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use agentnet::{AgentNode, AgentNodeBuilder};
use agentnet_persister::Persister;
use agentnet_registry::Registry;
use agentnet_service::{config::Env, service};
use anyhow::{Context as _, Result};
use async_nats::Client;
use futures_util::StreamExt as _;

/// Where a recipient says how many messages its handler saw.
pub const HANDLED: &str = "bench.handled";
/// Where bare requests are answered.
pub const ECHO: &str = "bench.echo";
/// Where each of some members answers bare publishes, and where it answers them to.
pub const MEMBER: &str = "bench.member";
/// See [`MEMBER`].
pub const MEMBER_RECEIPTS: &str = "bench.receipts";
/// More than is ever in flight at once.
const BACKLOG: usize = 8192;

/// Runs a child until its standard input ends.
pub fn run(role: &str) -> ExitCode {
    // What `ps` and `perf` show.
    let _ = std::fs::write("/proc/self/comm", role);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match role {
        "registry" => service::run::<Registry>(&Env::process()),
        "persister" => service::run::<Persister>(&Env::process()),
        _ => match agent(role) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{role}: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn agent(role: &str) -> Result<()> {
    let url = std::env::var("NATS_URL").context("NATS_URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match role {
            "responder" => responder(&url).await,
            "recipient" => recipient(&url).await,
            "idle" => idle(&url).await,
            other => match other.strip_prefix("members-") {
                Some(number) => members(&url, number.parse()?).await,
                None => anyhow::bail!("no such child"),
            },
        }
    })
}

/// A node without the limits that would be measured instead of the network.
pub fn unlimited(agent_id: &str, url: &str) -> AgentNodeBuilder {
    AgentNode::builder(agent_id).nats_url(url).no_rate_limit().max_pending(BACKLOG)
}

/// A plain connection.
pub async fn connect(url: &str) -> Result<Client> {
    let settings = agentnet::connect::NatsSettings::from_url(url)?.named("bench");
    Ok(agentnet::connect::connect(&settings).await?.client().as_ref().clone())
}

async fn responder(url: &str) -> Result<()> {
    let client = connect(url).await?;
    let mut requests = client.subscribe(ECHO).await?;
    client.flush().await?;
    println!("ready");
    while let Some(message) = requests.next().await {
        if let Some(reply) = message.reply {
            client.publish(reply, message.payload).await?;
        }
    }
    Ok(())
}

async fn recipient(url: &str) -> Result<()> {
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let node = unlimited("bench-recipient", url)
        .on_message(move |message| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                if message.wants_reply() {
                    message.reply(serde_json::json!({"text": "It says that all is well."})).await?;
                }
                Ok(())
            }
        })
        .start()
        .await?;
    let client = connect(url).await?;
    let mut questions = client.subscribe(HANDLED).await?;
    client.flush().await?;
    println!("{}", node.account_id());
    while let Some(question) = questions.next().await {
        if let Some(reply) = question.reply {
            client.publish(reply, handled.load(Ordering::Relaxed).to_string().into()).await?;
        }
    }
    Ok(())
}

/// As many agents, each with a connection of its own; says their accounts. Each also answers bare publishes to
/// `bench.member.<n>`, as a limit.
async fn members(url: &str, number: usize) -> Result<()> {
    let handled = Arc::new(AtomicU64::new(0));
    let (mut nodes, mut accounts) = (Vec::with_capacity(number), Vec::with_capacity(number));
    for n in 0..number {
        let count = Arc::clone(&handled);
        let node = unlimited(&format!("bench-member-{n}"), url)
            .on_message(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            })
            .start()
            .await?;
        let client = node.connection().client();
        let mut bare = client.subscribe(format!("{MEMBER}.{n}")).await?;
        tokio::spawn(async move {
            while let Some(message) = bare.next().await {
                if client.publish(MEMBER_RECEIPTS, message.payload).await.is_err() {
                    return;
                }
            }
        });
        accounts.push(node.account_id().to_owned());
        nodes.push(node);
    }
    let client = connect(url).await?;
    let mut questions = client.subscribe(HANDLED).await?;
    client.flush().await?;
    println!("{}", accounts.join(" "));
    while let Some(question) = questions.next().await {
        if let Some(reply) = question.reply {
            client.publish(reply, handled.load(Ordering::Relaxed).to_string().into()).await?;
        }
    }
    Ok(())
}

/// An agent as its author writes it: every default, one handler, nothing to do.
async fn idle(url: &str) -> Result<()> {
    let node =
        AgentNode::builder("bench-idle").nats_url(url).on_message(|_| async { Ok(()) }).start().await?;
    println!("{}", node.account_id());
    std::future::pending::<()>().await;
    Ok(())
}
