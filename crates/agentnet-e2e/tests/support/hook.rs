//! An agent's web server.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// First line, headers and body of a request.
pub type Got = (String, Vec<(String, String)>, Vec<u8>);

/// An agent's web server: answers with what it was told, 200 after that, and keeps what it got.
#[derive(Clone, Default)]
pub struct Hook {
    answers: Arc<Mutex<VecDeque<u16>>>,
    pub got: Arc<Mutex<Vec<Got>>>,
}

impl Hook {
    /// Starts it; where it is.
    pub async fn start(answers: &[u16]) -> (Self, String) {
        let hook =
            Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = hook.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
                let (head, length) = loop {
                    let Ok(n) = socket.read(&mut chunk).await else { break (0, 0) };
                    if n == 0 {
                        break (0, 0);
                    }
                    bytes.extend_from_slice(&chunk[..n]);
                    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
                    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let length = length.map_or(0, |n| n.parse::<usize>().unwrap());
                    if bytes.len() >= head + 4 + length {
                        break (head, length);
                    }
                };
                if head == 0 {
                    continue;
                }
                let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
                let mut lines = text.lines();
                let path = lines.next().unwrap().to_owned();
                let headers = lines.filter_map(|line| line.split_once(": "));
                let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
                served.got.lock().unwrap().push((path, headers, bytes[head + 4..head + 4 + length].to_vec()));
                let status = served.answers.lock().unwrap().pop_front().unwrap_or(200);
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        (hook, url)
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// One's body.
    pub fn body(&self, n: usize) -> Value {
        serde_json::from_slice(&self.got.lock().unwrap()[n].2).unwrap()
    }
}
