//! What can be wrong with a journal file.

use std::{
    io,
    path::{Path, PathBuf},
};

use agentnet_proto::ErrorCode;

use crate::error::Error;

/// A file of the node can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// Another process has it.
    #[error("{} is in use by another process; give each agent a file of its own", .path.display())]
    InUse { path: PathBuf },
    /// It holds something else.
    #[error("{} is not such a file of an agent; name another one", .path.display())]
    Foreign { path: PathBuf },
    /// It holds the mail of another account.
    #[error("{} belongs to {owner}, and this agent is {me}; give each agent a file of its own", .path.display())]
    NotOurs { path: PathBuf, owner: String, me: String },
    /// It isn't what was written.
    #[error(
        "{} is damaged at byte {offset}: it isn't what was written there. Check the disk; put the file aside to start \
         without what it held",
        .path.display()
    )]
    Damaged { path: PathBuf, offset: usize },
    /// The file system failed.
    #[error("can't {what} {}: {source}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The thread that writes is gone.
    #[error("{} is closed", .path.display())]
    Closed { path: PathBuf },
}

impl JournalError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::InUse { .. } => ErrorCode::FileInUse,
            Self::Foreign { .. } | Self::Damaged { .. } => ErrorCode::FileDamaged,
            Self::NotOurs { .. } => ErrorCode::FileOfAnother,
            Self::Io { .. } => ErrorCode::FileUnavailable,
            Self::Closed { .. } => ErrorCode::Closed,
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Self::of(error.code(), error.to_string()).source_of(error)
    }
}
