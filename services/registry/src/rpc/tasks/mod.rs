//! `registry.task_*`, `.set_status` and `.status_list`.

mod look;
mod queues;
mod status;
mod submit;
mod work;

pub(super) use self::look::{cancel, get, list};
pub(super) use self::queues::{clear, queues, stats, strategy};
pub(super) use self::status::{set_status, status_list};
pub(super) use self::submit::submit;
pub(super) use self::work::{accept, complete, fail, heartbeat, progress};

use agentnet_proto::{ErrorCode, RpcError};

use crate::validate;

/// Longest task id, in bytes.
const MAX_ID: usize = 128;

/// A task's id: one word that can stand in a URL.
fn task_id(text: &str) -> Result<(), RpcError> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    if !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(fine) {
        return Ok(());
    }
    let detail = format!("task_id is required: 1 to {MAX_ID} letters, digits, `_`, `-`, `.` and `:`");
    Err(RpcError::with_detail(ErrorCode::InvalidField, detail))
}

/// A short text of one line.
fn word(field: &str, text: Option<&str>) -> Result<(), RpcError> {
    text.map_or(Ok(()), |text| validate::name(field, text, validate::MAX_NAME))
}

/// A text for people, of several lines.
fn prose(field: &str, text: Option<&str>) -> Result<(), RpcError> {
    text.map_or(Ok(()), |text| validate::prose(field, text))
}
