//! The gateway's doors: TLS with certificates that change, both versions of HTTP, proxies, and what each face says of itself.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{fs, path::Path, sync::Arc};

use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Client;
use serde_json::Value;
use support::{RunningGateway, Stack, until_async};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

/// Writes a certificate of its own for this machine.
fn certificate(dir: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let pem = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    // One after the other, as people do it.
    fs::write(dir.join("cert.pem"), &pem).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Shakes hands with somebody who must have this certificate.
async fn shake(
    gateway: &RunningGateway,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(gateway.addr).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
}

fn request(path: &str) -> hyper::Request<String> {
    hyper::Request::get(path).header("host", "127.0.0.1").body(String::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_read_again_when_they_change() {
    let stack = Stack::start().await;
    let dir = tempfile::tempdir().unwrap();
    let first = certificate(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let gateway = stack.gateway(&[("GATEWAY_TLS_CERT", &cert), ("GATEWAY_TLS_KEY", &key)]).await;
    assert!(gateway.handle.url().unwrap().starts_with("https://"));

    let stream = shake(&gateway, &first, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut two, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let two_runs = tokio::spawn(connection);
    assert_eq!(two.send_request(request("https://127.0.0.1/health")).await.unwrap().status(), 200);
    let stream = shake(&gateway, &first, b"http/1.1").await.unwrap();
    let (mut one, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(one.send_request(request("/health")).await.unwrap().status(), 200);
    // Without TLS nobody answers.
    assert!(Client::new().get(gateway.url("/health")).send().await.is_err());

    let second = certificate(dir.path());
    until_async(async || shake(&gateway, &second, b"h2").await.is_some()).await;
    assert!(shake(&gateway, &first, b"h2").await.is_none());
    // Connections that are there go on.
    assert_eq!(two.send_request(request("https://127.0.0.1/health")).await.unwrap().status(), 200);
    // What can't be used changes nothing.
    fs::write(dir.path().join("key.pem"), "nonsense").unwrap();
    let third = certificate(tempfile::tempdir().unwrap().path());
    assert!(shake(&gateway, &third, b"h2").await.is_none());
    assert!(shake(&gateway, &second, b"h2").await.is_some());
    let fourth = certificate(dir.path());
    until_async(async || shake(&gateway, &fourth, b"h2").await.is_some()).await;
    two_runs.abort();
}

async fn login(gateway: &RunningGateway, forwarded: &str) -> u16 {
    let request = Client::new()
        .post(gateway.url("/api/auth/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-forwarded-for", forwarded)
        .body("username=nobody&password=wrong+wrong");
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_trusted_proxies_say_whom_they_ask_for() {
    let stack = Stack::start().await;
    let rate = ("GATEWAY_RATE_LOGIN", "1");
    let behind = stack.gateway(&[rate, ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")]).await;
    assert_eq!(login(&behind, "198.51.100.1").await, 401);
    assert_eq!(login(&behind, "198.51.100.2").await, 401);
    assert_eq!(login(&behind, "198.51.100.2").await, 429);
    // What the client itself wrote before makes no other client of it.
    assert_eq!(login(&behind, "203.0.113.9, 198.51.100.2, 10.1.1.1").await, 429);
    let direct = stack.gateway(&[rate]).await;
    assert_eq!(login(&direct, "198.51.100.3").await, 401);
    assert_eq!(login(&direct, "198.51.100.4").await, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_face_says_what_it_is() {
    let stack = Stack::start().await;
    let listen = "127.0.0.1:0,connect=127.0.0.1:0,chat=127.0.0.1:0,p2p=127.0.0.1:0";
    let gateway = stack.gateway(&[("GATEWAY_LISTEN", listen)]).await;
    let names = ["agentnet-gateway", "agentnet-connect", "agentnet-chat", "agentnet-p2p"];
    let look = async |path: &str| -> Vec<(u16, String, String)> {
        let mut seen = Vec::new();
        for addr in gateway.handle.addrs() {
            let answer = Client::new().get(format!("http://{addr}{path}")).send().await.unwrap();
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap();
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            assert!(!text("timestamp").is_empty() && !text("version").is_empty(), "{body}");
            seen.push((status, text("status"), text("service")));
        }
        seen
    };
    for path in ["/", "/health"] {
        let expected = names.map(|name| (200, "healthy".to_owned(), name.to_owned()));
        assert_eq!(look(path).await, expected, "{path}");
    }
    // Health is a question to the registry, not a word.
    stack.stop_registry().await;
    let expected = names.map(|name| (503, "unhealthy".to_owned(), name.to_owned()));
    assert_eq!(look("/").await, expected);
}
