//! The seed's Agent-connect API over a whole network, in every mode: login, sessions, chat over WebSocket; and what is
//! refused with which code.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::{
    SOON, Stack,
    people::{PASSWORD, QUICK, call, example, login, mode, model, person, soon_refused},
    web::Web,
};

/// The seed's sequence: login, verify, create, get, WebSocket chat, delete.
async fn sequence(stack: &Stack) {
    let gateway = stack.gateway(&QUICK).await;
    let groq = model(stack, "llama", "groq", "llama-3-70b").await;
    stack.person("demo", PASSWORD).await;

    let answer = login(&gateway, "demo", PASSWORD).await;
    assert_eq!((answer.status, &answer.body["token_type"]), (200, &json!("bearer")), "{}", answer.body);
    assert_eq!(answer.body["expires_in"], 1800);
    let shown = answer.body["access_token"].as_str().unwrap().to_owned();
    let token = Some(shown.as_str());
    let answer = call(&gateway, Method::POST, "/api/auth/verify", token, None).await;
    assert_eq!(
        (answer.status, &answer.body["valid"], &answer.body["user"]),
        (200, &json!(true), &json!("demo"))
    );
    assert!(answer.body["exp"].as_i64().unwrap() - answer.body["iat"].as_i64().unwrap() == 1800);
    assert_eq!(answer.body["type"], "access");

    let answer = call(&gateway, Method::POST, "/api/chat/sessions/create", token, Some(&example())).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("active")), "{}", answer.body);
    let session = answer.body["session_id"].as_str().unwrap().to_owned();
    for key in ["primary", "ai_agent"] {
        let agent = &answer.body["agents"][key];
        assert_eq!(agent["agent_id"], groq.account_id(), "{key}");
        assert_eq!((&agent["provider"], &agent["model"]), (&json!("groq"), &json!("llama-3-70b")));
        assert_eq!(agent["personality"], "helpful and professional");
    }
    let path = format!("/api/chat/sessions/{session}");
    let again = call(&gateway, Method::GET, &path, token, None).await;
    assert_eq!((again.status, &again.body["agents"]), (200, &answer.body["agents"]));

    let url = gateway.ws(&format!("/api/chat/ws/{session}?token={shown}"));
    let mut chat = Web::open(&url, &[]).await.unwrap();
    assert_eq!(chat.next().await["type"], "ping");
    chat.send(&json!({"type": "text", "content": "Hello AI!", "timestamp": "2024-02-23T12:00:00Z"})).await;
    let reply = chat.until(|frame| frame["type"] != "ping").await;
    assert_eq!(
        (&reply["type"], &reply["content"]),
        (&json!("response"), &json!("heard Hello AI!")),
        "{reply}"
    );
    assert_eq!((&reply["sender"], &reply["receiver"]), (&json!(groq.account_id()), &json!("demo")));
    assert_eq!(
        (&reply["metadata"]["role"], &reply["metadata"]["provider"]),
        (&json!("assistant"), &json!("groq"))
    );

    // Another gateway knows the session, and replays what was missed.
    let other = stack.gateway(&QUICK).await;
    let first = reply["metadata"]["message_id"].as_str().unwrap();
    let url = other.ws(&format!("/api/chat/ws/{session}?last_message_id={first}"));
    let bearer = format!("Bearer {shown}");
    chat.send(&json!({"type": "text", "content": "again"})).await;
    let second = chat.until(|frame| frame["type"] == "response").await;
    let mut late = Web::open(&url, &[("authorization", &bearer)]).await.unwrap();
    let replayed = late.until(|frame| frame["type"] == "response").await;
    assert_eq!(replayed["metadata"]["message_id"], second["metadata"]["message_id"]);
    // Both hear what comes now, whoever asked.
    late.send(&json!({"type": "text", "content": "third"})).await;
    for socket in [&mut chat, &mut late] {
        let frame = socket.until(|frame| frame["type"] == "response").await;
        assert_eq!(frame["content"], "heard third");
    }
    // Everything of it is in the history, once it is stored.
    let said = async {
        loop {
            let path = format!("/api/threads/{session}/messages");
            let history = call(&gateway, Method::GET, &path, token, None).await.body;
            let rows = history["messages"].as_array().unwrap();
            let has = |text: &str| rows.iter().any(|row| row["payload"]["text"] == text);
            if has("Hello AI!") && has("heard Hello AI!") && has("third") && has("heard third") {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, said).await.expect("the history lacks something");

    let answer = call(&gateway, Method::DELETE, &path, token, None).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("success")), "{}", answer.body);
    for socket in [&mut chat, &mut late] {
        assert_eq!(socket.until(|frame| frame["type"] == "system").await["content"], "Session ended");
        assert_eq!(socket.closed().await, 1000);
    }
    assert!([404, 410].contains(&call(&gateway, Method::DELETE, &path, token, None).await.status));
    let mut gone = Web::open(&url, &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(gone.closed().await, 4002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_sequence_in_open_mode() {
    sequence(&mode("open").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_sequence_in_signed_mode() {
    sequence(&mode("signed").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_sequence_in_secure_mode() {
    sequence(&mode("secure").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_foreign_tokens_are_refused_with_their_codes() {
    use agentnet_proto::{SecretText, access_token, signature::SecretKey};
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    model(&stack, "llama", "groq", "llama-3-70b").await;
    let ann = person(&stack, &gateway, "ann").await;
    let eve = person(&stack, &gateway, "eve").await;

    for (path, method) in [("/api/agents/list", Method::GET), ("/api/auth/verify", Method::POST)] {
        let answer = call(&gateway, method, path, None, None).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("unauthenticated")), "{path}");
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut parts: Vec<String> = ann.split('.').map(str::to_owned).collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
    let signed_by = |key: &SecretKey, change: &dyn Fn(&mut access_token::AccessClaims)| {
        let mut claims: access_token::AccessClaims = serde_json::from_value(claims.clone()).unwrap();
        change(&mut claims);
        access_token::sign(key, &claims).unwrap()
    };
    let own = SecretKey::generate();
    let none = format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), parts[1]);
    let wrong_key = signed_by(&own, &|_| {});
    let mut altered = claims.clone();
    altered["sub"] = json!("acct_somebody");
    parts[1] = part(&altered);
    for (token, code) in [
        (SecretText::new(none), "token_algorithm_invalid"),
        (wrong_key, "token_key_unknown"),
        (SecretText::new(parts.join(".")), "token_signature_invalid"),
        (SecretText::new("nonsense"), "token_malformed"),
    ] {
        let answer = call(&gateway, Method::GET, "/api/agents/list", Some(token.expose()), None).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some(code)), "{}", answer.body);
        let url = gateway.ws(&format!("/api/chat/ws/session_x?token={}", token.expose()));
        let mut refused = Web::open(&url, &[]).await.unwrap();
        assert_eq!(refused.next().await["metadata"]["code"], code);
        assert_eq!(refused.closed().await, 4003);
    }

    // Another one's session looks as if there were none.
    let created =
        call(&gateway, Method::POST, "/api/chat/sessions/create", Some(&ann), Some(&example())).await;
    let session = created.body["session_id"].as_str().unwrap();
    let path = format!("/api/chat/sessions/{session}");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(call(&gateway, method, &path, Some(&eve), None).await.status, 404);
    }
    let mut refused =
        Web::open(&gateway.ws(&format!("/api/chat/ws/{session}?token={eve}")), &[]).await.unwrap();
    assert_eq!(refused.closed().await, 4001);
    let url = gateway.ws(&format!("/api/chat/ws/{session}?token={ann}"));
    let foreign = Web::open(&url, &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.map(drop), Err(403));
    // It still goes on for its owner.
    assert_eq!(call(&gateway, Method::GET, &path, Some(&ann), None).await.status, 200);

    // After a logout the token is none, though its time isn't over; at another gateway too.
    let other = stack.gateway(&[("GATEWAY_RECHECK_SECONDS", "0.1")]).await;
    assert_eq!(call(&other, Method::GET, "/api/agents/list", Some(&ann), None).await.status, 200);
    assert_eq!(call(&gateway, Method::POST, "/api/auth/logout", Some(&ann), None).await.status, 200);
    assert_eq!(call(&gateway, Method::GET, "/api/agents/list", Some(&ann), None).await.status, 401);
    soon_refused(&other, "/api/agents/list", &ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_refresh_tickets_and_keys_for_machines() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    stack.person("ann", PASSWORD).await;
    let wrong = login(&gateway, "ann", "wrong password").await;
    assert_eq!((wrong.status, wrong.body["detail"].as_str()), (401, Some("Invalid credentials")));
    let nobody = login(&gateway, "nobody", "wrong password").await;
    assert_eq!((nobody.status, &nobody.body["detail"]), (401, &wrong.body["detail"]));
    let lacking = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("username=ann");
    let lacking = lacking.send().await.unwrap();
    assert_eq!(lacking.status().as_u16(), 422);
    assert_eq!(lacking.json::<Value>().await.unwrap()["field"], "password");

    let first = loop {
        // The wrong password slows the next attempt down.
        let answer = login(&gateway, "ann", PASSWORD).await;
        if answer.status == 200 {
            break answer.body;
        }
        assert_eq!(answer.body["code"], "login_throttled", "{}", answer.body);
    };
    let refresh = json!({"refresh_token": first["refresh_token"]});
    let second = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&refresh)).await;
    assert_eq!(second.status, 200, "{}", second.body);
    let token = second.body["access_token"].as_str().unwrap();

    let ticket = call(&gateway, Method::POST, "/api/auth/ticket", Some(token), None).await;
    let url = gateway.ws(&format!("/api/stream/inbox?ticket={}", ticket.body["ticket"].as_str().unwrap()));
    drop(Web::open(&url, &[]).await.unwrap());
    let mut twice = Web::open(&url, &[]).await.unwrap();
    assert_eq!(twice.next().await["metadata"]["code"], "ticket_invalid");
    assert_eq!(twice.closed().await, 1008);

    // Used twice, a refresh token ends the whole login.
    let reused = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&refresh)).await;
    assert_eq!(
        (reused.status, reused.body["code"].as_str()),
        (401, Some("refresh_reused")),
        "{}",
        reused.body
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_talk_until_their_turns_are_used_up() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    let (one, two) = (model(&stack, "one", "groq", "a").await, model(&stack, "two", "openai", "b").await);
    let ann = person(&stack, &gateway, "ann").await;
    let body = json!({
        "session_type": "agent_agent",
        "agents": {"first": {"provider": "groq"}, "second": {"provider": "openai"}},
        "metadata": {"max_turns": 4}
    });
    let created = call(&gateway, Method::POST, "/api/chat/sessions/create", Some(&ann), Some(&body)).await;
    assert_eq!(created.status, 200, "{}", created.body);
    assert!(created.body["agents"].get("ai_agent").is_none());
    let session = created.body["session_id"].as_str().unwrap();
    let url = gateway.ws(&format!("/api/chat/ws/{session}?token={ann}"));
    let mut chat = Web::open(&url, &[]).await.unwrap();
    chat.send(&json!({"type": "text", "content": "x"})).await;
    let mut heard = "x".to_owned();
    for turn in 0..4 {
        let frame = chat.until(|frame| frame["type"] == "response").await;
        heard = format!("heard {heard}");
        let speaker = if turn % 2 == 0 { &one } else { &two };
        assert_eq!(
            (&frame["sender"], &frame["content"]),
            (&json!(speaker.account_id()), &json!(heard)),
            "{frame}"
        );
        assert_eq!(frame["metadata"]["conversation_type"], "agent_agent");
    }
    let stopped = chat.until(|frame| frame["type"] == "stop").await;
    assert_eq!(stopped["content"], "max_turns_reached");
    // Whom a client names speaks next, and stop ends it for good.
    chat.send(&json!({"type": "text", "content": "y", "receiver": "second"})).await;
    assert_eq!(chat.until(|frame| frame["type"] == "response").await["sender"], two.account_id());
    chat.send(&json!({"type": "stop"})).await;
    assert_eq!(chat.closed().await, 1000);
    let path = format!("/api/chat/sessions/{session}");
    assert_eq!(call(&gateway, Method::GET, &path, Some(&ann), None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_agents_have_their_limits_and_errors() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_RATE_MESSAGE", "3")]].concat()).await;
    let ann = person(&stack, &gateway, "ann").await;
    let create = async |body: &Value| {
        call(&gateway, Method::POST, "/api/chat/sessions/create", Some(&ann), Some(body)).await
    };
    let refused = create(&example()).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (503, Some("no_agent_available")));
    for asked in ["groq", "llama-3-70b", "conversation"] {
        assert!(refused.body["detail"].as_str().unwrap().contains(asked), "{}", refused.body);
    }
    let llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    for (body, field) in [
        (json!({"session_type": "human_agent"}), "agents"),
        (json!({"session_type": "human_agent", "agents": {}}), "agents"),
        (json!({"session_type": "agent_agent", "agents": example()["agents"]}), "agents"),
        (json!({"session_type": "human_agent", "agents": {"a": {}}}), "agents.a.provider"),
        (json!({"session_type": "crowd", "agents": {}}), "session_type"),
    ] {
        let refused = create(&body).await;
        assert_eq!((refused.status, refused.body["field"].as_str()), (422, Some(field)), "{}", refused.body);
    }
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let created = create(&example()).await;
        assert_eq!(created.status, 200, "{}", created.body);
        sessions.push(created.body["session_id"].as_str().unwrap().to_owned());
    }
    let full = create(&example()).await;
    assert_eq!((full.status, full.body["code"].as_str()), (429, Some("sessions_full")));
    let path = format!("/api/chat/sessions/{}", sessions[0]);
    assert_eq!(call(&gateway, Method::DELETE, &path, Some(&ann), None).await.status, 200);
    assert_eq!(create(&example()).await.status, 200);
    // In open mode everybody reads everything, and another account's session says so.
    let eve = person(&stack, &gateway, "eve").await;
    let path = format!("/api/chat/sessions/{}", sessions[1]);
    assert_eq!(call(&gateway, Method::GET, &path, Some(&eve), None).await.status, 403);
    let mut refused =
        Web::open(&gateway.ws(&format!("/api/chat/ws/{}?token={eve}", sessions[1])), &[]).await.unwrap();
    assert_eq!(refused.closed().await, 4003);

    // Three messages a minute here; then each is refused, and in the end the client.
    let mut chat =
        Web::open(&gateway.ws(&format!("/api/chat/ws/{}?token={ann}", sessions[1])), &[]).await.unwrap();
    chat.send(&json!({"type": "shout", "content": "x"})).await;
    let bad = chat.until(|frame| frame["type"] == "error").await;
    assert!(bad["content"].as_str().unwrap().starts_with("Invalid message format"), "{bad}");
    for _ in 0..3 {
        chat.send(&json!({"type": "text", "content": "x"})).await;
        chat.until(|frame| frame["type"] == "response").await;
    }
    for _ in 0..10 {
        chat.send(&json!({"type": "text", "content": "x"})).await;
        let frame = chat.until(|frame| frame["type"] == "error").await;
        assert_eq!(frame["metadata"]["code"], "rate_limited");
    }
    assert_eq!(chat.closed().await, 4004);

    // Agents: who is online, who is registered, and a message to one.
    let list = call(&gateway, Method::GET, "/api/agents/list", Some(&eve), None).await;
    let found = list.body["agents"].as_array().unwrap().iter().find(|a| a["agent_id"] == llama.account_id());
    let found = found.unwrap_or_else(|| panic!("{}", list.body));
    assert_eq!(
        (&found["provider"], &found["is_running"], &found["is_owned"]),
        (&json!("groq"), &json!(true), &json!(false))
    );
    let config = json!({"name": "mine", "provider": "groq", "model": "llama-3-70b"});
    let registered = call(&gateway, Method::POST, "/api/agents/register", Some(&eve), Some(&config)).await;
    assert_eq!(
        (registered.status, &registered.body["status"]),
        (200, &json!("registered")),
        "{}",
        registered.body
    );
    let mine = registered.body["agent_id"].as_str().unwrap();
    let status = call(&gateway, Method::GET, &format!("/api/agents/status/{mine}"), Some(&eve), None).await;
    assert_eq!(
        (&status.body["status"], &status.body["is_owned"]),
        (&json!("active"), &json!(true)),
        "{}",
        status.body
    );
    let providers = call(&gateway, Method::GET, "/api/chat/providers", Some(&eve), None).await;
    assert_eq!(providers.body["groq"]["models"], json!(["llama-3-70b"]));
    let path = format!("/api/agents/{}/capabilities", llama.account_id());
    let able = call(&gateway, Method::GET, &path, Some(&eve), None).await;
    assert_eq!(able.body["capabilities"], json!(["conversation"]));
    let message = json!({"receiver_id": llama.account_id(), "content": "hello", "message_type": "text"});
    let sent =
        call(&gateway, Method::POST, &format!("/api/agents/{mine}/message"), Some(&eve), Some(&message))
            .await;
    assert_eq!((&sent.body["status"], &sent.body["sender"]), (&json!("sent"), &json!(mine)), "{}", sent.body);
    let as_other =
        call(&gateway, Method::POST, &format!("/api/agents/{mine}/message"), Some(&ann), Some(&message))
            .await;
    assert_eq!(as_other.status, 403);
    let odd = json!({"receiver_id": llama.account_id(), "content": "hello", "message_type": "shout"});
    let odd =
        call(&gateway, Method::POST, &format!("/api/agents/{mine}/message"), Some(&eve), Some(&odd)).await;
    assert_eq!((odd.status, odd.body["field"].as_str()), (422, Some("message_type")));
    let gone = call(&gateway, Method::DELETE, &format!("/api/agents/{mine}"), Some(&eve), None).await;
    assert_eq!(gone.body["status"], "unregistered");
    assert_eq!(
        call(&gateway, Method::DELETE, &format!("/api/agents/{mine}"), Some(&eve), None).await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_for_machines_do_what_their_scopes_say_until_revoked() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_RECHECK_SECONDS", "0.1")]].concat()).await;
    let ann = person(&stack, &gateway, "ann").await;
    let body = json!({"name": "reader", "scopes": ["read"]});
    let made = call(&gateway, Method::POST, "/api/auth/keys", Some(&ann), Some(&body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let (key, id) = (made.body["api_key"].as_str().unwrap(), made.body["key"]["key_id"].as_str().unwrap());
    assert_eq!(call(&gateway, Method::GET, "/api/threads", Some(key), None).await.status, 200);
    let say = json!({"to": "@ann", "text": "x"});
    let refused = call(&gateway, Method::POST, "/api/threads/t/messages", Some(key), Some(&say)).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (403, Some("forbidden")), "{}", refused.body);
    let list = call(&gateway, Method::GET, "/api/auth/keys", Some(&ann), None).await;
    assert_eq!(list.body["keys"][0]["key_id"], id);
    assert!(!list.body.to_string().contains(key));
    let revoked = call(&gateway, Method::DELETE, &format!("/api/auth/keys/{id}"), Some(&ann), None).await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    soon_refused(&gateway, "/api/threads", key).await;
    let unknown = call(&gateway, Method::GET, "/api/threads", Some("ank_nonsense"), None).await;
    assert_eq!((unknown.status, unknown.body["code"].as_str()), (401, Some("api_key_invalid")));
}
