//! Limits of the gateway's routes, and how requests are answered that go beyond them; what the log says, and what not.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    io::{self, Read as _, Write as _},
    sync::{Arc, Mutex},
};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use support::{
    RunningGateway, SOON,
    people::{PASSWORD, QUICK, call, example, login, mode, model, person},
    web::Web,
};

/// Asks until it is refused: how often it was let through. Others than 429 are answers.
async fn until_refused(request: RequestBuilder) -> (usize, Value) {
    let mut passed = 0;
    loop {
        let answer = request.try_clone().unwrap().timeout(SOON).send().await.unwrap();
        if answer.status() != 429 {
            passed += 1;
            assert!(passed <= 200, "nothing refuses");
            continue;
        }
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        let body: Value = answer.json().await.unwrap();
        assert!((1..=60).contains(&wait), "{wait} {body}");
        return (passed, body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_has_the_seeds_figure_per_user() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[]).await;
    let (ann, bob) = (person(&stack, &gateway, "ann").await, person(&stack, &gateway, "bob").await);
    let ask = |method: Method, path: &str, token: &str| {
        Client::new().request(method, gateway.url(path)).bearer_auth(token)
    };
    let session = json!({"session_type": "human_agent", "agents": {"a": {"provider": "nobody"}}});
    let message = json!({"to": "@ann", "text": "x"});
    let said = json!({"receiver_id": "nobody", "content": "x", "message_type": "text"});
    for (figure, request) in [
        (50, &|token: &str| ask(Method::POST, "/api/auth/verify", token)),
        (5, &|token: &str| ask(Method::POST, "/api/chat/sessions/create", token).json(&session)),
        (10, &|token: &str| ask(Method::GET, "/api/chat/sessions/none", token)),
        (20, &|token: &str| ask(Method::GET, "/api/agents/list", token)),
        (20, &|token: &str| ask(Method::POST, "/api/agents/none/message", token).json(&said)),
        (60, &|token: &str| ask(Method::POST, "/api/threads/t/messages", token).json(&message)),
    ] as [(usize, &dyn Fn(&str) -> RequestBuilder); 6]
    {
        let began = std::time::Instant::now();
        let (passed, body) = until_refused(request(&ann)).await;
        // Meanwhile some came back.
        let back = began.elapsed().as_secs_f64() * figure as f64 / 60.0;
        assert!(passed >= figure && (passed as f64) <= figure as f64 + back + 1.0, "{figure}: {passed}");
        assert_eq!((body["code"].as_str(), body["status"].as_u64()), (Some("rate_limited"), Some(429)));
        // Another account's bucket is its own.
        assert_ne!(request(&bob).send().await.unwrap().status(), 429, "{figure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_ten_logins_a_minute_and_fifty_bad_tokens() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[]).await;
    stack.person("ann", PASSWORD).await;
    let form = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("username=ann&password=correct+horse+battery");
    let token = login(&gateway, "ann", PASSWORD).await.body;
    // One comes back every six seconds.
    assert!((9..=12).contains(&until_refused(form).await.0));
    // What isn't good is refused for itself, and in the end altogether; what is good is let in meanwhile.
    let bad = |key: &str| Client::new().get(gateway.url("/api/threads")).bearer_auth(key);
    let (passed, body) = until_refused(bad("made.up.token")).await;
    assert_eq!((passed, body["code"].as_str()), (50, Some("rate_limited")));
    assert_eq!(bad("ank_made_up").send().await.unwrap().status(), 429);
    let good = call(&gateway, Method::GET, "/api/threads", token["access_token"].as_str(), None).await;
    assert_eq!(good.status, 200);
    // Too early is told in seconds by the registry, too.
    let full = stack.gateway(&[("GATEWAY_RATE_LOGIN", "1000")]).await;
    let wrong = Client::new()
        .post(full.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("username=ann&password=wrong");
    let (passed, body) = until_refused(wrong).await;
    assert!((5..=7).contains(&passed), "{passed}");
    assert_eq!(body["code"], "login_throttled");
}

/// Sends bytes, and reads what comes until the connection ends.
async fn raw(gateway: &RunningGateway, bytes: Vec<u8>) -> String {
    let addr = gateway.addr;
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // The server may have closed before it read everything.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_too_slow_or_misshapen_is_told_by_its_status() {
    let stack = mode("open").await;
    let rules = [
        ("GATEWAY_MAX_BODY_BYTES", "2048"),
        ("GATEWAY_HEADER_SECONDS", "0.5"),
        ("GATEWAY_REQUEST_SECONDS", "5"),
    ];
    let gateway = stack.gateway(&rules).await;
    let head = |extra: &str| {
        format!(
            "POST /api/threads/t/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{extra}\r\n"
        )
    };
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (bytes, status, code) in [
        (head(&many), "431", None),
        // A body that doesn't come.
        (format!("{}{{\"to\":", head("Content-Length: 100\r\n")), "408", Some("request_timeout")),
    ] {
        let answer = raw(&gateway, bytes.into_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        if let Some(code) = code {
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        }
    }
    for (media_type, body, status, field) in [
        ("text/plain", "{}", 415, None),
        ("application/x-www-form-urlencoded", "to=x", 415, None),
        ("application/json", "{", 400, None),
        ("application/json", "[]", 422, Some("payload")),
        ("application/json", r#"{"to": 3}"#, 422, Some("to")),
        ("application/json", r#"{"text": "x", "to": "@b", "ttl_ms": "soon"}"#, 422, Some("ttl_ms")),
    ] {
        let request = Client::new().post(gateway.url("/api/threads/t/messages"));
        let answer = request.header("content-type", media_type).body(body).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let (found, problem) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!((found, problem["field"].as_str()), (status, field), "{media_type} {body}: {problem}");
        for member in ["detail", "code", "timestamp", "title", "status"] {
            assert!(!problem[member].is_null(), "{member}: {problem}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_of_named_origins_may_and_others_may_not() {
    let stack = mode("open").await;
    let gateway = stack.gateway(&[("GATEWAY_CORS_ORIGINS", "https://app.example")]).await;
    let preflight = |origin: &str| {
        Client::new()
            .request(Method::OPTIONS, gateway.url("/api/threads/t/messages"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-api-key")
    };
    let allowed = preflight("https://app.example").send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example");
    assert!(!allowed.headers().contains_key("access-control-allow-credentials"));
    let headers = allowed.headers()["access-control-allow-headers"].to_str().unwrap().to_ascii_lowercase();
    for name in ["authorization", "content-type", "x-api-key"] {
        assert!(headers.contains(name), "{headers}");
    }
    let foreign = preflight("https://evil.example").send().await.unwrap();
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    let answer = Client::new()
        .get(gateway.url("/health"))
        .header("origin", "https://app.example")
        .send()
        .await
        .unwrap();
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
    assert!(exposed.contains("retry-after") && exposed.contains("x-request-id"), "{exposed}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers()["cache-control"], "no-store");
}

/// Everything that is logged, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_has_a_line_per_request_and_no_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        // Ours at the finest; what others write at their finest isn't for a log in use.
        .with_env_filter("info,agentnet=trace")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: other tests of this file only add lines.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let stack = mode("secure").await;
    let gateway = stack.gateway(&QUICK).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    let password = "a password nobody else has";
    stack.person("ann", password).await;
    let pair = login(&gateway, "ann", password).await.body;
    let token = pair["access_token"].as_str().unwrap().to_owned();
    let refresh = json!({"refresh_token": pair["refresh_token"]});
    let next = call(&gateway, Method::POST, "/api/auth/refresh", None, Some(&refresh)).await.body;
    let ticket = call(&gateway, Method::POST, "/api/auth/ticket", Some(&token), None).await.body;
    let key = json!({"name": "k", "scopes": ["read"]});
    let key = call(&gateway, Method::POST, "/api/auth/keys", Some(&token), Some(&key)).await.body;
    call(&gateway, Method::GET, "/api/threads", key["api_key"].as_str(), None).await;
    let created =
        call(&gateway, Method::POST, "/api/chat/sessions/create", Some(&token), Some(&example())).await.body;
    let session = created["session_id"].as_str().unwrap();
    let url = gateway.ws(&format!("/api/chat/ws/{session}?token={token}"));
    let mut chat = Web::open(&url, &[]).await.unwrap();
    chat.send(&json!({"type": "text", "content": "words between two"})).await;
    chat.until(|frame| frame["type"] == "response").await;
    let url = gateway.ws(&format!("/chat?ticket={}", ticket["ticket"].as_str().unwrap()));
    drop(Web::open(&url, &[]).await.unwrap());
    login(&gateway, "ann", "a wrong password of hers").await;
    let request = Client::new().get(gateway.url("/api/threads?limit=1&secret=query")).bearer_auth(&token);
    request.header("x-request-id", "looked-for-1").send().await.unwrap();
    support::until(|| String::from_utf8_lossy(&log.0.lock().unwrap()).contains("looked-for-1")).await;
    tokio::time::timeout(SOON, gateway.stopped()).await.unwrap();
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    let line = text.lines().find(|line| line.contains("looked-for-1")).unwrap();
    for part in ["method=GET", "/api/threads", "status=200", "ms=", "peer=127.0.0.1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("secret=query"), "{line}");
    for (name, secret) in [
        ("password", password),
        ("wrong password", "a wrong password of hers"),
        ("access token", &token),
        ("next access token", next["access_token"].as_str().unwrap()),
        ("refresh token", pair["refresh_token"].as_str().unwrap()),
        ("next refresh token", next["refresh_token"].as_str().unwrap()),
        ("ticket", ticket["ticket"].as_str().unwrap()),
        ("API key", key["api_key"].as_str().unwrap()),
    ] {
        assert!(
            secret.len() > 10 && !text.contains(secret),
            "{name} is in the log: {}",
            around(&text, secret)
        );
    }
}

/// The line that has it.
fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    text.lines().find(|line| line.contains(secret)).unwrap_or_default()
}
