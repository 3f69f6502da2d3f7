//! `<service> health`: asks the running service's own `/ready`. For container health checks, whose images hold no
//! HTTP client.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::main::{EXIT_FAILURE, print_line};
use crate::config::{ConfigError, Env, HttpConfig};

/// Much more than a report of a service's few checks needs.
const MAX_REPORT_BYTES: u64 = 64 * 1024;

/// Exit code 0 when `/ready` answers 200; else 1, with one line.
pub(super) fn run(name: &str, env: &Env) -> ExitCode {
    let config = match HttpConfig::from_env(env) {
        Ok(config) => config,
        Err(error) => {
            print_line(&format!("{name} health: {error}"));
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    let Some(addr) = config.addr else {
        print_line(&format!("{name} health: set AGENTNET_HTTP_ADDR as the service has it"));
        return ExitCode::from(ConfigError::EXIT_CODE);
    };
    // All checks run at once, so one allowance covers them; the rest is for the connection.
    match ask(reachable(addr), config.check_timeout + Duration::from_secs(1)) {
        Ok(report) if report.starts_with("HTTP/1.1 200") || report.starts_with("HTTP/1.0 200") => {
            ExitCode::SUCCESS
        }
        Ok(report) => {
            let body = report.split_once("\r\n\r\n").map_or(report.as_str(), |(_, body)| body);
            print_line(&format!("{name} health: not ready: {}", body.trim()));
            ExitCode::from(EXIT_FAILURE)
        }
        Err(error) => {
            print_line(&format!("{name} health: {addr} does not answer: {error}"));
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// An address that stands for all of the machine's isn't one to connect to.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

fn ask(addr: SocketAddr, within: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream
        .write_all(format!("GET /ready HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut report = String::new();
    stream.take(MAX_REPORT_BYTES).read_to_string(&mut report)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8080".parse().unwrap()), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(reachable("[::]:8080".parse().unwrap()), "[::1]:8080".parse().unwrap());
        assert_eq!(reachable("127.0.0.2:1".parse().unwrap()), "127.0.0.2:1".parse().unwrap());
    }
}
