//! Addresses, and which face looks out of each.

use std::{fmt, net::SocketAddr, str::FromStr};

/// What a listener is for. Every listener serves every route; what `GET /`, `GET /health` and an upgrade at `/` mean is the
/// face's, because the seed's systems each have their own there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Face {
    /// The gateway as a whole; an upgrade at `/` is the chat server.
    #[default]
    All,
    /// The Agent-connect API.
    Connect,
    /// The chat server, for its clients' usual port 8765.
    Chat,
    /// The P2P module, for its clients' usual ports 6666 and 8766: `POST /api`, `POST /estimate` and an upgrade at `/` too.
    P2p,
}

impl Face {
    /// Its word before `=` in `GATEWAY_LISTEN`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Connect => "connect",
            Self::Chat => "chat",
            Self::P2p => "p2p",
        }
    }

    /// What it calls itself at `GET /` and `GET /health`.
    pub fn service(self) -> &'static str {
        match self {
            Self::All => "agentnet-gateway",
            Self::Connect => "agentnet-connect",
            Self::Chat => "agentnet-chat",
            Self::P2p => "agentnet-p2p",
        }
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where; port 0 takes a free one.
    pub addr: SocketAddr,
    /// What for.
    pub face: Face,
}

impl Listen {
    /// The gateway as a whole at an address.
    pub fn all(addr: SocketAddr) -> Self {
        Self { addr, face: Face::All }
    }
}

impl FromStr for Listen {
    type Err = ();

    /// `127.0.0.1:8000`, or `chat=127.0.0.1:8765`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (face, addr) = match text.split_once('=') {
            None => (Face::All, text),
            Some((word, addr)) => {
                let faces = [Face::All, Face::Connect, Face::Chat, Face::P2p];
                (faces.into_iter().find(|face| face.as_str() == word.trim()).ok_or(())?, addr)
            }
        };
        Ok(Self { addr: addr.trim().parse().map_err(|_| ())?, face })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.face {
            Face::All => write!(f, "{}", self.addr),
            face => write!(f, "{}={}", face.as_str(), self.addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_stand_before_addresses() {
        for (text, face) in
            [("127.0.0.1:8000", Face::All), ("chat=127.0.0.1:8765", Face::Chat), ("p2p=[::]:6666", Face::P2p)]
        {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.face, listen.to_string().as_str()), (face, text));
        }
        for bad in ["", "chat", "chat=", "shout=127.0.0.1:1", "localhost:1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }
}
