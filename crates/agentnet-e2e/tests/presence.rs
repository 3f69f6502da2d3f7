//! Going and coming back, guests, several identities in one process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agentnet::{AgentNode, AgentNodeBuilder, ErrorKind, Identity, Incoming, Stage, proto::rpc};
use serde_json::json;
use support::{Stack, until};

/// A node that notes what it handles, and echoes.
async fn noting(builder: AgentNodeBuilder) -> (AgentNode, Arc<Mutex<Vec<String>>>) {
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&notes);
    let node = builder
        .no_rate_limit()
        .on_message(move |message: Incoming| {
            let heard = Arc::clone(&heard);
            async move {
                heard.lock().unwrap().push(message.text().unwrap_or_default());
                if message.wants_reply() {
                    message.reply(json!({"text": message.text()})).await?;
                }
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    (node, notes)
}

/// Until these are online, and nobody else; long before a session that said nothing would count as gone.
async fn until_online(node: &AgentNode, names: &[&str]) {
    support::until_async(|| async {
        let agents = node.registry().list(&rpc::ListRequest::default()).await.unwrap().agents;
        agents.into_iter().filter_map(|agent| agent.username).eq(names.iter().copied())
    })
    .await;
}

async fn goes_and_comes_back(stack: Stack) {
    let (bob, notes) = noting(stack.node("bob").capability("sums")).await;
    let (alice, _) = noting(stack.node("alice")).await;
    assert!(bob.is_online());
    let first_tag = bob.session_tag();
    alice.send("@bob", json!("before")).until(Stage::Processed).await.unwrap();

    bob.offline().await.unwrap();
    bob.offline().await.unwrap();
    assert!(!bob.is_online() && bob.is_accepting() && !bob.is_closed());
    until_online(&alice, &["alice"]).await;
    for (target, text) in [("@bob", "meanwhile"), ("capability:sums", "sum")] {
        let ttl = Duration::from_secs(60);
        let sent = alice
            .send(target, json!(text))
            .ttl(ttl)
            .receipt_timeout(Duration::from_millis(300))
            .await
            .unwrap();
        assert!(sent.stored && !sent.is_accepted(), "{sent:?}");
    }
    // It still speaks, and hears answers.
    let reply = bob.request("@alice", json!({"text": "there?"})).await.unwrap();
    assert_eq!(reply.text().as_deref(), Some("there?"));
    // Neither a renewed nor a lost connection makes it come back by itself.
    bob.connection().client().force_reconnect().await.unwrap();
    alice.send("@alice", json!("to myself")).await.unwrap();
    assert_eq!(*notes.lock().unwrap(), ["before"]);
    until_online(&alice, &["alice"]).await;

    bob.online().await.unwrap();
    bob.online().await.unwrap();
    assert!(bob.is_online());
    assert_ne!(bob.session_tag(), first_tag, "another session");
    until(|| notes.lock().unwrap().len() == 3).await;
    let mut handled = notes.lock().unwrap().clone();
    handled.sort();
    assert_eq!(handled, ["before", "meanwhile", "sum"]);
    let live = alice.send("@bob", json!("again")).until(Stage::Processed).await.unwrap();
    assert_eq!(live.stage, Some(Stage::Processed));
    until_online(&alice, &["alice", "bob"]).await;

    // Closed, it neither goes nor comes.
    bob.offline().await.unwrap();
    bob.close().await.unwrap();
    assert_eq!(bob.online().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(bob.offline().await.unwrap_err().kind(), ErrorKind::Closed);
    alice.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_offline_and_comes_back_with_what_waited() {
    goes_and_comes_back(Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_in_secure_mode_while_its_connection_is_renewed() {
    // Connections live so short that they are renewed while the node is away.
    goes_and_comes_back(Stack::secure(&[("AGENTNET_CONNECTION_SECONDS", "10")]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_has_several_identities() {
    let stack = Stack::secure(&[]).await;
    let mut nodes = Vec::new();
    for name in ["one", "two", "three"] {
        nodes.push(noting(stack.node(name)).await);
    }
    let accounts: std::collections::BTreeSet<_> =
        nodes.iter().map(|(node, _)| node.account_id().to_owned()).collect();
    assert_eq!(accounts.len(), 3, "a key and an account each");
    // Everyone writes to everyone, itself included, and each message is its sender's.
    for (from, _) in &nodes {
        for (to, notes) in &nodes {
            let text = format!("{} to {}", from.username(), to.username());
            let target = format!("@{}", to.username());
            let reply = from.request(target.as_str(), json!({"text": text})).await.unwrap();
            assert_eq!(reply.text().as_deref(), Some(text.as_str()));
            assert_eq!(reply.envelope().from_account_id.as_deref(), Some(to.account_id()));
            assert!(notes.lock().unwrap().contains(&text));
        }
    }
    for (node, notes) in &nodes {
        assert_eq!(notes.lock().unwrap().len(), 3, "nobody heard what was another's");
        node.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_leaves_no_key_behind_and_nobody_else_is_called_guest() {
    let stack = Stack::secure(&[]).await;
    let (host, notes) = noting(stack.node("host")).await;
    let guest = AgentNode::builder("visitor").nats_url(stack.nats.url()).dev_auth(false);
    let guest = guest.security(agentnet::proto::Security::Secure).guest().start().await.unwrap();
    assert!(guest.username().starts_with("guest_"), "{}", guest.username());
    let reply = guest.request("@host", json!({"text": "may I?"})).await.unwrap();
    assert_eq!(reply.text().as_deref(), Some("may I?"));
    assert_eq!(*notes.lock().unwrap(), ["may I?"]);
    // Another guest is another account.
    let another = Identity::guest();
    assert!(another.is_guest() && another.name() != guest.username());
    // The key is in no file: neither where the identities of this test are kept nor where the user's are.
    let default = agentnet::IdentityStore::from_env().unwrap();
    assert!(!default.path_of(&guest.username()).unwrap().exists());
    assert!(!default.path_of("visitor").unwrap().exists());

    for name in ["guest", "Guest", "guest_of_honour", "guesthouse"] {
        let refused = stack.node("other").username(name).start().await.unwrap_err();
        assert_eq!(refused.code(), "username_reserved", "{name}: {refused}");
    }
    // Nor by a role's name, or by a new name for an account that is there.
    let refused = AgentNode::builder("guest").nats_url(stack.nats.url()).identity(stack.identity("plain"));
    let refused = refused.security(agentnet::proto::Security::Secure).username("guest 1").start().await;
    assert_eq!(refused.unwrap_err().code(), "username_reserved");
    let renamed = stack.node("host").username("guest_host").start().await.unwrap_err();
    assert_eq!(renamed.code(), "username_reserved");
    // A guest by another name isn't one.
    let named = AgentNode::builder("visitor").nats_url(stack.nats.url()).guest().username("host_2");
    let named = named.security(agentnet::proto::Security::Secure).start().await.unwrap_err();
    assert_eq!(named.code(), "invalid_field");
    guest.close().await.unwrap();
    host.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_mode_keeps_the_names_of_guests_too() {
    let stack = Stack::start().await;
    let body = json!({"agent_id": "guest_bot", "name": "x", "capabilities": [], "metadata": {}});
    let answer = stack.raw.request("registry.register", body.to_string().into()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["error"], "username_reserved", "{answer}");
    let guest = AgentNode::builder("visitor").nats_url(stack.nats.url()).dev_auth(false).guest();
    let guest = guest.start().await.unwrap();
    assert!(guest.username().starts_with("guest_"));
    guest.close().await.unwrap();
}

#[tokio::test]
async fn a_chosen_message_id_is_checked_and_kept_and_refers_to_others() {
    let stack = Stack::start().await;
    let (_bob, _) = noting(stack.node("bob")).await;
    let alice = stack.node("alice").start().await.unwrap();
    let first = alice.send("@bob", json!(1)).message_id("order-17").thread("orders").await.unwrap();
    assert_eq!(first.message_id, "order-17");
    let second = alice.send("@bob", json!(2)).parent("order-17").thread("orders").await.unwrap();
    let rows = stack.stored(alice.registry(), "orders").await;
    let row = rows.iter().find(|row| row.message_id == second.message_id).unwrap();
    assert_eq!(row.parent_message_id.as_deref(), Some("order-17"));
    for bad in [String::new(), "x".repeat(513), "a\0b".to_owned()] {
        let refused = alice.send("@bob", json!(3)).message_id(bad.as_str()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        let refused = alice.send("@bob", json!(3)).parent(bad.as_str()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
    // The same id for something else is refused by the network.
    let other = alice.send("@bob", json!("else")).message_id("order-17").thread("orders").await.unwrap_err();
    assert!(["duplicate", "message_id_conflict"].contains(&other.code()), "{other}");
}
