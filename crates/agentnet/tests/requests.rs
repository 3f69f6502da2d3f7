//! Requests and replies over a real nats-server, both ways, with raw peers that speak as the original.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{future::IntoFuture as _, time::Duration};

use agentnet::{AgentNode, ErrorKind, Incoming};
use serde_json::{Value, json};
use support::{Network, SOON, next, original, until};
use tokio::time::{Instant, timeout};

async fn echo(network: &Network, agent_id: &str) -> AgentNode {
    network
        .node(agent_id)
        .capability("echo")
        .no_rate_limit()
        .on_message(|message: Incoming| async move {
            message.reply(json!({"echo": message.payload()})).await?;
            Ok(())
        })
        .start()
        .await
        .unwrap()
}

fn reply_to(request: &Value, from: &str, payload: Value) -> Value {
    let mut reply =
        original(from, request["from_account_id"].as_str().unwrap(), &format!("reply-{from}"), payload);
    reply["kind"] = "reply".into();
    reply["parent_message_id"] = request["message_id"].clone();
    reply["thread_id"] = request["thread_id"].clone();
    reply["trace_id"] = request["trace_id"].clone();
    reply
}

#[tokio::test]
async fn two_nodes_ask_and_answer() {
    let network = Network::start().await;
    let bob = echo(&network, "bob").await;
    let alice = network.node("alice").start().await.unwrap();
    for target in ["acct_bob", "@bob", "capability:echo"] {
        let reply = alice.request(target, json!({"n": 1})).thread("t").await.unwrap();
        assert_eq!(reply.payload().value(), json!({"echo": {"n": 1}}), "{target}");
        assert_eq!((reply.from_account(), reply.thread_id()), (Some("acct_bob"), "t"));
        assert_eq!(reply.envelope().kind, "reply");
    }
    // Both sides are stored: request and reply went where the stream hears them.
    until(|| alice.metrics_snapshot().outbox_count == 0 && bob.metrics_snapshot().outbox_count == 0).await;
    let replies =
        network.with(|s| s.captured.iter().filter(|(subject, ..)| subject.contains(".replies.")).count());
    assert_eq!(replies, 3);
    assert_eq!(alice.metrics_snapshot().requests_waiting, 0);
    assert_eq!(alice.metrics_snapshot().latency_ms.request_account.count, 3);
}

#[tokio::test]
async fn many_requests_share_one_subscription_and_find_their_replies() {
    let network = Network::start().await;
    let _bob = echo(&network, "bob").await;
    let alice = network.node("alice").start().await.unwrap();
    let asked = (0..50).map(|n| {
        let alice = alice.clone();
        tokio::spawn(
            async move { alice.request("acct_bob", json!(n)).await.map(|r| (n, r.payload().value())) },
        )
    });
    for task in asked.collect::<Vec<_>>() {
        let (n, value) = timeout(SOON, task).await.unwrap().unwrap().unwrap();
        assert_eq!(value, json!({"echo": n}));
    }
}

#[tokio::test]
async fn an_original_requester_is_answered_on_its_inbox() {
    let network = Network::start().await;
    let bob = echo(&network, "bob").await;
    let mut request = original("acct_alice", "acct_bob", "m1", json!({"q": 1}));
    request["kind"] = "request".into();
    let answer = network.raw.request("account.acct_bob.inbox", request.to_string().into());
    let answer = timeout(SOON, answer).await.unwrap().unwrap();
    let reply: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(reply["payload"], json!({"echo": {"q": 1}}));
    assert_eq!((&reply["kind"], &reply["parent_message_id"]), (&json!("reply"), &json!("m1")));
    assert_eq!(
        (&reply["to_account_id"], &reply["from_account_id"]),
        (&json!("acct_alice"), &json!("acct_bob"))
    );
    assert_eq!((&reply["trace_id"], &reply["thread_id"]), (&json!("m1"), &json!("thread_m1")));
    // A copy where the stream hears it.
    let id = reply["message_id"].as_str().unwrap();
    until(|| network.copies(id, "account.acct_alice.replies.history") == 1).await;
    until(|| bob.metrics_snapshot().outbox_count == 0).await;
}

#[tokio::test]
async fn an_original_responder_answers_our_request() {
    let network = Network::start().await;
    let mut inbox = network.listen("account.acct_bob.inbox").await;
    let alice = network.node("alice").start().await.unwrap();
    let (reply, ()) = tokio::join!(alice.request("acct_bob", json!(1)).into_future(), async {
        let message = next(&mut inbox).await;
        let request: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(request["kind"], "request");
        let subject = message.reply.clone().unwrap();
        assert!(subject.starts_with("account.acct_alice.replies."), "{subject}");
        assert_eq!(request["reply_to"], subject.as_str());
        assert_eq!(request["ttl_ms"], 5000, "a request lives no longer than its timeout");
        let answer = reply_to(&request, "acct_bob", json!({"ok": true}));
        network.publish(&subject, &answer).await;
    });
    assert_eq!(reply.unwrap().payload().value(), json!({"ok": true}));
}

#[tokio::test]
async fn only_the_one_asked_may_answer() {
    let network = Network::start().await;
    let mut inbox = network.listen("account.acct_bob.inbox").await;
    let alice = network.node("alice").start().await.unwrap();
    let (reply, ()) = tokio::join!(alice.request("acct_bob", json!(1)).into_future(), async {
        let message = next(&mut inbox).await;
        let request: Value = serde_json::from_slice(&message.payload).unwrap();
        let subject = message.reply.clone().unwrap();
        network.publish(&subject, &reply_to(&request, "acct_mallory", json!("forged"))).await;
        let mut other = reply_to(&request, "acct_bob", json!("for another"));
        other["parent_message_id"] = "m0".into();
        network.publish(&subject, &other).await;
        network.raw.publish(subject.clone(), "{".into()).await.unwrap();
        network.publish(&subject, &reply_to(&request, "acct_bob", json!("true"))).await;
    });
    assert_eq!(reply.unwrap().text().as_deref(), Some("true"));
    assert_eq!(alice.metrics_snapshot().replies_refused_count, 3);
}

#[tokio::test]
async fn nobody_there_differs_from_too_slow() {
    let network = Network::start().await;
    let alice = network.node("alice").receipt_timeout(Duration::from_millis(200)).start().await.unwrap();
    let started = Instant::now();
    for target in ["acct_bob", "capability:nothing"] {
        let error = alice.request(target, json!(1)).timeout(SOON).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoResponder, "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "it doesn't wait for the timeout");
    // Online by the registry's word, silent all the same.
    network.with(|s| s.online.insert("acct_bob".into()));
    let error = alice.request("acct_bob", json!(1)).timeout(Duration::from_millis(600)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // Accepted and never answered.
    let _carol = network.node("carol").on_message(|_| async { Ok(()) }).start().await.unwrap();
    let error = alice.request("acct_carol", json!(1)).timeout(Duration::from_millis(600)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.detail().contains("sent no reply"), "{error}");
    assert_eq!(alice.metrics_snapshot().requests_waiting, 0);
}

#[tokio::test]
async fn refusals_of_requests_are_typed_errors_at_once() {
    let network = Network::start().await;
    let _bob = network.node("bob").on_message(|_| async { Err("broken".into()) }).start().await.unwrap();
    let alice = network.node("alice").start().await.unwrap();
    let started = Instant::now();
    let error = alice.request("acct_bob", json!(1)).timeout(SOON).await.unwrap_err();
    assert_eq!((error.kind(), error.detail()), (ErrorKind::HandlerError, "handler raised an exception"));
    // An original responder's error reply without a receipt.
    let mut inbox = network.listen("account.acct_carol.inbox").await;
    let (reply, ()) = tokio::join!(
        alice.request("acct_carol", json!(1)).timeout(SOON).into_future(),
        async {
            let message = next(&mut inbox).await;
            let request: Value = serde_json::from_slice(&message.payload).unwrap();
            let payload = json!({"error": "busy", "detail": "agent backlog is full", "request_message_id": request["message_id"]});
            let mut error = reply_to(&request, "acct_carol", payload);
            error["kind"] = "error".into();
            network.publish(&message.reply.unwrap(), &error).await;
        }
    );
    let error = reply.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Busy, "busy"));
    assert!(error.trace_id().is_some());
    assert!(started.elapsed() < Duration::from_secs(5));
    let error = alice.request("thread:t", json!(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTarget);
}

#[tokio::test]
async fn a_reply_never_goes_to_a_subject_that_is_not_the_requesters() {
    let network = Network::start().await;
    let bob = echo(&network, "bob").await;
    let mut victim = network.listen("account.acct_carol.>").await;
    let mut receipts = network.listen("account.acct_alice.receipts").await;
    for (n, subject) in
        ["account.acct_carol.inbox", "account.acct_carol.replies.t", "registry.goodbye"].iter().enumerate()
    {
        let message = original("acct_alice", "acct_bob", &format!("m{n}"), json!({}));
        network
            .raw
            .publish_with_reply("account.acct_bob.inbox", *subject, message.to_string().into())
            .await
            .unwrap();
        assert_eq!(support::next_status(&mut receipts, "rejected").await["code"], "handler_error");
    }
    support::round_trip(&network.raw).await;
    assert!(timeout(Duration::ZERO, futures_util::StreamExt::next(&mut victim)).await.is_err());
    assert_eq!(bob.metrics_snapshot().error_count, 3);
}

#[tokio::test]
async fn a_registry_or_a_server_that_is_down_is_said_at_once() {
    let network = Network::without_registry().await;
    let started = Instant::now();
    let error = network.node("alice").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RegistryUnavailable, "{error}");
    assert!(started.elapsed() < agentnet::REGISTER_TIMEOUT);

    let mut settings = agentnet::connect::NatsSettings::from_url("nats://s3cret@127.0.0.1:1").unwrap();
    settings.connect_timeout = Duration::from_millis(300);
    let error = AgentNode::builder("alice").nats(settings).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NatsUnavailable);
    assert!(
        error.to_string().contains("127.0.0.1:1") && !format!("{error:?}").contains("s3cret"),
        "{error:?}"
    );

    let wrong = network.nats.url().replace("agentnet_secret_token", "wr0ng");
    let error = AgentNode::builder("alice").nats_url(wrong).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(!format!("{error:?}").contains("wr0ng"));
}

#[tokio::test]
async fn online_agents_are_listed() {
    let network = Network::start().await;
    let _bob = echo(&network, "bob").await;
    until(|| network.with(|s| !s.hellos.is_empty())).await;
    let agents = agentnet::list_online_agents(&network.nats.url()).await.unwrap();
    assert_eq!((agents[0].agent_id.as_str(), agents[0].capabilities[0].as_str()), ("bob", "echo"));
    assert_eq!(agents[0].schema_version.as_deref(), Some("1.2"));
}

#[tokio::test]
async fn dropping_a_node_ends_its_tasks_and_its_connection() {
    let network = Network::start().await;
    let node = echo(&network, "bob").await;
    let mut state = node.connection().state();
    drop(node);
    timeout(SOON, state.wait_for(|s| s.closed)).await.unwrap().ok();
    let mut receipts = network.listen("account.acct_alice.receipts").await;
    network.publish("account.acct_bob.inbox", &original("acct_alice", "acct_bob", "m", json!({}))).await;
    support::round_trip(&network.raw).await;
    assert!(timeout(Duration::ZERO, futures_util::StreamExt::next(&mut receipts)).await.is_err());
}
