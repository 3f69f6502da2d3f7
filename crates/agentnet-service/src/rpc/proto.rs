//! The wire's error type as the dispatcher's.

use agentnet_proto::error::{ErrorCode, RpcError};
use bytes::Bytes;

use super::{ErrorReply, Fault};

impl ErrorReply for RpcError {
    fn body(&self) -> Bytes {
        // Three plain fields always encode; should that change, an empty object is still an answer.
        serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec()).into()
    }

    fn code(&self) -> &'static str {
        RpcError::code(self).map_or("other", ErrorCode::as_str)
    }
}

/// The plain mapping of faults, for methods without strings of their own. Wrap it to override some.
pub fn default_faults(_method: &str, fault: Fault) -> RpcError {
    match fault {
        Fault::MalformedJson { detail } => RpcError::with_detail(ErrorCode::InvalidJson, detail),
        Fault::NotAnObject => ErrorCode::NotAnObject.into(),
        Fault::InvalidFields { detail } => RpcError::with_detail(ErrorCode::InvalidField, detail),
        Fault::TooLarge { size, limit } => RpcError::with_detail(
            ErrorCode::PayloadTooLarge,
            format!("the request has {size} bytes, the method takes {limit}"),
        ),
        Fault::Busy { limit } => RpcError::with_detail(
            ErrorCode::Busy,
            format!("{limit} calls of this method are running already; try again"),
        ),
        Fault::Deadline { after } => RpcError::with_detail(
            ErrorCode::Timeout,
            format!("not finished within {} s; try again", after.as_secs_f64()),
        ),
        Fault::ShuttingDown => RpcError::with_detail(
            ErrorCode::ShuttingDown,
            "this replica of the service is shutting down; try again",
        ),
        Fault::ReplyTooLarge { size, limit } => RpcError::with_detail(
            ErrorCode::ResponseTooLarge,
            format!("the answer has {size} bytes, NATS carries {limit}; ask for less"),
        ),
        Fault::Panicked | Fault::Unencodable { .. } => ErrorCode::Internal.into(),
    }
}
