//! A NATS client of a few lines, so that a test sees every word of the server.

use std::time::Duration;

use agentnet_local::testing::TestNats;
use agentnet_proto::signature::SecretKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Raw {
    stream: BufReader<TcpStream>,
    nonce: String,
    next_sid: u32,
}

impl Raw {
    /// Connects as far as the server's greeting.
    pub async fn open(nats: &TestNats) -> Self {
        let stream = TcpStream::connect(nats.host_port()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        timeout(PATIENCE, stream.read_line(&mut line)).await.unwrap().unwrap();
        let info: serde_json::Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        let nonce = info["nonce"].as_str().unwrap_or_default().to_owned();
        Self { stream, nonce, next_sid: 0 }
    }

    /// Connects with a key.
    pub async fn connect(nats: &TestNats, key: &SecretKey) -> Self {
        let mut raw = Self::open(nats).await;
        let words = raw.connect_line(&key.verifying().to_nkey(), key);
        raw.enter(&words).await.unwrap();
        raw
    }

    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// What a client with `key` says of itself, claiming to be `nkey`.
    pub fn connect_line(&self, nkey: &str, key: &SecretKey) -> String {
        let signature = URL_SAFE_NO_PAD.encode(key.sign_bytes(self.nonce.as_bytes()));
        format!(r#"{{"verbose":false,"lang":"test","version":"1","nkey":"{nkey}","sig":"{signature}"}}"#)
    }

    /// Says exactly these words as its CONNECT: in, or the server's error.
    pub async fn enter(&mut self, words: &str) -> Result<(), String> {
        self.say(&format!("CONNECT {words}\r\nPING\r\n")).await.map_or(Ok(()), Err)
    }

    pub async fn may_publish(&mut self, subject: &str) {
        assert_eq!(self.publish(subject).await, None, "publish {subject}");
    }

    pub async fn may_not_publish(&mut self, subject: &str) {
        let error = format!("Permissions Violation for Publish to \"{subject}\"");
        assert_eq!(self.publish(subject).await, Some(error), "publish {subject}");
    }

    /// `subject` may be followed by a queue group.
    pub async fn may_subscribe(&mut self, subject: &str) {
        assert_eq!(self.subscribe(subject).await, None, "subscribe {subject}");
    }

    pub async fn may_not_subscribe(&mut self, subject: &str) {
        let answer = self.subscribe(subject).await.unwrap_or_else(|| panic!("subscribed {subject}"));
        let subject = subject.split(' ').next().unwrap();
        assert!(
            answer.starts_with(&format!("Permissions Violation for Subscription to \"{subject}\"")),
            "{answer}"
        );
    }

    /// The next error the server says by itself.
    pub async fn next_error(&mut self, patience: Duration) -> String {
        let stream = &mut self.stream;
        timeout(patience, async {
            loop {
                let mut line = String::new();
                assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "closed without a word");
                if let Some(error) = error_of(&line) {
                    return error;
                }
            }
        })
        .await
        .unwrap()
    }

    async fn publish(&mut self, subject: &str) -> Option<String> {
        self.say(&format!("PUB {subject} 0\r\n\r\nPING\r\n")).await
    }

    /// Ends a subscription that was granted, so that the number of them isn't what is tested.
    async fn subscribe(&mut self, subject: &str) -> Option<String> {
        self.next_sid += 1;
        let sid = self.next_sid;
        let answer = self.say(&format!("SUB {subject} {sid}\r\nPING\r\n")).await;
        self.say(&format!("UNSUB {sid}\r\nPING\r\n")).await;
        answer
    }

    /// Everything the server says up to its PONG, as far as it is an error.
    async fn say(&mut self, text: &str) -> Option<String> {
        let stream = &mut self.stream;
        stream.get_mut().write_all(text.as_bytes()).await.unwrap();
        let answer = async {
            let mut error = None;
            loop {
                let mut line = String::new();
                match stream.read_line(&mut line).await {
                    Ok(0) | Err(_) => return error.or_else(|| Some("closed".to_owned())),
                    Ok(_) if line.starts_with("PONG") => return error,
                    Ok(_) => error = error_of(&line).or(error),
                }
            }
        };
        timeout(PATIENCE, answer).await.unwrap()
    }
}

fn error_of(line: &str) -> Option<String> {
    Some(line.strip_prefix("-ERR '")?.trim_end().trim_end_matches('\'').to_owned())
}
