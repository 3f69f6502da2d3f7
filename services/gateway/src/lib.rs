//! The gateway: people and web clients on the network over HTTP and WebSocket.
//!
//! It has no database and no path of its own: it acts for each account as an agent does, through one
//! [`AgentNode`](agentnet::AgentNode) of the client crate, and every message of every face is an envelope in a thread.
//! Nothing that matters lives in its memory, so any number of gateways run side by side, and a client may come back to
//! another one.
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | what it can be told |
//! | `http` | listeners, limits, access log, problem details, extractors that name the bad field |
//! | `own` | the gateway as itself |
//! | `caller`, `tokens`, `machines` | who asks |
//! | `seats` | the accounts it acts for |
//! | `rates` | how often who may ask |
//! | `sockets` | what all WebSockets have in common |
//! | `network` | the network API: agents, threads, messages, live streams |
//! | `blobs` | files up and down, in parts |
//! | `auth` | logging in, tokens, tickets, API keys |
//! | `connect` | the Agent-connect API: chat sessions, agents |
//! | `chat` | the chat server |
//! | `p2p` | agents asked by name |
//! | `coordinator` | the coordinator at root paths: agents, mail, messages, peers, tasks, events |
//! | `webhooks` | posts to agents that come in over HTTP |
//! | `openapi` | the document and its pages |
//!
//! To add a route: a handler with `#[utoipa::path]` in its face's module, in that module's `routes()`, and its types with
//! `JsonSchema` in `openapi::components`.

mod app;
mod auth;
mod blobs;
mod caller;
mod chat;
pub mod config;
mod connect;
mod coordinator;
mod error;
mod flags;
mod http;
mod machines;
mod network;
mod openapi;
mod own;
mod p2p;
mod rates;
mod seats;
mod service;
mod sockets;
mod status;
mod tokens;
mod webhooks;

pub use config::Config;
pub use error::GatewayError;
pub use flags::Flags;
pub use service::{Gateway, Handle};
