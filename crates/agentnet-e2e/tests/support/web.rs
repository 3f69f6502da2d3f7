//! WebSocket clients.
#![allow(dead_code, reason = "each test file uses its part")]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::SOON;

/// A WebSocket client.
pub struct Web(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Web {
    /// Connects; the status of a refused handshake otherwise.
    pub async fn open(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match timeout(SOON, connect_async(request)).await.expect("the handshake hangs") {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn send(&mut self, value: &Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    /// The next JSON frame; protocol pings are answered by the library.
    pub async fn next(&mut self) -> Value {
        loop {
            match timeout(SOON, self.0.next()).await.expect("nothing came").expect("closed").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed with {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next frame that `wanted` takes.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let frame = self.next().await;
                if wanted(&frame) {
                    return frame;
                }
            }
        };
        // Signs of life come again and again.
        timeout(SOON * 2, found).await.expect("it never came")
    }

    /// The code that the server closes with; frames before are read.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match timeout(SOON, self.0.next()).await.expect("not closed") {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(Message::Close(None))) | None => return 1005,
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }
}

/// A WebSocket client that reads frames but says nothing, not even what the protocol wants.
pub struct Mute(TcpStream);

impl Mute {
    pub async fn open(addr: std::net::SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        Self(stream)
    }

    /// The code that the server closes with; what comes before is left unanswered.
    pub async fn closed(&mut self) -> u16 {
        loop {
            let mut head = [0; 2];
            timeout(SOON, self.0.read_exact(&mut head)).await.expect("not closed").unwrap();
            let length = match head[1] & 0x7f {
                126 => usize::from(self.0.read_u16().await.unwrap()),
                127 => usize::try_from(self.0.read_u64().await.unwrap()).unwrap(),
                short => usize::from(short),
            };
            let mut body = vec![0; length];
            timeout(SOON, self.0.read_exact(&mut body)).await.unwrap().unwrap();
            if head[0] & 0xf == 8 {
                return u16::from_be_bytes([body[0], body[1]]);
            }
        }
    }
}
