//! Whether a service answers, and what its metrics say.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Much more than a health report or a page of metrics needs.
const LIMIT: u64 = 4 << 20;
/// One question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Status and body of `GET path`.
///
/// # Errors
/// When nobody answers within 5 s.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.take(LIMIT).read_to_string(&mut text).await?;
        anyhow::Ok(text)
    };
    let text = timeout(PATIENCE, ask).await.with_context(|| format!("{address} took too long"))??;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("{address} does not speak HTTP"))?;
    Ok((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// Waits until `/ready` says yes.
///
/// # Errors
/// The last report, when that takes longer.
pub async fn wait(name: &str, address: SocketAddr, within: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let report = match get(address, "/ready").await {
            Ok((200, _)) => return Ok(()),
            Ok((_, report)) => report,
            Err(error) => error.to_string(),
        };
        if start.elapsed() >= within {
            bail!("{name} was not ready within {within:?}: {report}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port that is free now, from outside the range that outgoing connections take theirs from: nobody will sit on it
/// between two starts of a service by accident.
///
/// # Errors
/// When there is none.
pub async fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = rand::random_range(10_240..32_768);
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1")
}
