//! What can be wrong with an identity.

use std::{io, path::PathBuf};

use crate::error::{Error, ErrorKind};

/// Why an identity can't be had, made or changed. Says what to do; never shows what a file holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No file can be named after it.
    #[error(
        "{name:?} can't name an identity: use up to 100 bytes with at least one letter or digit, and no control characters"
    )]
    NameInvalid {
        /// The name.
        name: String,
    },
    /// Another name has the same file.
    #[error(
        "{name:?} and the existing identity {by:?} would share one file; choose a name that differs in more than case and punctuation"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose file it is.
        by: String,
    },
    /// There is none of that name.
    #[error("there is no identity {name:?} in {}", dir.display())]
    NotFound {
        /// The name.
        name: String,
        /// Where was looked.
        dir: PathBuf,
    },
    /// There is one of that name already.
    #[error("the identity {name:?} exists; load it, or delete it first")]
    Exists {
        /// The name.
        name: String,
    },
    /// The file is encrypted.
    #[error("the identity {name:?} is under a password; give it")]
    PasswordRequired {
        /// The name.
        name: String,
    },
    /// The password doesn't open the file. A file changed by hand looks the same.
    #[error("the password of the identity {name:?} is wrong, or its file was changed")]
    PasswordWrong {
        /// The name.
        name: String,
    },
    /// An empty password protects nothing.
    #[error("an empty password protects nothing; give a longer one, or none")]
    PasswordEmpty,
    /// The file isn't what this library writes.
    #[error("{} is damaged: {what}; restore it from a backup, or delete it and make a new identity", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A newer version of this library wrote the file.
    #[error("{} has version {version} of the format, which this program doesn't know; use a newer one", path.display())]
    VersionUnsupported {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// Others may read the key, or could have put another in its place.
    #[error(
        "{} may be {} (mode {mode:03o}): whoever did may speak for you. Run `chmod {} {}`, and rotate the key if others use this machine",
        path.display(), if *is_dir { "changed by others" } else { "read by others" }, if *is_dir { "700" } else { "600" },
        path.display()
    )]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is the directory.
        is_dir: bool,
    },
    /// The user has no data directory.
    #[error("there is no home directory to keep identities in; name one with AGENTNET_IDENTITY_DIR")]
    NoDirectory,
    /// Another process changes identities and doesn't finish.
    #[error("another program holds {}; try again when it has finished", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// Too many rotations that the network doesn't know of.
    #[error("the identity {name:?} keeps {max} replaced keys already: finish those rotations first", max = super::MAX_RETIRED)]
    TooManyKeys {
        /// The name.
        name: String,
    },
    /// The original's key files are only read.
    #[error("{} is a key file of the original AgentNet, which is only read: import it first", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The text to import is nothing we know.
    #[error(
        "this is no identity: give an identity file, a key file of the original AgentNet, or a NATS user seed (`SU...`)"
    )]
    NotAnIdentity,
    /// The text to import doesn't say what it is called.
    #[error("this key has no name; give one")]
    NameMissing,
    /// The disk or the permissions.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl IdentityError {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NameInvalid { .. } => "identity_name_invalid",
            Self::NameTaken { .. } => "identity_name_taken",
            Self::NotFound { .. } => "identity_not_found",
            Self::Exists { .. } => "identity_exists",
            Self::PasswordRequired { .. } => "identity_password_required",
            Self::PasswordWrong { .. } => "identity_password_wrong",
            Self::PasswordEmpty => "identity_password_empty",
            Self::Damaged { .. } => "identity_damaged",
            Self::VersionUnsupported { .. } => "identity_version_unsupported",
            Self::TooOpen { .. } => "identity_too_open",
            Self::NoDirectory => "identity_no_directory",
            Self::Busy { .. } => "identity_busy",
            Self::TooManyKeys { .. } => "identity_too_many_keys",
            Self::ReadOnly { .. } => "identity_read_only",
            Self::NotAnIdentity => "identity_unreadable",
            Self::NameMissing => "identity_name_missing",
            Self::Io { .. } => "identity_io",
        }
    }

    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    pub(super) fn damaged(path: impl Into<PathBuf>, what: &'static str) -> Self {
        Self::Damaged { path: path.into(), what }
    }
}

impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Self {
        Self::new(ErrorKind::InvalidArgument, error.to_string()).source_of(error)
    }
}
