//! A registry or persister replica.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use crate::faults::{
    child::{Child, Plan},
    ready,
};

/// A replica with its health endpoint.
#[derive(Debug)]
pub struct Service {
    /// Its process.
    pub child: Child,
    address: SocketAddr,
}

impl Service {
    pub(super) fn new(plan: Plan) -> Self {
        Self { child: Child::new(plan), address: super::loopback(0) }
    }

    /// Starts it; what runs already is killed. Doesn't wait.
    ///
    /// # Errors
    /// When the system can't start it.
    pub async fn start(&mut self) -> Result<()> {
        // Another port every time: somebody may have taken the old one meanwhile.
        self.address = super::loopback(ready::free_port().await?);
        self.child.set_env("AGENTNET_HTTP_ADDR", self.address.to_string());
        self.child.start().await
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// Its last report.
    pub async fn wait_ready(&self, within: Duration) -> Result<()> {
        ready::wait(self.child.name(), self.address, within).await
    }

    /// Its metrics, as Prometheus reads them.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(ready::get(self.address, "/metrics").await?.1)
    }
}
