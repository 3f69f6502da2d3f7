//! Free ports on loopback.

use std::{io::ErrorKind, net::TcpListener};

use crate::{Error, Result, Server};

/// Below every system's range for outgoing connections, so that no client socket sits on the port of a server
/// that is being restarted.
const RANGE: std::ops::Range<u16> = 10_240..32_768;

/// How often a start on a free port is tried anew when somebody else was quicker.
pub(crate) const ATTEMPTS: u32 = 8;

/// True if nobody listens on this port of loopback, as far as one can know.
pub(crate) fn is_free(port: u16) -> bool {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrInUse,
    }
}

/// The port asked for, if it is free, or a free one.
pub(crate) fn choose(server: Server, fixed: Option<u16>) -> Result<u16> {
    match fixed {
        Some(port) if is_free(port) => Ok(port),
        Some(port) => Err(Error::PortTaken { server, port }),
        None => Ok(free_but(&[])),
    }
}

/// As [`choose`], for one more port of a server that is to listen on `other` too, which nobody listens on yet.
pub(crate) fn choose_beside(server: Server, fixed: Option<u16>, other: u16) -> Result<u16> {
    if fixed.is_some() { choose(server, fixed) } else { Ok(free_but(&[other])) }
}

fn free_but(taken: &[u16]) -> u16 {
    loop {
        let port = rand::random_range(RANGE);
        if !taken.contains(&port) && is_free(port) {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_port_is_another_one() {
        // All but a few are spoken for, so that a port that isn't looked at would come up.
        let taken: Vec<u16> = RANGE.filter(|port| port % 1_000 != 0).collect();
        for _ in 0..20 {
            assert!(!taken.contains(&free_but(&taken)));
        }
        let first = choose(Server::Nats, None).unwrap();
        assert_ne!(choose_beside(Server::Nats, None, first).unwrap(), first);
    }
}
