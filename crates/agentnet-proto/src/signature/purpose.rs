//! What a signature is for, and the bytes it covers.

use std::fmt;
use std::str::FromStr;

use super::nonce::Nonce;
use crate::rpc::RpcMethod;

/// First bytes of everything signed under v2: no other protocol's message begins like this.
const MAGIC: &[u8; 12] = b"agentnet-v2\0";
/// Longest name of a network, in bytes.
const DEPLOYMENT_MAX: usize = 64;

/// The name of a network, made with it and never changed: a signature for one network means nothing in another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deployment(String);

/// The text is not the name of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a deployment id is 1 to 64 letters, digits, `_`, `-` and `.`")]
pub struct DeploymentError;

impl Deployment {
    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Deployment {
    /// The name of a network that was given none.
    fn default() -> Self {
        Self("agentnet".to_owned())
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Deployment {
    type Err = DeploymentError;

    fn from_str(text: &str) -> Result<Self, DeploymentError> {
        let is_usable = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if (1..=DEPLOYMENT_MAX).contains(&text.len()) && text.bytes().all(is_usable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DeploymentError)
        }
    }
}

/// What a signature is for. One made for one purpose verifies for no other.
///
/// Requests that change something carry a [`Nonce`], so that the registry can tell a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// An envelope, replies and errors included.
    Message,
    /// A receipt about a message.
    Receipt,
    /// A frame of a streamed text, or a word of its reader.
    Stream,
    /// The sign of life of a session.
    Hello,
    /// The end of a session.
    Goodbye,
    /// A request that opens a session and proves possession of the account's key.
    Register(&'a Nonce),
    /// A request that binds another key to the account; signed by the key that speaks for it now.
    Rotate(&'a Nonce),
    /// The same request's second signature, by the key that is to be bound: nobody can bind a key they don't hold.
    RotateNew(&'a Nonce),
    /// A request that takes a key out of use.
    Revoke(&'a Nonce),
    /// Any other request that changes something.
    Rpc {
        /// What is asked for.
        method: RpcMethod,
        /// For this request only.
        nonce: &'a Nonce,
    },
}

impl Purpose<'_> {
    /// The name under which it is signed.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Stream => "stream",
            Self::Hello => "hello",
            Self::Goodbye => "goodbye",
            Self::Register(_) => "register",
            Self::Rotate(_) => "rotate",
            Self::RotateNew(_) => "rotate-new",
            Self::Revoke(_) => "revoke",
            Self::Rpc { .. } => "rpc",
        }
    }

    /// What else is signed, in order. How many there are depends on the name alone.
    fn context(&self) -> [Option<&str>; 2] {
        match self {
            Self::Message | Self::Receipt | Self::Stream | Self::Hello | Self::Goodbye => [None, None],
            Self::Register(nonce) | Self::Rotate(nonce) | Self::RotateNew(nonce) | Self::Revoke(nonce) => {
                [Some(nonce.as_str()), None]
            }
            Self::Rpc { method, nonce } => [Some(method.as_str()), Some(nonce.as_str())],
        }
    }
}

/// The bytes that are signed: the twelve bytes `agentnet-v2` and NUL, then the purpose's name, the deployment id, what
/// the purpose adds (method, nonce) and the body, each with its length before it as four bytes, big-endian.
///
/// Every field says how long it is and the name says how many there are, so no two inputs have the same bytes. (A body
/// of 4 GiB, which nothing carries, would count as `u32::MAX` bytes.)
#[must_use]
pub fn signing_bytes(purpose: &Purpose<'_>, deployment: &Deployment, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 256);
    bytes.extend_from_slice(MAGIC);
    let fields = [Some(purpose.name()), Some(deployment.as_str())].into_iter().chain(purpose.context());
    for field in fields.flatten() {
        push(&mut bytes, field.as_bytes());
    }
    push(&mut bytes, body);
    bytes
}

fn push(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(field);
}
