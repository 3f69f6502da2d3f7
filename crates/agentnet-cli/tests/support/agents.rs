//! A network shared by the tests of one binary, with agents on it.

use std::sync::OnceLock;

use agentnet::{AgentNode, Incoming};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Place, Up};

/// The shared network. It ends with this process: nobody holds the standard input of its keeper then.
pub struct Shared {
    pub place: &'static Place,
    pub url: String,
    pub runtime: Runtime,
    pub echo: AgentNode,
    _agents: Vec<AgentNode>,
    _up: Up<'static>,
}

/// Starts the network at the first call.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let place: &'static Place = Box::leak(Box::new(Place::ephemeral()));
        let up = place.up(&["--open"]);
        let url = up.ready()["nats_url"].as_str().unwrap().to_owned();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (echo, agents) = runtime.block_on(async {
            let echo = echo(&url).await;
            (echo, vec![slow(&url).await, faulty(&url).await, hostile(&url).await])
        });
        Shared { place, url, runtime, echo, _agents: agents, _up: up }
    })
}

fn builder(url: &str, id: &str) -> agentnet::AgentNodeBuilder {
    AgentNode::builder(id).nats_url(url).rate_limit(1000.0, 1000)
}

async fn echo(url: &str) -> AgentNode {
    builder(url, "echo_bot")
        .name("Écho Bot 天気")
        .capabilities(["echo", "chat"])
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                let text = message.text().unwrap_or_default();
                message.reply(json!({ "text": format!("echo: {text}"), "got": message.payload() })).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap()
}

/// Takes everything and never answers.
async fn slow(url: &str) -> AgentNode {
    let handler = |_: Incoming| async { Ok(()) };
    builder(url, "mute_bot").on_message(handler).start().await.unwrap()
}

/// Fails at everything.
async fn faulty(url: &str) -> AgentNode {
    let handler = |_: Incoming| async { Err("this agent always fails".into()) };
    builder(url, "faulty_bot")
        .circuit_breaker(1_000_000, std::time::Duration::from_secs(1))
        .on_message(handler)
        .start()
        .await
        .unwrap()
}

/// Its texts try to take over terminals.
async fn hostile(url: &str) -> AgentNode {
    builder(url, "hostile_bot")
        // The registry takes no control characters in names; marks that reorder text are none.
        .name("evil\u{202e}name")
        .metadata(serde_json::Map::from_iter([("motto".to_owned(), "\u{1b}[2J\u{9b}31m".into())]))
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(json!({ "text": "\u{1b}]0;owned\u{7}\u{9b}2Jboo" })).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap()
}
