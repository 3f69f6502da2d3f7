//! Sessions whose agents are started for them, and two agents whose gateway is killed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use agentnet::{AgentNode, Incoming};
use agentnet_gateway::Gateway;
use agentnet_service::{
    config::Env,
    service::{FullConfig, Started, start},
    shutdown::Shutdown,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::{RunningGateway, SOON, Stack, until, until_async, web::Web};
use tokio::sync::Semaphore;

const PASSWORD: &str = "correct horse battery";
const QUICK: [(&str, &str); 4] = [
    ("GATEWAY_RATE_CREATE", "100"),
    ("GATEWAY_RATE_QUERY", "100"),
    ("GATEWAY_HOSTING_SECONDS", "20"),
    ("GATEWAY_RELAY_LEASE_SECONDS", "0.5"),
];

async fn call(
    gateway: &RunningGateway,
    method: Method,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let mut request = Client::new().request(method, gateway.url(path)).bearer_auth(token).timeout(SOON);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn person(stack: &Stack, gateway: &RunningGateway, username: &str) -> String {
    stack.person(username, PASSWORD).await;
    let answer = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("username={username}&password={}", PASSWORD.replace(' ', "+")))
        .send();
    let answer: Value = answer.await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn wants(provider: &str, model: &str) -> Value {
    json!({"session_type": "human_agent", "agents": {"primary": {"provider": provider, "model": model}}})
}

/// Starts agents when asked, all but those of the provider `refused`, and those of `late` without coming online.
async fn host(stack: &Arc<Stack>) -> (AgentNode, Arc<Mutex<HashMap<String, AgentNode>>>) {
    let hosted: Arc<Mutex<HashMap<String, AgentNode>>> = Arc::default();
    let (network, all) = (Arc::clone(stack), Arc::clone(&hosted));
    let node = stack.node("host").identity(stack.identity("host")).capability("hosting").no_rate_limit();
    let node = node.on_message(move |message: Incoming| {
        let (stack, hosted) = (Arc::clone(&network), Arc::clone(&all));
        async move {
            let wish = message.payload().value();
            match wish["hosting"].as_str() {
                Some("start") if wish["provider"] == "refused" => {
                    message.reply(json!({"hosting": "refused", "detail": "no room"})).await?;
                }
                Some("start") if wish["provider"] == "liar" => {
                    let account_id = "acct_01h00000000000000000000000";
                    message.reply(json!({"hosting": "started", "account_id": account_id})).await?;
                }
                Some("start") => {
                    let name = format!("hosted_{}", wish["provider"].as_str().unwrap_or_default());
                    let told = json!({"provider": wish["provider"], "model": wish["model"]});
                    let started = stack
                        .node(&name)
                        .identity(stack.identity(&name))
                        .metadata(told.as_object().unwrap().clone())
                        .on_message(|asked: Incoming| async move {
                            asked.reply(json!({"text": "from a hosted agent"})).await?;
                            Ok(())
                        })
                        .start()
                        .await?;
                    let account_id = started.account_id().to_owned();
                    hosted.lock().unwrap().insert(account_id.clone(), started);
                    message.reply(json!({"hosting": "started", "account_id": account_id})).await?;
                }
                Some("stop") => {
                    let gone = hosted.lock().unwrap().remove(wish["account_id"].as_str().unwrap_or_default());
                    if let Some(gone) = gone {
                        gone.close().await?;
                    }
                }
                _ => {}
            }
            Ok(())
        }
    });
    (node.start().await.unwrap(), hosted)
}

async fn hosting(stack: Stack) {
    let stack = Arc::new(stack);
    let gateway = stack.gateway(&QUICK).await;
    let token = person(&stack, &gateway, "ann").await;
    let create = async |wanted: &Value| {
        call(&gateway, Method::POST, "/api/chat/sessions/create", &token, Some(wanted)).await
    };
    // Nobody starts agents yet.
    let (status, answer) = create(&wants("mistral", "large")).await;
    assert_eq!((status, &answer["code"]), (503, &json!("no_agent_available")), "{answer}");
    let (host, hosted) = host(&stack).await;
    let (status, answer) = create(&wants("mistral", "large")).await;
    assert_eq!(status, 200, "{answer}");
    let agent = &answer["agents"]["primary"];
    assert_eq!((&agent["hosted_by"], &agent["model"]), (&json!(host.account_id()), &json!("large")));
    assert_eq!(hosted.lock().unwrap().keys().next().map(String::as_str), agent["agent_id"].as_str());
    let session = answer["session_id"].as_str().unwrap();
    let mut chat =
        Web::open(&gateway.ws(&format!("/api/chat/ws/{session}?token={token}")), &[]).await.unwrap();
    chat.send(&json!({"type": "text", "content": "hello"})).await;
    assert_eq!(chat.until(|frame| frame["type"] == "response").await["content"], "from a hosted agent");
    // Its end is the agent's.
    let path = format!("/api/chat/sessions/{session}");
    assert_eq!(call(&gateway, Method::DELETE, &path, &token, None).await.0, 200);
    until(|| hosted.lock().unwrap().is_empty()).await;
    // What can't be started is told, with what was asked for.
    for (provider, why) in [("refused", "no room"), ("liar", "didn't come online")] {
        let short = stack.gateway(&[("GATEWAY_HOSTING_SECONDS", "1"), ("GATEWAY_RATE_CREATE", "100")]).await;
        let wanted = wants(provider, "large");
        let (status, answer) =
            call(&short, Method::POST, "/api/chat/sessions/create", &token, Some(&wanted)).await;
        let detail = answer["detail"].as_str().unwrap();
        assert_eq!((status, &answer["code"]), (503, &json!("no_agent_available")), "{answer}");
        assert!(detail.contains(provider) && detail.contains("large") && detail.contains(why), "{detail}");
    }
    // The first of two is let go when the second can't be had.
    let two = json!({"session_type": "agent_agent", "agents": {
        "a": {"provider": "mistral"}, "b": {"provider": "refused"}}});
    assert_eq!(create(&two).await.0, 503);
    until(|| hosted.lock().unwrap().is_empty()).await;
    host.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_started_for_sessions_in_open_mode() {
    hosting(Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_started_for_sessions_in_signed_mode() {
    hosting(Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_started_for_sessions_in_secure_mode() {
    hosting(Stack::secure(&[]).await).await;
}

/// Where a gateway in a process of its own says where it is.
const ADDR_FILE: &str = "AGENTNET_TEST_GATEWAY_ADDR_FILE";

/// Not a test of its own: the gateway that is killed.
#[test]
#[ignore = "a helper of the tests below"]
fn a_gateway_process() {
    let Ok(file) = std::env::var(ADDR_FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = FullConfig::read::<Gateway>(&Env::process()).unwrap();
        let shutdown = Shutdown::new(config.chassis.shutdown);
        let Started { task, handle, .. } = start::<Gateway>(config, &shutdown).await.unwrap();
        fs::write(format!("{file}.new"), handle.addrs()[0].to_string()).unwrap();
        fs::rename(format!("{file}.new"), &file).unwrap();
        task.await.unwrap().unwrap();
    });
}

/// A gateway that ends with SIGKILL, at the latest when this is dropped.
struct Doomed(Child, String);

impl Doomed {
    async fn start(stack: &Stack, dir: &Path) -> Self {
        let file = dir.join("addr");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "a_gateway_process"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.env(ADDR_FILE, &file).env("NATS_URL", stack.nats.url()).env("GATEWAY_LISTEN", "127.0.0.1:0");
        command.env("AGENTNET_DEPLOYMENT", "e2e").envs(QUICK).envs(stack.settings().iter().copied());
        let seed = stack.identity("gateway").key().expose_nkey_seed();
        match stack.settings().iter().find(|(name, _)| *name == "AGENTNET_SECURITY") {
            Some((_, "secure")) => drop(command.env("AGENTNET_NKEY_SEED", seed)),
            Some(_) => drop(command.env("GATEWAY_KEY_SEED", seed)),
            None => {}
        }
        let child = command.spawn().unwrap();
        until(|| file.exists()).await;
        Self(child, fs::read_to_string(&file).unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent that answers as often as it may.
async fn talker(stack: &Stack, provider: &str, may: &Arc<Semaphore>) -> AgentNode {
    let told = json!({"provider": provider, "model": "m"});
    let (may, name) = (Arc::clone(may), provider.to_owned());
    let started = stack
        .node(provider)
        .identity(stack.identity(provider))
        .metadata(told.as_object().unwrap().clone())
        .no_rate_limit()
        .on_message(move |message: Incoming| {
            let (may, name) = (Arc::clone(&may), name.clone());
            async move {
                may.acquire().await?.forget();
                message.reply(json!({"text": format!("{name} says")})).await?;
                Ok(())
            }
        })
        .start();
    started.await.unwrap()
}

/// What two agents say while one gateway after the other looks after them.
async fn taken_over(stack: &Stack) {
    let dir = tempfile::tempdir().unwrap();
    let survivor = stack.gateway(&QUICK).await;
    let mut doomed = Doomed::start(stack, dir.path()).await;
    let may = Arc::new(Semaphore::new(3));
    let (ping, pong) = (talker(stack, "ping", &may).await, talker(stack, "pong", &may).await);
    let token = person(stack, &survivor, "ann").await;
    let wanted = json!({"session_type": "agent_agent", "metadata": {"max_turns": 8},
        "agents": {"a": {"provider": "ping"}, "b": {"provider": "pong"}}});
    let (status, answer) =
        call(&survivor, Method::POST, "/api/chat/sessions/create", &token, Some(&wanted)).await;
    assert_eq!(status, 200, "{answer}");
    let session = answer["session_id"].as_str().unwrap().to_owned();
    let path = format!("/api/chat/ws/{session}?token={token}");
    let mut there = Web::open(&format!("ws://{}{path}", doomed.1), &[]).await.unwrap();
    there.send(&json!({"type": "text", "content": "begin"})).await;
    let mut last = Value::Null;
    for _ in 0..3 {
        last = there.until(|frame| frame["type"] == "response").await["metadata"]["message_id"].take();
    }
    until_async(async || stored(&survivor, &session, &token).await.1 >= 3).await;
    // The fourth is at work when the gateway dies. A client comes back to the other gateway.
    doomed.kill();
    let path = format!("{path}&last_message_id={}", last.as_str().unwrap());
    let mut here = Web::open(&survivor.ws(&path), &[]).await.unwrap();
    may.add_permits(100);
    let mut said = Vec::new();
    let stop = loop {
        let frame = here.until(|frame| frame["type"] != "ping").await;
        match frame["type"].as_str() {
            Some("response") => said.push(frame["sender"].as_str().unwrap().to_owned()),
            Some("stop") => break frame,
            _ => panic!("{frame}"),
        }
    };
    assert_eq!(stop["content"], "max_turns_reached");
    let expected = [pong.account_id(), ping.account_id()].repeat(3);
    assert_eq!(said, expected[..5], "in turn, and each once");
    // Each answer was passed on once, by whichever gateway.
    until_async(async || stored(&survivor, &session, &token).await.1 >= 8).await;
    assert_eq!(stored(&survivor, &session, &token).await, (8, 8));
}

/// Questions and answers of a session that are stored.
async fn stored(gateway: &RunningGateway, session: &str, token: &str) -> (usize, usize) {
    let path = format!("/api/threads/{session}/messages?limit=200");
    let rows = call(gateway, Method::GET, &path, token, None).await.1;
    let of =
        |kind: &str| rows["messages"].as_array().unwrap().iter().filter(|row| row["kind"] == kind).count();
    (of("request"), of("reply"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_goes_on_with_two_agents_in_open_mode() {
    taken_over(&Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_goes_on_with_two_agents_in_signed_mode() {
    taken_over(&Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_goes_on_with_two_agents_in_secure_mode() {
    taken_over(&Stack::secure(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_of_which_one_fails_are_done() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(&QUICK).await;
    let _ping = talker(&stack, "ping", &Arc::new(Semaphore::new(10))).await;
    let told = json!({"provider": "pong", "model": "m"});
    let fails = stack
        .node("pong")
        .metadata(told.as_object().unwrap().clone())
        .on_message(|_| async { Err("broken".into()) });
    let _pong = fails.start().await.unwrap();
    let token = person(&stack, &gateway, "ann").await;
    let wanted = json!({"session_type": "agent_agent", "agents": {"a": {"provider": "ping"}, "b": {"provider": "pong"}}});
    let (_, answer) = call(&gateway, Method::POST, "/api/chat/sessions/create", &token, Some(&wanted)).await;
    let session = answer["session_id"].as_str().expect("a session");
    let mut chat =
        Web::open(&gateway.ws(&format!("/api/chat/ws/{session}?token={token}")), &[]).await.unwrap();
    chat.send(&json!({"type": "text", "content": "begin"})).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let frame = chat.until(|frame| frame["type"] == "error" || frame["type"] == "stop").await;
        seen.push((
            frame["type"].as_str().unwrap().to_owned(),
            frame["metadata"]["code"].clone(),
            frame["content"].clone(),
        ));
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!((&seen[0].0, &seen[0].1), (&"error".to_owned(), &json!("handler_error")));
    assert_eq!((&seen[1].0, &seen[1].2), (&"stop".to_owned(), &json!("handler_error")));
}
