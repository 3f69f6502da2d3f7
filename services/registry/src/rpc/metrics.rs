//! `registry.metrics`: this replica's own figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::RpcError;
use agentnet_proto::rpc::{HandlerCounts, LatencySummary, MetricsRequest, MetricsResponse, WriteQueue};
use agentnet_proto::subject::{PERSISTER_BATCH_METADATA, PERSISTER_CONSUMER, STREAM};
use agentnet_service::stats::TimerSnapshot;
use async_nats::jetstream;

use crate::app::App;
use crate::caller::Call;

/// A registry without a persister has no stream; the answer mustn't wait for one.
const STREAM_DEADLINE: Duration = Duration::from_millis(500);

pub(super) async fn metrics(app: Arc<App>, _: Call, _: MetricsRequest) -> Result<MetricsResponse, RpcError> {
    let queue = match tokio::time::timeout(STREAM_DEADLINE, stream_state(&app)).await {
        Ok(Some(queue)) => queue,
        _ => WriteQueue { enabled: true, ..WriteQueue::default() },
    };
    let timers = app.stats.snapshot();
    // The original's `account_message` isn't there: the persister takes messages, the registry handles none.
    let handlers: BTreeMap<String, HandlerCounts> = timers
        .iter()
        .filter_map(|(name, seen)| Some((name.strip_prefix("handler.")?, seen)))
        .map(|(name, seen)| (name.to_owned(), HandlerCounts { calls: seen.calls, errors: seen.errors }))
        .collect();
    Ok(MetricsResponse {
        generated_at: app.now().to_string(),
        server_id: app.config.server_id.clone(),
        window_size: app.stats.window_size() as u64,
        store_enabled: true,
        db_write_queue: queue,
        latency_ms: timers.iter().map(|(name, seen)| (name.clone(), latency(seen))).collect(),
        handlers,
    })
}

fn latency(seen: &TimerSnapshot) -> LatencySummary {
    LatencySummary { count: seen.count as u64, p50: seen.p50_ms, p95: seen.p95_ms, p99: seen.p99_ms }
}

/// What waits in the stream.
async fn stream_state(app: &App) -> Option<WriteQueue> {
    let stream = jetstream::new(app.client.clone()).get_stream(STREAM).await.ok()?;
    let info = stream.cached_info();
    let batch = stream
        .consumer_info(PERSISTER_CONSUMER)
        .await
        .ok()
        .and_then(|consumer| consumer.config.metadata.get(PERSISTER_BATCH_METADATA)?.parse().ok())
        .unwrap_or(0);
    Some(WriteQueue {
        enabled: true,
        size: info.state.messages,
        bytes: info.state.bytes,
        max: u64::try_from(info.config.max_messages).unwrap_or(0),
        max_bytes: u64::try_from(info.config.max_bytes).unwrap_or(0),
        batch_size: batch,
        ..WriteQueue::default()
    })
}
