//! Systems of their own that an agent runs beside its inbox, and where they listen: `metadata.sub_systems`, in the shape of the
//! seed's subject specifications.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, RpcError};

/// The field of an agent's metadata.
pub const FIELD: &str = "sub_systems";
/// Type of an agent's own P2P ports.
pub const P2P: &str = "p2p-system";
/// Type of a chat server.
pub const CHAT: &str = "chat-server";
/// Most systems of one agent.
pub const MAX: usize = 16;
/// Longest id or type, in bytes.
const MAX_NAME: usize = 128;
/// Longest host or URL, in bytes.
const MAX_ADDRESS: usize = 2048;

/// A system of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubSystem {
    /// Its id, one per agent.
    pub sub_system_id: String,
    /// What it is: `p2p-system`, `chat-server`, or any other word.
    pub sub_system_type: String,
    /// Where it listens. `p2p-system`: `api_port`, `ws_port`, `ws_host` (where it is bound), and `host` (under which others
    /// reach it); `chat-server`: `websocket_url`; others anything.
    #[serde(default)]
    pub sub_system_config: Map<String, Value>,
}

impl SubSystem {
    /// The systems that an agent's metadata names; none where it says nothing of them.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidField`], with the field at fault.
    pub fn all_of(metadata: &Map<String, Value>) -> Result<Vec<Self>, RpcError> {
        let Some(value) = metadata.get(FIELD) else { return Ok(Vec::new()) };
        let Some(list) = value.as_array() else { return Err(invalid("", "is no list")) };
        if list.len() > MAX {
            return Err(invalid("", "has more than 16 entries"));
        }
        let mut systems: Vec<Self> = Vec::with_capacity(list.len());
        for (n, value) in list.iter().enumerate() {
            let system =
                Self::deserialize(value).map_err(|error| invalid(&format!("[{n}]"), &error.to_string()))?;
            system.check(n)?;
            if systems.iter().any(|other| other.sub_system_id == system.sub_system_id) {
                return Err(invalid(&format!("[{n}].sub_system_id"), "is there twice"));
            }
            systems.push(system);
        }
        Ok(systems)
    }

    fn check(&self, n: usize) -> Result<(), RpcError> {
        let at = |field: &str| format!("[{n}].{field}");
        for (field, text) in
            [("sub_system_id", &self.sub_system_id), ("sub_system_type", &self.sub_system_type)]
        {
            if text.is_empty()
                || text.len() > MAX_NAME
                || text.chars().any(|c| c.is_control() || c.is_whitespace())
            {
                return Err(invalid(&at(field), "has 1 to 128 bytes, without spaces"));
            }
        }
        let config = |field: &str| at(&format!("sub_system_config.{field}"));
        match self.sub_system_type.as_str() {
            P2P => {
                for field in ["api_port", "ws_port"] {
                    if self.port(field).is_none() {
                        return Err(invalid(&config(field), "is no port from 1 to 65535"));
                    }
                }
                for field in ["ws_host", "host"] {
                    let value = self.sub_system_config.get(field);
                    if value.is_some_and(|value| !value.as_str().is_some_and(is_host)) {
                        return Err(invalid(&config(field), "is no host name or address"));
                    }
                }
            }
            CHAT if self.text("websocket_url").is_none_or(|url| !is_socket_url(url)) => {
                return Err(invalid(&config("websocket_url"), "is no ws or wss URL without a password"));
            }
            _ => {}
        }
        Ok(())
    }

    /// URLs under which others reach it, as far as it says: HTTP before WebSocket.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        match self.sub_system_type.as_str() {
            P2P => {
                // Where it is bound is an address for others only if it is one at all.
                let bound =
                    || self.text("ws_host").filter(|host| !matches!(*host, "0.0.0.0" | "::" | "[::]"));
                let Some(host) = self.text("host").or_else(bound) else { return Vec::new() };
                let host = if host.contains(':') && !host.starts_with('[') {
                    format!("[{host}]")
                } else {
                    host.to_owned()
                };
                let url =
                    |scheme: &str, field: &str| Some(format!("{scheme}://{host}:{}", self.port(field)?));
                [url("http", "api_port"), url("ws", "ws_port")].into_iter().flatten().collect()
            }
            CHAT => self.text("websocket_url").map(str::to_owned).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.sub_system_config.get(field).and_then(Value::as_str)
    }

    fn port(&self, field: &str) -> Option<u16> {
        let port = self.sub_system_config.get(field)?.as_u64()?;
        u16::try_from(port).ok().filter(|port| *port > 0)
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ADDRESS
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

fn is_socket_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://")) else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    text.len() <= MAX_ADDRESS && !text.chars().any(|c| c.is_control() || c.is_whitespace()) && is_host(host)
}

fn invalid(field: &str, what: &str) -> RpcError {
    RpcError::with_detail(ErrorCode::InvalidField, format!("metadata.{FIELD}{field} {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(systems: Value) -> Result<Vec<SubSystem>, RpcError> {
        SubSystem::all_of(&Map::from_iter([(FIELD.to_owned(), systems)]))
    }

    /// The seed's own examples.
    fn seed() -> Value {
        json!([
            {"sub_system_id": "p2p-system-01", "sub_system_type": "p2p-system",
             "sub_system_config": {"api_port": 6666, "ws_host": "0.0.0.0", "ws_port": 8766}},
            {"sub_system_id": "chat-server-01", "sub_system_type": "chat-server",
             "sub_system_config": {"websocket_url": "ws://chat-server.default.svc.cluster.local:8765"}},
        ])
    }

    #[test]
    fn the_seeds_specifications_are_read() {
        let systems = of(seed()).unwrap();
        assert_eq!(systems.len(), 2);
        // Bound everywhere, it doesn't say where it is.
        assert!(systems[0].addresses().is_empty());
        assert_eq!(systems[1].addresses(), ["ws://chat-server.default.svc.cluster.local:8765"]);
        let mut told = seed();
        told[0]["sub_system_config"]["host"] = json!("agent_123.local");
        assert_eq!(
            of(told).unwrap()[0].addresses(),
            ["http://agent_123.local:6666", "ws://agent_123.local:8766"]
        );
        assert!(SubSystem::all_of(&Map::new()).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |n: usize, pointer: &str, value: Value| {
            let mut systems = seed();
            *systems[n].pointer_mut(pointer).unwrap() = value;
            of(systems).unwrap_err().detail
        };
        for (n, pointer, value) in [
            (0, "/sub_system_id", json!("")),
            (0, "/sub_system_id", json!("chat-server-01")),
            (0, "/sub_system_type", json!(3)),
            (0, "/sub_system_config", json!([])),
            (0, "/sub_system_config/api_port", json!(0)),
            (0, "/sub_system_config/ws_port", json!("8766")),
            (0, "/sub_system_config/ws_host", json!("a b")),
            (1, "/sub_system_config/websocket_url", json!("http://x")),
            (1, "/sub_system_config/websocket_url", json!("ws://user:secret@x")),
        ] {
            let said = with(n, pointer, value.clone());
            assert!(said.starts_with("metadata.sub_systems["), "{pointer} {value}: {said}");
        }
        assert!(of(json!({})).is_err());
        assert!(of(json!(vec![seed()[0].clone(); 17])).is_err());
    }
}
