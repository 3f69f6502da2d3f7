//! Files over HTTP: up and down, whole and in part, and beside questions to agents.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use agentnet::{P2p, P2pFile, P2pHandlers, P2pTask};
use reqwest::{Client, Method, Response, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{RunningGateway, SOON, Stack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PASSWORD: &str = "correct horse battery";
const QUICK: [(&str, &str); 2] = [("GATEWAY_RATE_MESSAGE", "1000"), ("GATEWAY_RATE_AGENT", "1000")];

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from((n * 31 + n / 251) % 256).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn token(stack: &Stack, gateway: &RunningGateway, username: &str) -> String {
    stack.person(username, PASSWORD).await;
    let answer = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("username={username}&password={}", PASSWORD.replace(' ', "+")))
        .send();
    let answer: Value = answer.await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A client of one account.
struct Files<'a> {
    gateway: &'a RunningGateway,
    token: Option<String>,
}

impl Files<'_> {
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
        let mut request = Client::new().request(method, self.gateway.url(path)).timeout(SOON);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).send().await.unwrap()
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Option<String>, Vec<u8>) {
        let answer = self.ask(Method::GET, path, headers, Vec::new()).await;
        let range =
            answer.headers().get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), range, answer.bytes().await.unwrap().to_vec())
    }
}

async fn up_and_down(stack: &Stack) {
    let gateway = stack.gateway(&QUICK).await;
    let ann = Files { token: Some(token(stack, &gateway, "ann").await), gateway: &gateway };
    let content = bytes(700_001);
    let put = ann.ask(Method::PUT, "/api/blobs/named/holiday%20pictures.bin", &[], content.clone()).await;
    assert_eq!(put.status(), 201);
    let etag = put.headers()[header::ETAG].to_str().unwrap().to_owned();
    let place = put.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let info: Value = put.json().await.unwrap();
    assert_eq!((&info["filename"], &info["size_bytes"]), (&json!("holiday pictures.bin"), &json!(700_001)));
    assert_eq!(
        (info["sha256"].as_str().unwrap(), etag.trim_matches('"')),
        (&*sha256(&content), &*sha256(&content))
    );
    assert_eq!(place, format!("/api/blobs/{}", info["blob_id"].as_str().unwrap()));
    // The same under the same name is the same.
    let again = ann.ask(Method::PUT, "/api/blobs/named/holiday%20pictures.bin", &[], content.clone()).await;
    assert_eq!(again.json::<Value>().await.unwrap()["blob_id"], info["blob_id"]);

    // Whole, in part, not again. Another gateway serves it too.
    let other = stack.gateway(&QUICK).await;
    let there = Files { token: ann.token.clone(), gateway: &other };
    for files in [&ann, &there] {
        let (status, range, got) = files.get(&place, &[]).await;
        assert_eq!((status, range, got == content), (200, None, true));
        for (range, first, end) in [
            ("bytes=0-0", 0, 1),
            ("bytes=131000-262200", 131_000, 262_201),
            ("bytes=700000-", 700_000, 700_001),
            ("bytes=-10", 699_991, 700_001),
        ] {
            let (status, said, got) = files.get(&place, &[("range", range)]).await;
            assert_eq!((status, got == content[first..end]), (206, true), "{range}");
            assert_eq!(said.unwrap(), format!("bytes {first}-{}/700001", end - 1));
        }
    }
    let (status, said, _) = ann.get(&place, &[("range", "bytes=700001-")]).await;
    assert_eq!((status, said.as_deref()), (416, Some("bytes */700001")));
    assert_eq!(ann.get(&place, &[("if-none-match", &etag)]).await.0, 304);
    assert_eq!(ann.get(&place, &[("range", "bytes=0-3"), ("if-range", &etag)]).await.2.len(), 4);
    assert_eq!(ann.get(&place, &[("range", "bytes=0-3"), ("if-range", "\"other\"")]).await.0, 200);
    let head = ann.ask(Method::HEAD, &place, &[], Vec::new()).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()[header::CONTENT_LENGTH]),
        (200, &"700001".parse().unwrap())
    );
    assert!(head.headers()[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment"));

    // Pages that claim to be ours are never shown as such, and bytes never changed on the way.
    let page = "<script>alert(1)</script>".repeat(100).into_bytes();
    let said = [("content-type", "text/html")];
    let put: Value =
        ann.ask(Method::POST, "/api/blobs?filename=a.html", &said, page.clone()).await.json().await.unwrap();
    let path = format!("/api/blobs/{}", put["blob_id"].as_str().unwrap());
    let got = ann.ask(Method::GET, &path, &[("accept-encoding", "gzip")], Vec::new()).await;
    assert_eq!(got.headers()[header::CONTENT_TYPE], "text/html");
    assert!(got.headers().get(header::CONTENT_ENCODING).is_none());
    assert!(got.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
    assert_eq!(got.bytes().await.unwrap(), page);

    let list =
        ann.ask(Method::GET, "/api/blobs?limit=1", &[], Vec::new()).await.json::<Value>().await.unwrap();
    assert_eq!(
        (list["blobs"].as_array().unwrap().len(), &list["blobs"][0]["filename"]),
        (1, &json!("a.html"))
    );
    assert!(list["used_bytes"].as_u64().unwrap() >= 700_001 && list["next_cursor"].is_string(), "{list}");
    let gone = ann.ask(Method::DELETE, &path, &[], Vec::new()).await.json::<Value>().await.unwrap();
    assert_eq!(gone["deleted"], true);
    assert_eq!(ann.get(&path, &[]).await.0, 410);
    assert_eq!(ann.ask(Method::PUT, "/api/blobs/named/..", &[], vec![1]).await.status().as_u16() / 100, 4);
    assert_eq!(ann.ask(Method::PUT, "/api/blobs/named/nul", &[], vec![1]).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_up_and_down_in_open_mode() {
    up_and_down(&Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_up_and_down_in_signed_mode() {
    up_and_down(&Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_up_and_down_in_secure_mode() {
    let stack = Stack::secure(&[]).await;
    up_and_down(&stack).await;
    // And nobody else reads or removes them.
    let gateway = stack.gateway(&QUICK).await;
    let bob = Files { token: Some(token(&stack, &gateway, "bob").await), gateway: &gateway };
    let eve = Files { token: Some(token(&stack, &gateway, "eve").await), gateway: &gateway };
    let nobody = Files { token: None, gateway: &gateway };
    let put: Value = bob.ask(Method::POST, "/api/blobs", &[], vec![7; 10]).await.json().await.unwrap();
    let path = format!("/api/blobs/{}", put["blob_id"].as_str().unwrap());
    assert_eq!(eve.get(&path, &[]).await.0, 403);
    assert_eq!(nobody.get(&path, &[]).await.0, 401);
    assert_eq!(nobody.ask(Method::POST, "/api/blobs", &[], vec![1]).await.status(), 401);
    let gone = eve.ask(Method::DELETE, &path, &[], Vec::new()).await;
    assert!(gone.status() == 403 || gone.json::<Value>().await.unwrap()["deleted"] == false);
    assert_eq!(bob.get(&path, &[]).await.0, 200);
}

/// Sends the head of a request and what follows it; the status that is answered.
async fn raw(gateway: &RunningGateway, text: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
    // The gateway may answer before it has everything.
    let _ = socket.write_all(text).await;
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(SOON, socket.read(&mut answer)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_never_ends_is_refused() {
    let stack = Stack::start().await;
    let gateway = stack
        .gateway(&[("GATEWAY_MAX_BLOB_BYTES", "100000"), ("GATEWAY_TRANSFER_IDLE_SECONDS", "0.3")])
        .await;
    let files = Files { token: None, gateway: &gateway };
    assert_eq!(files.ask(Method::POST, "/api/blobs", &[], bytes(100_000)).await.status(), 201);
    // By what it says, by what it is.
    let head = "POST /api/blobs HTTP/1.1\r\nHost: x\r\n";
    assert_eq!(raw(&gateway, format!("{head}Content-Length: 100001\r\n\r\n").as_bytes()).await, "413");
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n186a1\r\n").into_bytes();
    chunked.extend(bytes(100_001));
    assert_eq!(raw(&gateway, &chunked).await, "413");
    // A client that falls silent.
    assert_eq!(raw(&gateway, format!("{head}Content-Length: 1000\r\n\r\nabc").as_bytes()).await, "504");
}

/// A form as the seed's clients send one.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file
            .map_or_else(String::new, |file| format!("; filename=\"{file}\"\r\nContent-Type: image/jpeg"));
        body.extend(
            format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    ("multipart/form-data; boundary=XX".to_owned(), body)
}

/// Tells what it got, files read.
fn reads_files() -> P2pHandlers {
    P2pHandlers::of_tasks(|task: P2pTask| async move {
        let mut files = Vec::new();
        for (name, file) in task.files() {
            let content = task.get_file(&file).bytes().await?;
            files.push(json!([name, file.filename, file.mime_type, sha256(&content)]));
        }
        let mut rest = task.content.clone();
        rest.as_object_mut().map(|map| map.remove("files"));
        Ok(json!({"files": files, "rest": rest}))
    })
}

async fn beside_questions(stack: &Stack) {
    let gateway = stack.gateway(&QUICK).await;
    let worker = reads_files().serve(stack.node("agent_123").identity(stack.identity("agent_123")), 4);
    let worker = worker.start().await.unwrap();
    let ann = Files { token: Some(token(stack, &gateway, "ann").await), gateway: &gateway };
    let image = bytes(300_000);
    let ask = async |path: &str, parts: &[(&str, Option<&str>, &[u8])]| {
        let (media, body) = form(parts);
        let answer = ann.ask(Method::POST, path, &[("content-type", &media)], body).await;
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let path = format!("/p2p/{}/api", worker.account_id());
    let data = br#"{"meta": "image"}"#;
    let (status, answer) =
        ask(&path, &[("data", None, data), ("file", Some("../image.jpg"), &image), ("note", None, b"hi")])
            .await;
    assert_eq!(status, 200, "{answer}");
    let seen = &answer["data"]["files"][0];
    // A path of the client's stays the client's.
    assert_eq!(
        (&seen[0], &seen[2], &seen[3]),
        (&json!("file"), &json!("image/jpeg"), &json!(sha256(&image)))
    );
    assert!(
        !seen[1].as_str().unwrap().contains('/') && seen[1].as_str().unwrap().ends_with("image.jpg"),
        "{seen}"
    );
    assert_eq!(answer["data"]["rest"], json!({"meta": "image", "note": "hi"}));
    assert_eq!(ask(&path, &[("data", None, b"{")]).await.0, 422);
    assert_eq!(ask(&path, &[("data", None, b"3"), ("file", Some("a"), b"x")]).await.0, 400);
    assert_eq!(ask("/p2p/nobody/api", &[("file", Some("a"), b"x")]).await.0, 404);

    // Agents do the same without a gateway.
    let asker = stack.node("asker").identity(stack.identity("asker")).start().await.unwrap();
    let file = P2pFile::new("image.jpg", image.clone());
    let answer = P2p::new(&asker)
        .send_file(worker.account_id(), json!({"meta": "image"}), file)
        .await
        .unwrap()
        .value();
    assert_eq!((&answer["files"][0][3], &answer["rest"]["meta"]), (&json!(sha256(&image)), &json!("image")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_beside_questions_in_open_mode() {
    beside_questions(&Stack::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_beside_questions_in_signed_mode() {
    beside_questions(&Stack::signed().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_beside_questions_in_secure_mode() {
    beside_questions(&Stack::secure(&[]).await).await;
}
