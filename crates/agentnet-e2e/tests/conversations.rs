//! Threads with members between nodes: invitations, replay, roles, markers, the end, and what a sender learns of members.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;

use agentnet::proto::rpc::{self, MemberRole, ThreadChange};
use agentnet::{AgentNode, ErrorKind, InvitationAnswer, Sdk, Stage};
use agentnet_local::testing::eventually;
use serde_json::json;
use support::{Heard, SOON, Stack, hears};

/// An agent that notes the texts it handles.
async fn listener(stack: &Stack, name: &str) -> (AgentNode, Heard) {
    let heard = Heard::default();
    let notes = Arc::clone(&heard);
    // One at a time: what it hears is in order.
    let node = stack.node(name).max_concurrency(1).on_message(move |message| {
        notes.lock().unwrap().push(message.text().unwrap_or_default());
        async { Ok(()) }
    });
    (node.start().await.unwrap(), heard)
}

async fn modes() -> [Stack; 3] {
    [Stack::start().await, Stack::signed().await, Stack::secure(&[]).await]
}

fn text(text: &str) -> serde_json::Value {
    json!({"text": text})
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_hears_what_was_said_once_it_joins_away_or_not() {
    for stack in modes().await {
        let (ann, _) = listener(&stack, "ann").await;
        let (bob, heard) = listener(&stack, "bob").await;
        let (cat, _) = listener(&stack, "cat").await;
        let thread =
            ann.create_thread("plans", &[bob.account_id(), cat.account_id()]).await.unwrap().thread_id;
        let to = format!("thread:{thread}");
        // Right after the invitation, as a quick send does.
        ann.send(&to, text("one")).await.unwrap();
        ann.send(&to, text("two")).await.unwrap();
        bob.join_thread(&thread).await.unwrap();
        hears(&heard, &["one", "two"]).await;
        ann.send(&to, text("three")).until(Stage::Processed).await.unwrap();
        hears(&heard, &["one", "two", "three"]).await;
        // Invited, away, back over a restart of the registry: a handler of invitations accepts then.
        cat.close().await.unwrap();
        stack.stop_registry().await;
        stack.start_registry().await;
        let (cat, later) = listener(&stack, "cat").await;
        cat.accept_invitations();
        hears(&later, &["one", "two", "three"]).await;
        hears(&heard, &["one", "two", "three"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_answers_invitations() {
    let stack = Stack::start().await;
    let (ann, _) = listener(&stack, "ann").await;
    let (bob, _) = listener(&stack, "bob").await;
    let mut news = ann.thread_events();
    bob.on_invitation(|invitation| async move {
        match invitation.thread.title.as_str() {
            "good" => Ok(InvitationAnswer::Accept),
            "bad" => Ok(InvitationAnswer::Decline),
            _ => Ok(InvitationAnswer::Later),
        }
    });
    let mut threads = Vec::new();
    for title in ["later", "bad", "good"] {
        threads.push(ann.create_thread(title, &[bob.account_id()]).await.unwrap().thread_id);
    }
    let state = async |thread: &str| {
        let members = ann.thread_members(thread).await.unwrap().members;
        members.iter().find(|member| member.account_id == bob.account_id()).map(|member| member.state)
    };
    eventually(SOON, || async { state(&threads[2]).await == Some(rpc::MemberState::Joined) }).await;
    eventually(SOON, || async { state(&threads[1]).await.is_none() }).await;
    assert_eq!(state(&threads[0]).await, Some(rpc::MemberState::Invited));
    // The inviter hears both.
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let event = tokio::time::timeout(SOON, news.recv()).await.unwrap().unwrap();
        if event.by == bob.account_id() {
            heard.push(event.change);
        }
    }
    heard.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(heard, [ThreadChange::Declined, ThreadChange::Joined]);
    // What was left for later can still be joined, and declined by hand.
    bob.join_thread(&threads[0]).await.unwrap();
    bob.decline(&threads[0]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_learns_how_far_the_message_got_with_each_member() {
    for stack in modes().await {
        let (ann, _) = listener(&stack, "ann").await;
        let (bob, heard) = listener(&stack, "bob").await;
        let (cat, _) = listener(&stack, "cat").await;
        let (dan, dans) = listener(&stack, "dan").await;
        let others = [bob.account_id(), cat.account_id(), dan.account_id()];
        let thread = ann.create_thread("", &others).await.unwrap().thread_id;
        for member in [&bob, &cat, &dan] {
            member.join_thread(&thread).await.unwrap();
        }
        let to = format!("thread:{thread}");
        let away = cat.account_id().to_owned();
        cat.close().await.unwrap();
        dan.block(ann.account_id()).await.unwrap();
        let sent = ann.send(&to, text("hello")).await.unwrap();
        assert_eq!(sent.offline_members().collect::<Vec<_>>(), [away.as_str()]);
        let of = |id: &str| sent.members.iter().find(|member| member.account_id == id).unwrap();
        assert!(sent.stored && sent.members.len() == 3);
        assert!(of(bob.account_id()).stage >= Some(Stage::Accepted));
        assert_eq!(of(&away).stage, None);
        assert_eq!(of(dan.account_id()).refusal.as_ref().unwrap().code, "blocked");
        // To some of them.
        let only = ann.send(&to, text("just bob")).to_members(["@bob"]).await.unwrap();
        assert_eq!(only.members.len(), 1);
        hears(&heard, &["hello", "just bob"]).await;
        let refused = ann.send(&to, text("x")).to_members(["@ann", "@bob", "@operator"]).await;
        assert!(["not_found", "not_a_member"].contains(&refused.unwrap_err().code()));
        let (eve, _) = listener(&stack, "eve").await;
        let refused = ann.send(&to, text("x")).to_members([eve.account_id()]).await.unwrap_err();
        assert_eq!(refused.code(), "not_a_member");
        let refused = ann.send("@bob", text("x")).to_members(["@bob"]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        // Who comes back gets what was for it.
        let (_cat, later) = listener(&stack, "cat").await;
        hears(&later, &["hello"]).await;
        assert!(dans.lock().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_lives_through_roles_markers_and_its_end() {
    for stack in modes().await {
        let (ann, _) = listener(&stack, "ann").await;
        let (bob, heard) = listener(&stack, "bob").await;
        let sdk = Sdk::of(ann.clone());
        let made = sdk
            .create_thread_as(rpc::ThreadCreateRequest {
                title: "Plans".to_owned(),
                subject: "what to do".to_owned(),
                invite: vec![bob.account_id().to_owned()],
                ..rpc::ThreadCreateRequest::default()
            })
            .await
            .unwrap();
        let thread = made.thread_id;
        assert_eq!(made.members[0].role, MemberRole::Owner);
        bob.join_thread(&thread).await.unwrap();
        let to = format!("thread:{thread}");
        ann.send(&to, text("one")).until(Stage::Processed).await.unwrap();
        let second = ann.send(&to, text("two")).until(Stage::Processed).await.unwrap();
        let conversation = async |node: &AgentNode| {
            let page = node.conversations(rpc::ConversationListRequest::default()).await.unwrap();
            page.conversations.into_iter().find(|row| row.thread_id == thread).unwrap()
        };
        // What is processed may be stored a moment later.
        eventually(SOON, || async { conversation(&bob).await.unread == 2 }).await;
        assert_eq!(conversation(&ann).await.unread, 0);
        assert_eq!(bob.mark_read(&thread, Some(&second.message_id)).await.unwrap(), 0);
        assert_eq!(conversation(&bob).await.read_up_to.as_deref(), Some(second.message_id.as_str()));

        sdk.set_thread_role(&thread, bob.account_id(), MemberRole::Admin).await.unwrap();
        let update = rpc::ThreadUpdateRequest {
            thread_id: thread.clone(),
            title: Some("Changed".to_owned()),
            ..rpc::ThreadUpdateRequest::default()
        };
        assert_eq!(bob.update_thread(update).await.unwrap().title, "Changed");
        assert_eq!(bob.close_thread(&thread).await.unwrap_err().code(), "forbidden");
        let ejected = bob.eject(&thread, &[ann.account_id()]).await.unwrap_err();
        assert_eq!(ejected.code(), "thread_owner");
        let mut news = bob.thread_events();
        sdk.close_thread(&thread).await.unwrap();
        let closed = async { while news.recv().await.unwrap().change != ThreadChange::Closed {} };
        tokio::time::timeout(SOON, closed).await.unwrap();
        for node in [&ann, &bob] {
            assert_eq!(node.send(&to, text("late")).await.unwrap_err().code(), "thread_closed");
        }
        // Read still, over a restart.
        stack.stop_registry().await;
        stack.start_registry().await;
        assert_eq!(stack.stored(bob.registry(), &thread).await.len(), 2);
        assert!(conversation(&bob).await.closed_at.is_some());
        hears(&heard, &["one", "two"]).await;
    }
}
