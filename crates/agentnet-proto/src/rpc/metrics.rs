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
    /// Most messages the stream holds; 0 means no limit by count.
    pub max: u64,
    /// Most messages of one transaction.
    pub batch_size: u64,
    /// Longest wait for a batch to fill, in milliseconds.
    pub flush_ms: u64,
    /// Publishes the stream refused because it was full.
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
