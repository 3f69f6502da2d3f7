//! Whether a nats-server answers, and whether it is ours.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An INFO line is a few hundred bytes; clusters with many URLs stay far below this.
const INFO_LIMIT: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);

/// True if the server at `address` greets with this server name. A server greets only once it takes clients,
/// JetStream included. The name tells it from another that was quicker to take the port.
pub(super) fn greets_as(address: SocketAddr, name: &str) -> bool {
    let greet = || -> std::io::Result<String> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream.take(INFO_LIMIT)).read_line(&mut line)?;
        Ok(line)
    };
    greet()
        .is_ok_and(|line| line.starts_with("INFO ") && line.contains(&format!("\"server_name\":\"{name}\"")))
}
