//! Blocks, friends, documents and profiles between nodes, over real services, in every mode.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;

use agentnet::proto::rpc;
use agentnet::{AgentNode, ErrorKind, Stage};
use agentnet_local::testing::eventually;
use serde_json::json;
use support::{Heard, SOON, Stack, hears};

/// An agent that notes the texts it handles, and answers whoever wants that.
async fn listener(stack: &Stack, name: &str) -> (AgentNode, Heard) {
    let heard = Heard::default();
    let notes = Arc::clone(&heard);
    // One at a time: what it hears is in order.
    let node = stack.node(name).max_concurrency(1).on_message(move |message| {
        let notes = Arc::clone(&notes);
        async move {
            notes.lock().unwrap().push(message.text().unwrap_or_default());
            if message.wants_reply() {
                message.reply(json!({"text": "yes"})).await?;
            }
            Ok(())
        }
    });
    (node.start().await.unwrap(), heard)
}

async fn modes() -> [Stack; 3] {
    [Stack::start().await, Stack::signed().await, Stack::secure(&[]).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_sender_is_refused_live_and_away_over_restarts() {
    for stack in modes().await {
        let (ann, heard) = listener(&stack, "ann").await;
        let (eve, eves) = listener(&stack, "eve").await;
        eve.send("@ann", json!({"text": "one"})).until(Stage::Processed).await.unwrap();
        ann.block("@eve").await.unwrap();
        let refused = eve.send("@ann", json!({"text": "two"})).await.unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Rejected, "blocked"));
        for kind in ["reply", "error"] {
            let refused = eve.send("@ann", json!({"text": "sly"})).kind(kind).await.unwrap_err();
            assert_eq!(refused.code(), "blocked", "{kind}");
        }
        assert_eq!(eve.request("@ann", json!({"text": "three"})).await.unwrap_err().code(), "blocked");
        // The other way is open, and so is the answer to what ann asks.
        assert_eq!(ann.request("@eve", json!({"text": "there?"})).await.unwrap().text().unwrap(), "yes");
        hears(&eves, &["there?"]).await;

        // Away, and over a restart of the services.
        ann.close().await.unwrap();
        stack.stop_registry().await;
        stack.stop_persister().await;
        stack.start_persister().await;
        stack.start_registry().await;
        assert_eq!(eve.send("@ann", json!({"text": "four"})).await.unwrap_err().code(), "blocked");
        let (ann, later) = listener(&stack, "ann").await;
        assert_eq!(eve.send("@ann", json!({"text": "five"})).await.unwrap_err().code(), "blocked");
        assert_eq!(ann.blocked(None, None).await.unwrap().blocked[0].username.as_deref(), Some("eve"));
        ann.unblock("@eve").await.unwrap();
        eve.send("@ann", json!({"text": "six"})).until(Stage::Processed).await.unwrap();
        hears(&later, &["six"]).await;
        hears(&heard, &["one"]).await;
    }
}

/// A session that didn't ask for the block refuses as well: the registry told it.
#[tokio::test(flavor = "multi_thread")]
async fn every_session_of_the_account_hears_of_a_block() {
    let stack = Stack::start().await;
    let (first, heard) = listener(&stack, "ann").await;
    // One that takes no messages, so that all of them go to the first.
    let second = stack.node("ann").start().await.unwrap();
    assert_eq!(first.account_id(), second.account_id());
    let (eve, _) = listener(&stack, "eve").await;
    second.block("@eve").await.unwrap();
    // Nobody stores and refuses for it now.
    stack.stop_persister().await;
    eventually(SOON, || async {
        let sent = eve.send("@ann", json!({"text": "x"})).until(Stage::Accepted).await;
        sent.is_err_and(|error| error.code() == "blocked")
    })
    .await;
    let so_far = heard.lock().unwrap().len();
    for kind in ["direct", "reply"] {
        let sent = eve.send("@ann", json!({"text": "y"})).kind(kind).until(Stage::Accepted).await;
        assert_eq!(sent.unwrap_err().code(), "blocked", "{kind}");
    }
    stack.start_persister().await;
    assert_eq!(heard.lock().unwrap().len(), so_far);
}

#[tokio::test(flavor = "multi_thread")]
async fn friends_documents_and_profiles_between_nodes() {
    for stack in modes().await {
        let (ann, _) = listener(&stack, "ann").await;
        let (bob, _) = listener(&stack, "bob").await;
        let friend = ann.add_friend("@bob", Some("from work")).await.unwrap();
        assert!(friend.online && friend.account_id == bob.account_id());
        let friends = ann.friends(None, None).await.unwrap().peers;
        assert_eq!((friends.len(), friends[0].note.as_str()), (1, "from work"));
        assert!(bob.friends(None, None).await.unwrap().peers.is_empty());
        assert!(ann.remove_friend(bob.account_id()).await.unwrap());
        assert_eq!(ann.add_friend("@nobody_here", None).await.unwrap_err().code(), "not_found");

        ann.put_data("card", json!({"likes": ["tea"]}), true).await.unwrap();
        ann.put_data("diary", "secret", false).await.unwrap();
        assert_eq!(bob.get_data_of("@ann", "card").await.unwrap().value(), json!({"likes": ["tea"]}));
        assert_eq!(ann.get_data("diary").await.unwrap().get(), "\"secret\"");
        let hidden = bob.get_data_of(ann.account_id(), "diary").await.unwrap_err();
        assert_eq!(hidden.kind(), ErrorKind::NotFound);
        let public = bob.public_data(None).await.unwrap().documents;
        assert_eq!((public.len(), public[0].key.as_str()), (1, "card"));
        assert!(ann.delete_data("card").await.unwrap());

        let update = rpc::ProfileUpdateRequest {
            display_name: Some("Ann".to_owned()),
            avatar_url: Some("https://example.org/ann.png".to_owned()),
            ..rpc::ProfileUpdateRequest::default()
        };
        ann.update_profile(update).await.unwrap();
        let request = rpc::ProfileRequest { username: Some("ann".to_owned()), ..Default::default() };
        let profile = bob.registry().profile(&request).await.unwrap();
        assert_eq!(
            (profile.display_name.as_str(), profile.avatar_url.as_str()),
            ("Ann", "https://example.org/ann.png")
        );

        let names: Vec<String> = (0..300).map(|n| format!("@nobody{n}")).chain(["@bob".to_owned()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let online = ann.online_status(&names).await.unwrap();
        assert_eq!(online.len(), 301);
        assert!(online[300].online && online[0].account_id.is_none());
        assert_eq!(ann.online_status(&["capability:x"]).await.unwrap_err().kind(), ErrorKind::InvalidTarget);
    }
}
