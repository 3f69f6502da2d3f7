//! What the environment says about blobs.

use std::time::Duration;

use agentnet_service::config::{ConfigError, Env};
use agentnet_store::blobs::Limits;

const DAY: u64 = 24 * 60 * 60;
const MIB: u64 = 1 << 20;

/// Limits of blobs and of the bucket that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobConfig {
    /// `AGENTNET_BLOB_MAX_BYTES`: largest blob. 100 MiB.
    pub max_bytes: u64,
    /// `AGENTNET_BLOB_QUOTA_BYTES`: what an account's blobs and uploads may take, what was removed and is there still
    /// included. 1 GiB.
    pub quota_bytes: u64,
    /// `AGENTNET_BLOB_QUOTA_FILES`: how many blobs and uploads an account may have. 10,000.
    pub quota_files: u64,
    /// `AGENTNET_BLOB_RETENTION_DAYS`: blobs are kept so long, unless their owner says less. 30 days.
    pub retention: Duration,
    /// `AGENTNET_BLOB_UPLOAD_TTL_SECONDS`: an upload that nothing came for is given up. One hour.
    pub upload_ttl: Duration,
    /// `AGENTNET_BLOB_STORE_MAX_BYTES`: what the bucket may take on the disk of the NATS server, less where JetStream has no
    /// room for that. 8 GiB. The stream of messages shares that disk: 0, as much as there is, lets files stop messages.
    pub store_max_bytes: i64,
    /// `AGENTNET_BLOB_REPLICAS`: servers of a cluster that hold each blob. 1.
    pub replicas: usize,
}

impl Default for BlobConfig {
    fn default() -> Self {
        Self {
            max_bytes: 100 * MIB,
            quota_bytes: 1024 * MIB,
            quota_files: 10_000,
            retention: Duration::from_secs(30 * DAY),
            upload_ttl: Duration::from_secs(60 * 60),
            store_max_bytes: 8192 * MIB as i64,
            replicas: 1,
        }
    }
}

impl BlobConfig {
    /// Uploads that one account may have open at once.
    const UPLOADS: u64 = 64;

    /// Reads the section.
    ///
    /// # Errors
    /// The first variable that can't be used.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let default = Self::default();
        let size = 1..=1 << 40;
        let days =
            env.integer("AGENTNET_BLOB_RETENTION_DAYS", default.retention.as_secs() / DAY, 1..=36_500)?;
        let store_max = env.integer(
            "AGENTNET_BLOB_STORE_MAX_BYTES",
            default.store_max_bytes.unsigned_abs(),
            0..=1 << 50,
        )?;
        Ok(Self {
            max_bytes: env.integer("AGENTNET_BLOB_MAX_BYTES", default.max_bytes, 1..=4 << 30)?,
            quota_bytes: env.integer("AGENTNET_BLOB_QUOTA_BYTES", default.quota_bytes, size)?,
            quota_files: env.integer("AGENTNET_BLOB_QUOTA_FILES", default.quota_files, 1..=1_000_000)?,
            retention: Duration::from_secs(days * DAY),
            upload_ttl: env.seconds(
                "AGENTNET_BLOB_UPLOAD_TTL_SECONDS",
                default.upload_ttl,
                Duration::from_secs(1)..=Duration::from_secs(30 * DAY),
            )?,
            store_max_bytes: i64::try_from(store_max).unwrap_or(0),
            replicas: env.integer("AGENTNET_BLOB_REPLICAS", 1, 1..=5)? as usize,
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { bytes: self.quota_bytes, files: self.quota_files, uploads: Self::UPLOADS }
    }
}
