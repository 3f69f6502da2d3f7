//! A nats-server per test.

use std::ops::Deref;

use tempfile::TempDir;

use crate::{NatsOptions, NatsServer, Result};

/// The token of the quick start, and of test servers.
pub const TEST_TOKEN: &str = "agentnet_secret_token";

/// A private nats-server with JetStream in a temporary directory. Dropping it stops the server and removes the
/// directory.
#[derive(Debug)]
pub struct TestNats {
    // Before the directory: fields are dropped in order.
    server: NatsServer,
    _dir: TempDir,
}

impl TestNats {
    /// Starts one with the token [`TEST_TOKEN`]. Blocks for some tens of milliseconds.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts one with options changed, for example `|o| o.token = None`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start_with(change: impl FnOnce(&mut NatsOptions)) -> Self {
        match Self::try_start_with(change) {
            Ok(nats) => nats,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`TestNats::start_with`] for tests of failure.
    ///
    /// # Errors
    /// As for [`NatsServer::start`].
    pub fn try_start_with(change: impl FnOnce(&mut NatsOptions)) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("agentnet-nats-")
            .tempdir()
            .map_err(crate::error::io("create a directory in", &std::env::temp_dir()))?;
        let mut options =
            NatsOptions { temporary: true, token: Some(TEST_TOKEN.into()), ..NatsOptions::new(dir.path()) };
        change(&mut options);
        Ok(Self { server: NatsServer::start(options)?, _dir: dir })
    }
}

impl Deref for TestNats {
    type Target = NatsServer;

    fn deref(&self) -> &NatsServer {
        &self.server
    }
}
