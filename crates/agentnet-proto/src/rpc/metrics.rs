//! The registry's own figures.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;

/// Body of `registry.metrics`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MetricsRequest {}

/// Percentiles over the last window, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// Samples in the window.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// Calls and failures of a handler since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HandlerCounts {
    /// Calls.
    pub calls: u64,
    /// Calls answered with an error.
    pub errors: u64,
}

/// The original's write queue; here the stream plays its part, and the figures describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WriteQueue {
    /// Always true.
    pub enabled: bool,
    /// Messages in the stream that aren't in Postgres yet.
    pub size: u64,
    /// Their bytes; new here.
    #[serde(default)]
    pub bytes: u64,
    /// Most messages the stream holds; 0 when only their bytes are limited, as the persister makes it.
    pub max: u64,
    /// Most bytes the stream holds; 0 without a stream. New here.
    #[serde(default)]
    pub max_bytes: u64,
    /// Most messages of one transaction; 0 when no persister has said so.
    pub batch_size: u64,
    /// Longest wait for a batch to fill, in milliseconds: always 0, what is there is committed at once.
    pub flush_ms: u64,
    /// Messages that went past the queue: always 0, a full stream makes senders wait and send again.
    pub overflow_count: u64,
}

/// Answer to metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsResponse {
    /// When it was made, ISO 8601.
    pub generated_at: String,
    /// The replica that answered.
    pub server_id: String,
    /// Samples kept per latency.
    pub window_size: u64,
    /// Always true: there is no memory mode.
    pub store_enabled: bool,
    /// What waits to be written.
    pub db_write_queue: WriteQueue,
    /// By name, `handler.<method>` among them.
    pub latency_ms: BTreeMap<String, LatencySummary>,
    /// By method.
    pub handlers: BTreeMap<String, HandlerCounts>,
}

rpc!(
    /// `registry.metrics`.
    Metrics, Metrics, MetricsRequest, MetricsResponse
);
