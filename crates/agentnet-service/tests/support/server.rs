//! A private nats-server on a free port.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

pub struct TestNats {
    port: u16,
    token: &'static str,
    child: Option<Child>,
}

impl TestNats {
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { port, token: "test_token_7h3", child: None };
        server.restart();
        server
    }

    pub fn url(&self) -> String {
        format!("nats://{}@127.0.0.1:{}", self.token, self.port)
    }

    pub fn url_with_token(&self, token: &str) -> String {
        format!("nats://{token}@127.0.0.1:{}", self.port)
    }

    pub fn token(&self) -> &str {
        self.token
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        let binary = std::env::var("AGENTNET_NATS_BIN").unwrap_or_else(|_| "nats-server".to_owned());
        let child = Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "--auth", self.token])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server must be on PATH or in AGENTNET_NATS_BIN");
        self.child = Some(child);
    }
}

impl Drop for TestNats {
    fn drop(&mut self) {
        self.stop();
    }
}
