//! What doesn't count as a token, at the gateway's door, over HTTP and WebSocket; and what agents may not have people see.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::{Duration, Instant};

use agentnet_proto::{
    access_token,
    access_token::AccessClaims,
    signature::{Deployment, HEADER, Purpose, SecretKey, SignatureHeader},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use support::{
    RunningGateway, SOON, Stack,
    people::{PASSWORD, QUICK, call, example, login, mode, model, person},
    until_async,
    web::Web,
};
use tokio::time::timeout;

/// The network's own key for access tokens: unsealed as only somebody with the registries' secret can.
async fn network_key(stack: &Stack) -> SecretKey {
    let mut hash = Sha256::new_with_prefix(b"agentnet access token keys v1\0");
    hash.update(b"a secret of these tests, long enough");
    let sealing: [u8; 32] = hash.finalize().into();
    let pool = sqlx::PgPool::connect(stack.database_url()).await.unwrap();
    let row = sqlx::query("SELECT kid, sealed FROM agent_token_keys").fetch_one(&pool).await.unwrap();
    let (kid, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
    let (nonce, sealed) = sealed.split_first_chunk::<24>().unwrap();
    let payload = Payload { msg: sealed, aad: kid.as_bytes() };
    let sealer = XChaCha20Poly1305::new(&Key::from(sealing));
    let plain = sealer.decrypt(&XNonce::from(*nonce), payload).unwrap();
    SecretKey::from_base64(std::str::from_utf8(&plain).unwrap()).unwrap()
}

/// Refused with 401 and this code, by HTTP and by every kind of socket.
async fn refused_everywhere(gateway: &RunningGateway, token: &str, code: &str) {
    for (method, path) in [(Method::GET, "/api/agents/list"), (Method::POST, "/api/auth/verify")] {
        let answer = call(gateway, method, path, Some(token), None).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (401, Some(code)),
            "{path} {}",
            answer.body
        );
    }
    for (path, close) in
        [("/api/chat/ws/session_x", 4003), ("/chat", 1008), ("/p2p/ws", 1008), ("/api/stream/receipts", 1008)]
    {
        let url = gateway.ws(path);
        let mut by_query = Web::open(&format!("{url}?token={token}"), &[]).await.unwrap();
        let bearer = format!("Bearer {token}");
        let mut by_header = Web::open(&url, &[("authorization", &bearer)]).await.unwrap();
        for socket in [&mut by_query, &mut by_header] {
            assert_eq!(socket.next().await["metadata"]["code"], code, "{path}");
            assert_eq!(socket.closed().await, close, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_are_refused_with_their_codes_even_under_the_right_key() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_RATE_VERIFY", "100000")]].concat()).await;
    let ann = person(&stack, &gateway, "ann").await;
    assert_eq!(call(&gateway, Method::GET, "/api/agents/list", Some(&ann), None).await.status, 200);
    let right = network_key(&stack).await;
    let claims = ann.split('.').nth(1).unwrap();
    let claims: AccessClaims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let forge = |key: &SecretKey, change: &dyn Fn(&mut AccessClaims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        access_token::sign(key, &claims).unwrap().expose().to_owned()
    };
    // The forgery itself is sound: unchanged it is let in.
    let same = forge(&right, &|_| {});
    assert_eq!(call(&gateway, Method::GET, "/api/agents/list", Some(&same), None).await.status, 200);
    let parts: Vec<&str> = ann.split('.').collect();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    let with_alg = |alg: &str, signature: &str| {
        let mut head = head.clone();
        head["alg"] = json!(alg);
        format!("{}.{}.{signature}", part(&head), parts[1])
    };
    for (token, code) in [
        (with_alg("none", ""), "token_algorithm_invalid"),
        (with_alg("HS256", parts[2]), "token_algorithm_invalid"),
        (format!("{}.{}.", parts[0], parts[1]), "token_signature_invalid"),
        (forge(&SecretKey::generate(), &|_| {}), "token_key_unknown"),
        (forge(&right, &|claims| claims.aud = "somebody else".to_owned()), "token_audience_invalid"),
        (forge(&right, &|claims| claims.iss = "another network".to_owned()), "token_issuer_invalid"),
        (forge(&right, &|claims| claims.exp = claims.iat), "token_expired"),
        (forge(&right, &|claims| claims.iat += 3600), "token_not_yet_valid"),
        (forge(&right, &|claims| claims.sid = "nobodys login".to_owned()), "login_ended"),
    ] {
        refused_everywhere(&gateway, &token, code).await;
    }
    // A token of another network, with the same secret and database layout.
    let foreign = mode("open").await;
    let there = foreign.gateway(&QUICK).await;
    let token = person(&foreign, &there, "ann").await;
    refused_everywhere(&gateway, &token, "token_key_unknown").await;
    // A refresh token is for refreshing only.
    let pair = login(&gateway, "ann", PASSWORD).await.body;
    refused_everywhere(&gateway, pair["refresh_token"].as_str().unwrap(), "token_malformed").await;
    let access = json!({"refresh_token": pair["access_token"]});
    let answer = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&access)).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("refresh_invalid")));
    assert_eq!(call(&gateway, Method::GET, "/api/agents/list", Some(&ann), None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_expires_by_the_gateways_clock() {
    use agentnet_proto::{Clock, SystemClock, Timestamp};
    #[derive(Debug)]
    struct Ahead;
    impl Clock for Ahead {
        fn now(&self) -> Timestamp {
            SystemClock.now().saturating_add(Duration::from_secs(1801))
        }
    }
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    let ann = person(&stack, &gateway, "ann").await;
    let later = stack.gateway_with(&QUICK, |config| config.clock = std::sync::Arc::new(Ahead)).await;
    refused_everywhere(&later, &ann, "token_expired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spent_tickets_and_refresh_tokens_and_revoked_keys_are_refused_with_their_codes() {
    for name in ["open", "secure"] {
        let stack = mode(name).await;
        let gateway = stack.gateway(&[&QUICK[..], &[("GATEWAY_RECHECK_SECONDS", "0.1")]].concat()).await;
        stack.person("ann", PASSWORD).await;
        let pair = login(&gateway, "ann", PASSWORD).await.body;
        let token = pair["access_token"].as_str().unwrap();
        let ticket = call(&gateway, Method::POST, "/api/auth/ticket", Some(token), None).await;
        let url = gateway.ws(&format!("/chat?ticket={}", ticket.body["ticket"].as_str().unwrap()));
        let mut first = Web::open(&url, &[]).await.unwrap();
        first.send(&json!({"session_id": "s", "role": "user", "content": "hello"})).await;
        first.until(|frame| frame["content"] == "hello").await;
        for bad in [url, gateway.ws("/chat?ticket=anw_made_up"), gateway.ws("/chat?ticket=x")] {
            let mut again = Web::open(&bad, &[]).await.unwrap();
            assert_eq!(again.next().await["metadata"]["code"], "ticket_invalid");
            assert_eq!(again.closed().await, 1008);
        }
        let body = json!({"name": "machine", "scopes": ["read", "send"]});
        let made = call(&gateway, Method::POST, "/api/auth/keys", Some(token), Some(&body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let key = made.body["api_key"].as_str().unwrap();
        // Of many that come at once with one key, all come in.
        let many = (0..40).map(|_| call(&gateway, Method::GET, "/api/threads", Some(key), None));
        for answer in futures_util::future::join_all(many).await {
            assert_eq!(answer.status, 200, "{name} {}", answer.body);
        }
        // The key outlives the logins it is exchanged for.
        assert_eq!(call(&gateway, Method::POST, "/api/auth/logout", Some(token), None).await.status, 200);
        stack.person_password("ann", "another password entirely").await;
        until_async(|| async {
            call(&gateway, Method::GET, "/api/threads", Some(key), None).await.status == 200
        })
        .await;
        let pair = login(&gateway, "ann", "another password entirely").await.body;
        let token = pair["access_token"].as_str().unwrap();
        let mut stream = Web::open(&gateway.ws("/api/stream/inbox"), &[("x-api-key", key)]).await.unwrap();
        let path = format!("/api/auth/keys/{}", made.body["key"]["key_id"].as_str().unwrap());
        assert_eq!(call(&gateway, Method::DELETE, &path, Some(token), None).await.status, 200);
        assert_eq!(stream.closed().await, 1008);
        until_async(|| async {
            let answer = call(&gateway, Method::GET, "/api/threads", Some(key), None).await;
            answer.status == 401 && answer.body["code"] == "api_key_invalid"
        })
        .await;
        let refresh = json!({"refresh_token": pair["refresh_token"]});
        let next = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&refresh)).await;
        assert_eq!(next.status, 200);
        let reused = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&refresh)).await;
        assert_eq!((reused.status, reused.body["code"].as_str()), (401, Some("refresh_reused")));
        // The whole login ended with it.
        let next = next.body["access_token"].as_str().unwrap();
        until_async(|| async {
            let answer = call(&gateway, Method::GET, "/api/threads", Some(next), None).await;
            answer.status == 401 && answer.body["code"] == "login_ended"
        })
        .await;
    }
}

/// Whoever guesses learns neither from words nor from time whether there is such a user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_logins_reveal_no_users() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&[("GATEWAY_RATE_LOGIN", "1000")]).await;
    stack.person("ann", PASSWORD).await;
    let mut shown = Vec::new();
    for name in ["ann", "nobody"] {
        let mut answers: Vec<(u16, bool, Value, Value)> = Vec::new();
        while answers.last().is_none_or(|(status, ..)| *status != 429) {
            assert!(answers.len() < 20, "nothing slows it down");
            let answer = Client::new()
                .post(gateway.url("/api/auth/login"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("username={name}&password=wrong"));
            let answer = answer.send().await.unwrap();
            let (status, wait) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
            let body: Value = answer.json().await.unwrap();
            answers.push((status, wait, body["code"].clone(), body["title"].clone()));
        }
        answers.dedup();
        shown.push(answers);
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!((shown[0][0].0, shown[0][0].1), (401, false));
    assert_eq!((shown[0][1].0, shown[0][1].1, &shown[0][1].2), (429, true, &json!("login_throttled")));
    // The time: medians of attempts in turn, each user's first, which costs a hash either way.
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..5 {
        let known = format!("known{round}");
        stack.person(&known, PASSWORD).await;
        for (index, name) in [known, format!("unknown{round}")].iter().enumerate() {
            let began = Instant::now();
            assert_eq!(login(&gateway, name, "wrong password").await.status, 401);
            times[index].push(began.elapsed());
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let [known, unknown] = times.map(median);
    assert!((0.2..5.0).contains(&(unknown / known)), "{known} s known, {unknown} s unknown");
}

/// What is published to a person's subjects by somebody else than it says reaches no socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_for_another_on_a_persons_sockets() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    let llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let ann = person(&stack, &gateway, "ann").await;
    let created =
        call(&gateway, Method::POST, "/api/chat/sessions/create", Some(&ann), Some(&example())).await;
    let id = created.body["session_id"].as_str().unwrap().to_owned();
    let account = llama.registry().resolve_account("ann").await.unwrap().account_id;
    let mut session = Web::open(&gateway.ws(&format!("/api/chat/ws/{id}?token={ann}")), &[]).await.unwrap();
    assert_eq!(session.next().await["type"], "ping");
    let mut chat = Web::open(&gateway.ws(&format!("/chat?token={ann}")), &[]).await.unwrap();
    chat.send(&json!({"session_id": "s", "role": "user", "content": "in"})).await;
    chat.until(|frame| frame["content"] == "in").await;
    let open = async |path: &str| Web::open(&gateway.ws(&format!("{path}?token={ann}")), &[]).await.unwrap();
    let (mut inbox, mut receipts) = (open("/api/stream/inbox").await, open("/api/stream/receipts").await);

    // Mallory has an account, and publishes as it likes, also under its own signature.
    let mallory = stack.node("mallory").start().await.unwrap();
    let key = stack.identity("mallory").key().clone();
    let now = agentnet_proto::Clock::now(&agentnet_proto::SystemClock).to_string();
    let envelope = |from: &str, kind: &str, thread: &str, payload: Value| {
        json!({
            "message_id": format!("forged {kind} {from}"), "from_agent": "llama", "to_agent": account,
            "payload": payload, "sent_at": now, "kind": kind, "schema_version": "1.2",
            "from_session_tag": "t", "from_account_id": from, "to_account_id": account, "ttl_ms": 30000,
            "trace_id": "x", "thread_id": thread,
        })
    };
    let ended = json!({"state": "ended", "session_id": id, "reason": "deleted"});
    let forged_chat = json!({"session_id": "s", "role": "system", "content": "forged", "message_id": "x",
        "sender": "llama", "timestamp": now});
    let forged_receipt = json!({"message_id": "m", "status": "processed", "event_at": now,
        "from_account_id": llama.account_id(), "to_account_id": account, "to_agent": account});
    let client = mallory.connection().client();
    for (subject, body, purpose) in [
        ("inbox", envelope(llama.account_id(), "direct", &id, json!({"text": "forged"})), Purpose::Message),
        ("inbox", envelope(&account, "session", &id, ended), Purpose::Message),
        (
            "replies.x",
            envelope(llama.account_id(), "reply", &id, json!({"text": "forged"})),
            Purpose::Message,
        ),
        ("inbox", forged_chat.clone(), Purpose::Message),
        ("stream.chat", forged_chat, Purpose::Stream),
        ("receipts", forged_receipt, Purpose::Receipt),
    ] {
        let (subject, body) = (format!("account.{account}.{subject}"), body.to_string());
        client.publish(subject.clone(), body.clone().into()).await.unwrap();
        let deployment: Deployment = "e2e".parse().unwrap();
        let mut headers = async_nats::HeaderMap::new();
        let signature = SignatureHeader::sign(&key, &purpose, &deployment, body.as_bytes()).to_string();
        headers.insert(HEADER, signature.as_str());
        client.publish_with_headers(subject, headers, body.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    // In a session's words it is still Mallory who says what it says.
    let rude = json!({"text": "send me the code", "session_id": "s", "role": "assistant", "sender": "llama"});
    mallory.join_thread("chat:s").await.unwrap();
    let target = agentnet::Target::thread("chat:s").unwrap();
    mallory.send(target, rude).thread("chat:s").kind("chat").await.unwrap();
    let heard = chat.next().await;
    assert_eq!(
        (&heard["content"], &heard["sender"]),
        (&json!("send me the code"), &json!("mallory")),
        "{heard}"
    );
    assert_eq!(heard["account_id"], mallory.account_id());
    let history = call(&gateway, Method::GET, "/chat/sessions/s/messages", Some(&ann), None).await.body;
    let senders: Vec<&str> =
        history["messages"].as_array().unwrap().iter().map(|one| one["sender"].as_str().unwrap()).collect();
    assert_eq!(senders, ["ann", "mallory"], "{history}");
    // What is real comes, and before it nothing of the rest.
    session.send(&json!({"type": "text", "content": "hello"})).await;
    let answer = session.until(|frame| frame["type"] != "ping").await;
    assert_eq!(answer["content"], "heard hello", "{answer}");
    llama.send_to_account(&account, json!({"text": "real"})).thread("real").await.unwrap();
    loop {
        let item = timeout(SOON, inbox.next()).await.unwrap();
        assert!(!item.to_string().contains("forged"), "{item}");
        if item["data"]["thread_id"] == "real" {
            break;
        }
    }
    let said = json!({"to": "@llama", "text": "x", "message_id": "told", "wait": "processed"});
    call(&gateway, Method::POST, "/api/threads/t/messages", Some(&ann), Some(&said)).await;
    loop {
        let item = timeout(SOON, receipts.next()).await.unwrap();
        assert_ne!(item["data"]["message_id"], "m", "{item}");
        if item["type"] == "receipt" && item["data"]["message_id"] == "told" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_pages_and_owners_are_refused_on_every_socket() {
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let (ann, eve) = (person(&stack, &gateway, "ann").await, person(&stack, &gateway, "eve").await);
    let created =
        call(&gateway, Method::POST, "/api/chat/sessions/create", Some(&ann), Some(&example())).await;
    let id = created.body["session_id"].as_str().unwrap();
    for path in [&format!("/api/chat/ws/{id}"), "/chat", "/", "/p2p/ws", "/api/stream/inbox"] {
        let url = gateway.ws(&format!("{path}?token={ann}"));
        let refused = Web::open(&url, &[("origin", "https://evil.example")]).await.map(drop);
        assert_eq!(refused, Err(403), "{path}");
    }
    // Another one's messages, thread and keys.
    let message = json!({"to": "@llama", "text": "private", "wait": "stored"});
    call(&gateway, Method::POST, "/api/threads/anns/messages", Some(&ann), Some(&message)).await;
    let key = json!({"name": "k", "scopes": ["read"]});
    let made = call(&gateway, Method::POST, "/api/auth/keys", Some(&ann), Some(&key)).await;
    let key = format!("/api/auth/keys/{}", made.body["key"]["key_id"].as_str().unwrap());
    for (method, path) in [
        (Method::GET, format!("/api/chat/sessions/{id}")),
        (Method::DELETE, format!("/api/chat/sessions/{id}")),
        (Method::GET, "/api/threads/anns/status".to_owned()),
        (Method::DELETE, key),
    ] {
        let answer = call(&gateway, method, &path, Some(&eve), None).await;
        assert!([403, 404].contains(&answer.status), "{path} {}", answer.body);
        assert!(!answer.body.to_string().contains("private"));
    }
    let all = call(&gateway, Method::GET, "/api/stream/inbox?all=true", Some(&eve), None).await;
    assert_eq!((all.status, all.body["code"].as_str()), (403, Some("forbidden")));
    // Nor may HTTP write what the gateway keeps its sessions with.
    let record = json!({"to": "@ann", "kind": "session", "payload": {"state": "ended"}});
    let answer =
        call(&gateway, Method::POST, &format!("/api/threads/{id}/messages"), Some(&ann), Some(&record)).await;
    assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some("kind")));
}
