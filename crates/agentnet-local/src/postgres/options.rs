//! Options of a Postgres and the settings they become.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

use crate::{PostgresBinaries, watchdog::Signal};

/// How to run a Postgres: on 127.0.0.1 only, without unix sockets.
#[derive(Debug, Clone)]
pub struct PgOptions {
    /// Directory of this server: cluster, log and lock. Created 0700 if missing; as root it is given to the
    /// unprivileged user that Postgres runs as, who must be able to reach it.
    pub dir: PathBuf,
    /// Port; `None` takes a free one, and keeps it across restarts.
    pub port: Option<u16>,
    /// Password of the superuser `agentnet`, set when the cluster is made. A cluster that exists keeps its own:
    /// give the same one again.
    pub password: SecretString,
    /// Most connections at once.
    pub max_connections: u32,
    /// Memory for pages, in Postgres units, for example `128MB`.
    pub shared_buffers: String,
    /// More settings, which win over ours.
    pub settings: BTreeMap<String, String>,
    /// For tests only: no fsync at all, so nothing survives a power cut; a new cluster takes the password in
    /// clear, over loopback, where others use SCRAM.
    pub ephemeral: bool,
    /// The binaries; `None` searches for some, see [`crate::Search`].
    pub binaries: Option<PostgresBinaries>,
    /// Limit for the start, crash recovery included.
    pub start_timeout: Duration,
    /// Limit for an orderly stop, after which the server is killed.
    pub stop_timeout: Duration,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Rolls back what is open, disconnects, writes a checkpoint.
    Fast,
    /// Ends at once, as a crash would but in order; the next start recovers.
    Immediate,
}

impl StopMode {
    pub(super) const fn signal(self) -> Signal {
        match self {
            Self::Fast => Signal::Int,
            Self::Immediate => Signal::Quit,
        }
    }
}

impl PgOptions {
    /// The defaults, with everything kept in `dir`: a free port, durable, 200 connections.
    pub fn new(dir: impl Into<PathBuf>, password: SecretString) -> Self {
        Self {
            dir: dir.into(),
            port: None,
            password,
            max_connections: 200,
            shared_buffers: "128MB".to_owned(),
            settings: BTreeMap::new(),
            ephemeral: false,
            binaries: None,
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(30),
        }
    }

    /// Command line of `postgres`.
    pub(super) fn args(&self, data: &Path, port: u16) -> Vec<OsString> {
        let mut settings = BTreeMap::from([
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", self.max_connections.to_string()),
            ("shared_buffers", self.shared_buffers.clone()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("synchronous_commit", "on".to_owned()),
            ("fsync", if self.ephemeral { "off" } else { "on" }.to_owned()),
            // A failed statement may hold a password or a message body.
            ("log_min_error_statement", "panic".to_owned()),
        ]);
        if self.ephemeral {
            settings.insert("full_page_writes", "off".to_owned());
        } else {
            // A week of logs, overwritten day by day.
            settings.insert("logging_collector", "on".to_owned());
            settings.insert("log_directory", "../log".to_owned());
            settings.insert("log_filename", "postgres-%u.log".to_owned());
            settings.insert("log_truncate_on_rotation", "on".to_owned());
            settings.insert("log_rotation_age", "1440".to_owned());
            settings.insert("log_rotation_size", "0".to_owned());
        }
        for (name, value) in &self.settings {
            settings.insert(name, value.clone());
        }
        let mut args: Vec<OsString> = vec!["-D".into(), data.into()];
        for (name, value) in settings {
            args.push("-c".into());
            args.push(format!("{name}={value}").into());
        }
        args
    }
}
