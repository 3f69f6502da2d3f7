//! Wire types of AgentNet: everything that two processes of the network must agree on.
//!
//! The envelope, receipts, the registry's RPCs, subjects, schema versions, canonical JSON, signatures, error codes.
//! No I/O and no runtime: any program can link this crate. `docs/PROTOCOL.md` tells the same in prose, and
//! `docs/schema/` holds JSON Schemas generated from these types.

pub mod access_token;
pub mod blob;
pub mod block;
pub mod chat;
pub mod clock;
pub mod cursor;
pub mod dev_auth;
pub mod envelope;
pub mod error;
pub mod event;
pub mod ids;
mod lenient;
pub mod log_level;
pub mod nats_url;
pub mod pyjson;
mod pystr;
pub mod receipt;
pub mod rpc;
pub mod schema_version;
pub mod secret_text;
pub mod security;
pub mod signature;
pub mod skim;
pub mod stream;
pub mod sub_system;
pub mod subject;
pub mod task;
pub mod timestamp;
pub mod username;

pub use blob::BlobRef;
pub use block::{Block, BlockStatus, BlockType, FileContent, ToolCall};
pub use clock::{Clock, ManualClock, OffsetClock, SharedClock, SystemClock};
pub use envelope::{Addressee, Envelope, Payload, Priority};
pub use error::{ErrorCode, RpcError};
pub use event::{AccountChange, AccountEvent};
pub use ids::{IdGen, SeededIds, SystemIds};
pub use receipt::{FailedMessage, HandledMessage, Receipt, ReceiptStatus, StoredNotice, StoredReceipt};
pub use secret_text::SecretText;
pub use security::Security;
pub use stream::StreamFrame;
pub use sub_system::SubSystem;
pub use subject::{AccountId, Capability, EventType, Subject, Token};
pub use timestamp::Timestamp;
