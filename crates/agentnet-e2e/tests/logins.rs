//! People who come in over HTTP, in secure mode, over the whole stack: what a gateway does for them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use agentnet::{
    AgentNode, ErrorKind, Incoming, Login, Stage,
    evidence::Evidence,
    proto::{SecretText, Security, rpc, signature::SecretKey},
};
use agentnet_local::testing::eventually;
use serde_json::json;
use support::{SOON, Stack, until};

async fn person(stack: &Stack, name: &str) -> AgentNode {
    let operator = stack.node("operator").start().await.unwrap();
    let request = rpc::UserCreateRequest {
        username: name.to_owned(),
        password: SecretText::new("correct horse"),
        ..Default::default()
    };
    operator.registry().user_create(&request).await.unwrap();
    operator
}

async fn log_in(gateway: &AgentNode, name: &str, key: &SecretKey) -> rpc::LoginResponse {
    let request = rpc::UserLoginRequest {
        username: name.to_owned(),
        password: SecretText::new("correct horse"),
        session_key: Some(key.verifying().to_nkey()),
        ..Default::default()
    };
    gateway.registry().user_login(&request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_talks_through_a_gateway_and_is_out_at_once_after_leaving() {
    let stack = Stack::secure(&[]).await;
    let operator = person(&stack, "ann").await;
    let bob = stack
        .node("bob")
        .on_message(|message: Incoming| async move {
            if message.wants_reply() {
                message.reply(json!({"heard": message.payload().value()})).await?;
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let gateway = stack.node("gateway").start().await.unwrap();
    let key = SecretKey::generate();
    let answer = log_in(&gateway, "ann", &key).await;
    let web = |key: &SecretKey| {
        let login = Login::of(&answer, key.clone()).via(gateway.account_id());
        AgentNode::builder("web").nats_url(stack.nats.url()).security(Security::Secure).logged_in(login)
    };
    let ann = web(&key).start().await.unwrap();
    assert_eq!((ann.account_id(), ann.username().as_str()), (answer.account_id.as_str(), "ann"));
    // Recipients and persister take the session key for hers.
    let reply = ann.request("@bob", json!("hello")).thread("t_web").await.unwrap();
    assert_eq!(reply.payload().value(), json!({"heard": "hello"}));
    let sent = ann.send("@bob", json!("and this")).thread("t_web").until(Stage::Processed).await.unwrap();
    assert_eq!(sent.stage, Some(Stage::Processed));
    let rows = eventually(SOON, || async {
        Some(stack.stored(ann.registry(), "t_web").await).filter(|rows| rows.len() == 3)
    })
    .await;
    for row in &rows {
        let is_hers = row.from_account_id.as_deref() == Some(ann.account_id());
        assert_eq!(row.metadata.get("via"), is_hers.then(|| json!(gateway.account_id())).as_ref());
    }
    // A second gateway's key joins the login.
    let second = SecretKey::generate();
    let join = rpc::UserSessionRequest {
        access_token: answer.access_token.clone(),
        session_key: Some(second.verifying().to_nkey()),
        ..Default::default()
    };
    gateway.registry().user_session(&join).await.unwrap();
    let again = web(&second).start().await.unwrap();
    again.send("@bob", json!("from elsewhere")).until(Stage::Processed).await.unwrap();
    // What takes her own key.
    for error in [
        ann.registry().rotate(&SecretKey::generate()).await.unwrap_err(),
        ann.registry()
            .revoke(&rpc::RevokeRequest { account_id: bob.account_id().to_owned(), public_key: None })
            .await
            .unwrap_err(),
        ann.registry().enrol(&rpc::EnrolRequest::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "session_key_forbidden");
    }
    // The gateway speaks for nobody: not for her without her key, nor in its own name.
    let forged = SecretKey::generate();
    let wrong = rpc::UserSessionRequest {
        access_token: SecretText::new("made.up.token"),
        session_key: Some(forged.verifying().to_nkey()),
        ..Default::default()
    };
    assert_eq!(gateway.registry().user_session(&wrong).await.unwrap_err().code(), "token_malformed");
    let stranger = Login::new(ann.account_id(), "ann", forged);
    let builder = AgentNode::builder("web").nats_url(stack.nats.url()).security(Security::Secure);
    assert_eq!(builder.logged_in(stranger).start().await.unwrap_err().code(), "auth_public_key_mismatch");
    // Out: both connections end, and neither key comes back.
    let leave =
        rpc::UserLogoutRequest { access_token: Some(answer.access_token.clone()), ..Default::default() };
    assert_eq!(gateway.registry().user_logout(&leave).await.unwrap().ended_keys, 2);
    until(|| !ann.connection().is_connected() && !again.connection().is_connected()).await;
    assert_eq!(web(&key).start().await.unwrap_err().kind(), ErrorKind::Auth);
    // What she said stays proved.
    let evidence = Evidence::of_thread(operator.registry(), "t_web").await.unwrap();
    let checked = evidence.check().unwrap();
    assert!(checked.len() == 3 && checked.iter().all(agentnet::evidence::Checked::is_proved), "{checked:?}");
}
