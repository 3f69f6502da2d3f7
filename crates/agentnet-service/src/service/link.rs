//! What a service reaches NATS through.

use std::future::Future;
use std::time::Duration;

use crate::config::NatsConfig;
use crate::health::HealthChecks;
use crate::nats::{self, Nats, NatsError};

/// What a service reaches NATS through: the chassis' own connection ([`Nats`]) or its own ([`ByItself`]).
pub trait Link: Clone + Send + Sync + 'static {
    /// Connects, or keeps what a connection takes.
    ///
    /// # Errors
    /// NATS can't be reached.
    fn open(config: &NatsConfig, name: &'static str) -> impl Future<Output = Result<Self, NatsError>> + Send;

    /// Registers the readiness check `nats`, if the chassis is the one to check.
    fn register_check(&self, checks: &HealthChecks, within: Duration);

    /// Servers without credentials.
    fn target(&self) -> String;

    /// Ends what was opened.
    ///
    /// # Errors
    /// The connection couldn't be flushed in time.
    fn close(&self, within: Duration) -> impl Future<Output = Result<(), NatsError>> + Send;
}

impl Link for Nats {
    async fn open(config: &NatsConfig, name: &'static str) -> Result<Self, NatsError> {
        nats::connect(config, name).await
    }

    fn register_check(&self, checks: &HealthChecks, within: Duration) {
        checks.register_nats("nats", self, within);
    }

    fn target(&self) -> String {
        Nats::target(self).to_owned()
    }

    async fn close(&self, within: Duration) -> Result<(), NatsError> {
        Nats::close(self, within).await
    }
}

/// For a service that connects by itself, as an agent does, and checks and closes what it made: where NATS is.
#[derive(Clone, Debug)]
pub struct ByItself(pub NatsConfig);

impl Link for ByItself {
    async fn open(config: &NatsConfig, _name: &'static str) -> Result<Self, NatsError> {
        Ok(Self(config.clone()))
    }

    fn register_check(&self, _checks: &HealthChecks, _within: Duration) {}

    fn target(&self) -> String {
        self.0.redacted()
    }

    async fn close(&self, _within: Duration) -> Result<(), NatsError> {
        Ok(())
    }
}
