//! A real browser: it reads the offline pages, logs in, opens a session, and sees an agent's reply over WebSocket.
//!
//! Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`); without them the test says so and
//! does nothing. The picture of the pages is left in `target/tmp/docs.png`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::{
    SOON, Stack,
    people::{PASSWORD, QUICK, model},
};

fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
        .find(|file| file.is_file())
}

/// A browser, driven by WebDriver (W3C). Dropping it ends it.
struct Browser {
    driver: Child,
    session: String,
    client: Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn start(driver: &Path, browser: &Path) -> Self {
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.ok()?;
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver doesn't start");
        let profile = tempfile::tempdir().unwrap();
        let client = Client::new();
        // No name leads anywhere: whatever the pages need, the gateway must bring.
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=1280,1400".to_owned(),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": browser, "args": arguments},
            "timeouts": {"script": 30_000, "pageLoad": 30_000}
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let answer = client.post(&base).json(&wanted).timeout(SOON * 2).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
        Self { session: format!("{base}/{id}"), driver, client, _profile: profile }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.client.request(method, format!("{}{path}", self.session)).timeout(SOON * 2);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["value"].get("error").is_none(), "{path}: {answer}");
        answer["value"].clone()
    }

    async fn open(&self, url: &str) {
        self.ask(Method::POST, "/url", Some(json!({"url": url}))).await;
    }

    /// What the script hands to its last argument, a function.
    async fn run(&self, script: &str, arguments: Value) -> Value {
        self.ask(Method::POST, "/execute/async", Some(json!({"script": script, "args": arguments}))).await
    }

    async fn picture(&self) -> Vec<u8> {
        STANDARD.decode(self.ask(Method::GET, "/screenshot", None).await.as_str().unwrap()).unwrap()
    }

    async fn end(self) {
        self.ask(Method::DELETE, "", None).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Waits in the page.
const DRAWN: &str = r#"
    const done = arguments[arguments.length - 1];
    const look = () => {
        const routes = document.querySelectorAll('.opblock').length;
        if (routes > 25) done({routes, authorize: !!document.querySelector('.btn.authorize'),
            title: document.querySelector('.info .title')?.innerText,
            foreign: performance.getEntriesByType('resource').map(e => e.name)
                .filter(name => !name.startsWith(location.origin) && !name.startsWith('data:'))});
        else setTimeout(look, 50);
    };
    look();
"#;

/// As a page of the seed's would: a form to log in, JSON to make a session, a WebSocket to talk.
const TALK: &str = r#"
    const [password, done] = arguments;
    (async () => {
        const form = new URLSearchParams({username: 'demo', password});
        const login = await (await fetch('/api/auth/login', {method: 'POST', body: form})).json();
        const created = await fetch('/api/chat/sessions/create', {
            method: 'POST',
            headers: {'Content-Type': 'application/json', Authorization: `Bearer ${login.access_token}`},
            body: JSON.stringify({session_type: 'human_agent', agents: {primary: {provider: 'groq',
                model: 'llama-3-70b', capabilities: ['conversation'], personality: 'helpful and professional'}}})
        });
        const session = await created.json();
        const socket = new WebSocket(
            `ws://${location.host}/api/chat/ws/${session.session_id}?token=${login.access_token}`);
        const frames = [];
        socket.onmessage = message => {
            const frame = JSON.parse(message.data);
            frames.push(frame);
            if (frame.type === 'ping' && frames.length === 1)
                socket.send(JSON.stringify({type: 'text', content: 'Hello AI!', timestamp: new Date().toISOString()}));
            if (frame.type === 'response' || frame.type === 'error') socket.close(1000);
        };
        socket.onclose = close => done({status: created.status, frames, code: close.code});
    })().catch(error => done({error: String(error)}));
"#;

/// A page of nowhere in particular, which says so by its origin.
const FOREIGN: &str = r#"
    const [url, done] = arguments;
    const socket = new WebSocket(url);
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_reads_the_pages_logs_in_and_sees_a_reply() {
    let found = (installed(&["chromedriver"]), installed(&["chromium", "chromium-browser", "google-chrome"]));
    let (Some(driver), Some(chromium)) = found else {
        eprintln!("skipped: no chromium and chromedriver are installed");
        return;
    };
    let stack = Stack::start().await;
    let gateway = stack.gateway(&QUICK).await;
    let _llama = model(&stack, "llama", "groq", "llama-3-70b").await;
    stack.person("demo", PASSWORD).await;
    let browser = Browser::start(&driver, &chromium).await;

    browser.open(&gateway.url("/docs/")).await;
    let drawn = browser.run(DRAWN, json!([])).await;
    assert_eq!((&drawn["authorize"], &drawn["foreign"]), (&json!(true), &json!([])), "{drawn}");
    assert!(drawn["title"].as_str().unwrap().contains("AgentNet gateway"), "{drawn}");
    let picture = browser.picture().await;
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{}", picture.len());
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs.png"), picture).unwrap();

    let talk = browser.run(TALK, json!([PASSWORD])).await;
    assert_eq!(talk["status"], 200, "{talk}");
    let frames = talk["frames"].as_array().unwrap();
    let reply = frames.iter().find(|frame| frame["type"] == "response").unwrap_or_else(|| panic!("{talk}"));
    assert_eq!((&reply["content"], &talk["code"]), (&json!("heard Hello AI!"), &json!(1000)));

    browser.open("data:text/html,<title>elsewhere</title>").await;
    assert_eq!(browser.run(FOREIGN, json!([gateway.ws("/chat")])).await, "refused");
    browser.end().await;
}
