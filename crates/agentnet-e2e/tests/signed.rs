//! A whole network in signed mode: agents of ours talk, keys change, and the registry takes nobody's word.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::sync::Arc;

use agentnet::{
    ErrorKind, Identity, IdentityStore, RegistryClient, Signer, Stage,
    evidence::Evidence,
    proto::{rpc, signature::SecretKey},
};
use serde_json::json;
use support::{SECOND, Stack, identity, until};

fn signer(identity: &Identity) -> Arc<Signer> {
    Arc::new(Signer::new(identity, "e2e".parse().unwrap()))
}

fn registry(stack: &Stack, identity: &Identity) -> RegistryClient {
    stack.registry().signed_by(signer(identity))
}

#[tokio::test]
async fn agents_talk_and_everything_they_say_is_signed() {
    let stack = Stack::signed().await;
    let mut heard = stack.listen("account.>".to_owned()).await;
    let bob =
        stack.node("bob").identity(identity("bob")).capability("echo").on_message(|message| async move {
            if message.wants_reply() {
                message.reply(json!({"text": message.text()})).await?;
            }
            Ok(())
        });
    let bob = bob.start().await.unwrap();
    let alice = stack.node("alice").identity(identity("alice")).start().await.unwrap();
    assert_eq!((alice.username(), bob.username()), ("alice".to_owned(), "bob".to_owned()));
    let sent = alice.send("@bob", json!({"text": "hi"})).until(Stage::Processed).await.unwrap();
    assert!(sent.stored || sent.stage == Some(Stage::Processed));
    let reply = alice.request("@bob", json!({"text": "who?"})).await.unwrap();
    assert_eq!(reply.text().as_deref(), Some("who?"));
    let reply = alice.request("capability:echo", json!({"text": "any"})).await.unwrap();
    assert_eq!(reply.text().as_deref(), Some("any"));
    assert_eq!((alice.metrics_snapshot().unproved, bob.metrics_snapshot().unproved), Default::default());
    // Presence is believed, too.
    until_online(&stack, &bob).await;
    bob.close().await.unwrap();
    until_offline(&stack, &bob).await;
    alice.close().await.unwrap();
    let mut unsigned = Vec::new();
    while let Ok(Some(message)) =
        tokio::time::timeout(SECOND, futures_util::StreamExt::next(&mut heard)).await
    {
        // The persister's word, which agents can't sign.
        let is_signed = message.headers.is_some_and(|headers| headers.get("Agentnet-Signature").is_some());
        if !is_signed && !message.subject.ends_with(".stored") {
            unsigned.push(message.subject.to_string());
        }
    }
    assert_eq!(unsigned, Vec::<String>::new());
}

async fn online(stack: &Stack, node: &agentnet::AgentNode) -> bool {
    let request = rpc::ProfileRequest { account_id: Some(node.account_id().to_string()), username: None };
    stack.registry().profile(&request).await.unwrap().online
}

async fn until_online(stack: &Stack, node: &agentnet::AgentNode) {
    agentnet_local::testing::eventually(support::SOON, || async { online(stack, node).await.then_some(()) })
        .await;
}

async fn until_offline(stack: &Stack, node: &agentnet::AgentNode) {
    agentnet_local::testing::eventually(support::SOON, || async {
        (!online(stack, node).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_account_is_the_keys_and_a_stranger_cannot_join_it() {
    let stack = Stack::signed().await;
    let me = identity("weather");
    let first = stack.node("weather").identity(me.clone()).start().await.unwrap();
    // In another role, without naming the account: the key says which it is, and it keeps its name.
    let second = stack.node("forecaster").identity(me.clone()).start().await.unwrap();
    assert_eq!((first.account_id(), second.username()), (second.account_id(), "weather".to_owned()));
    let refused = stack.node("weather").identity(identity("weather")).start().await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Auth, "auth_public_key_mismatch"));
    let by_id = stack.node("w").identity(identity("thief")).account_id(first.account_id());
    assert_eq!(by_id.start().await.unwrap_err().code(), "auth_public_key_mismatch");
    let other_network = stack.node("w").identity(me).deployment("elsewhere".parse().unwrap());
    assert_eq!(other_network.start().await.unwrap_err().kind(), ErrorKind::Auth);
}

#[tokio::test]
async fn keys_rotate_and_are_revoked_and_those_that_ended_never_come_back() {
    let stack = Stack::signed().await;
    let bob =
        stack.node("bob").identity(identity("bob")).on_message(|_| async { Ok(()) }).start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::new(dir.path());
    let old = store.create("alice", None).unwrap();
    let alice = stack.node("alice").identity(old.clone()).start().await.unwrap();
    alice.send("@bob", json!({"n": 1})).until(Stage::Processed).await.unwrap();

    let new = store.rotate("alice", None).unwrap();
    let rotated = registry(&stack, &old).rotate(new.key()).await.unwrap();
    assert_eq!(rotated.public_key, new.public_key().to_string());
    // Asked again, as after a lost answer, nothing changes.
    assert_eq!(registry(&stack, &old).rotate(new.key()).await.unwrap(), rotated);
    let third = registry(&stack, &old).rotate(&SecretKey::generate()).await.unwrap_err();
    assert_eq!(third.code(), "auth_public_key_mismatch");
    // What the old key signs from now on counts nowhere.
    let late = alice.send("@bob", json!({"n": 2})).receipt_timeout(SECOND / 5).until(Stage::Processed);
    assert_eq!(late.await.unwrap_err().kind(), ErrorKind::Unconfirmed);
    until(|| bob.metrics_snapshot().unproved.contains_key("auth_public_key_mismatch")).await;
    let again = stack.node("alice").identity(new.clone()).start().await.unwrap();
    assert_eq!(again.account_id(), alice.account_id());
    again.send("@bob", json!({"n": 3})).until(Stage::Processed).await.unwrap();
    let back = stack.node("other").identity(old.clone()).username("other").start().await.unwrap_err();
    assert_eq!(back.code(), "auth_public_key_mismatch");

    // A stranger can't revoke it, the owner can.
    let request = rpc::RevokeRequest { account_id: alice.account_id().to_string(), public_key: None };
    let stranger = identity("stranger");
    assert_eq!(
        registry(&stack, &stranger).revoke(&request).await.unwrap_err().code(),
        "auth_public_key_mismatch"
    );
    let mallory = identity("mallory");
    let _mallory = stack.node("mallory").identity(mallory.clone()).start().await.unwrap();
    assert_eq!(registry(&stack, &mallory).revoke(&request).await.unwrap_err().code(), "forbidden");
    let revoked = registry(&stack, &new).revoke(&request).await.unwrap();
    assert_eq!(revoked.public_key, new.public_key().to_string());
    let gone = stack.node("alice").identity(new).start().await.unwrap_err();
    assert_eq!(gone.code(), "auth_public_key_mismatch");
    let history = stack.registry().key_history(alice.account_id()).await.unwrap();
    let ends: Vec<_> = history.iter().map(|key| key.ended_as.as_deref()).collect();
    assert_eq!(ends, [Some("revoked"), Some("rotated")]);
    assert_eq!(stack.registry().resolve_key(alice.account_id()).await.unwrap_err().code(), "not_found");
}

#[tokio::test]
async fn what_changes_something_is_signed_and_taken_once() {
    let stack = Stack::signed().await;
    let me = identity("maker");
    let _me = stack.node("maker").identity(me.clone()).start().await.unwrap();
    let request = rpc::ThreadCreateRequest { title: "Plans".to_owned(), ..Default::default() };
    assert_eq!(
        stack.registry().call::<rpc::ThreadCreate>(&request).await.unwrap_err().code(),
        "auth_required"
    );
    let nobody = registry(&stack, &identity("nobody"));
    assert_eq!(
        nobody.call::<rpc::ThreadCreate>(&request).await.unwrap_err().code(),
        "auth_public_key_mismatch"
    );
    let mut asked = stack.listen("registry.thread_create".to_owned()).await;
    registry(&stack, &me).call::<rpc::ThreadCreate>(&request).await.unwrap();
    let asked =
        tokio::time::timeout(SECOND, futures_util::StreamExt::next(&mut asked)).await.unwrap().unwrap();
    let again = async_nats::Request::new().payload(asked.payload).headers(asked.headers.unwrap());
    let answer = stack.raw.send_request("registry.thread_create", again).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["error"], "auth_nonce_replayed");
}

#[tokio::test]
async fn stored_history_is_checked_without_the_network() {
    let stack = Stack::signed().await;
    let bob = stack.node("bob").identity(identity("bob")).on_message(|message| async move {
        if message.wants_reply() {
            message.reply(json!({"text": "yes"})).await?;
        }
        Ok(())
    });
    let bob = bob.start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::new(dir.path());
    let alice_id = store.create("alice", None).unwrap();
    let alice = stack.node("alice").identity(alice_id.clone()).start().await.unwrap();
    alice.send("@bob", json!({"n": 1})).thread("t").await.unwrap();
    alice.request("@bob", json!({"n": 2})).thread("t").await.unwrap();
    // What was signed before a key ended stays proved.
    let new = store.rotate("alice", None).unwrap();
    registry(&stack, &alice_id).rotate(new.key()).await.unwrap();
    let reader = registry(&stack, &new);
    let evidence = agentnet_local::testing::eventually(support::SOON, || async {
        Evidence::of_thread(&reader, "t").await.ok().filter(|found| found.messages.len() == 3)
    })
    .await;
    let one = Evidence::of_message(&reader, &evidence.messages[0].message_id).await.unwrap();
    assert_eq!(one.messages, evidence.messages[..1]);
    drop((alice, bob, stack));

    let evidence = Evidence::from_json(evidence.to_json().as_bytes()).unwrap();
    let checked = evidence.check().unwrap();
    assert!(checked.iter().all(|message| message.is_proved()), "{checked:?}");
    let faults = |evidence: &Evidence| -> Vec<Option<String>> {
        evidence.check().unwrap().into_iter().map(|message| message.fault).collect()
    };
    let fault = |code: &str| Some(code.to_owned());
    let mut other_network = evidence.clone();
    other_network.deployment = "elsewhere".to_owned();
    assert_eq!(faults(&other_network), vec![fault("auth_signature_invalid"); 3]);
    let mut swapped = evidence.clone();
    swapped.messages[0].envelope = swapped.messages[1].envelope.clone();
    assert_eq!(faults(&swapped)[0], fault("message_id_conflict"));
    let mut unsigned = evidence.clone();
    unsigned.messages[2].signature = None;
    assert_eq!(faults(&unsigned), [None, None, fault("auth_missing")]);
    let mut later = evidence;
    later.messages[2].received_at = "2099-01-01T00:00:00Z".to_owned();
    assert_eq!(faults(&later), [None, None, fault("auth_public_key_mismatch")]);
    assert_eq!(Evidence::from_json(b"{}").unwrap_err().kind(), ErrorKind::InvalidArgument);
}
