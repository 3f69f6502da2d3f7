//! `registry.metrics`: this replica's own figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::RpcError;
use agentnet_proto::rpc::{HandlerCounts, LatencySummary, MetricsRequest, MetricsResponse, WriteQueue};
use agentnet_proto::subject::{PERSISTER_CONSUMER, STREAM};
use agentnet_service::stats::TimerSnapshot;
use async_nats::jetstream;

use crate::app::App;
use crate::caller::Call;

/// A registry without a persister has no stream; the answer mustn't wait for one.
const STREAM_DEADLINE: Duration = Duration::from_millis(500);

pub(super) async fn metrics(app: Arc<App>, _: Call, _: MetricsRequest) -> Result<MetricsResponse, RpcError> {
    let (queue, taken) = match tokio::time::timeout(STREAM_DEADLINE, stream_state(&app)).await {
        Ok(Some(state)) => state,
        _ => (WriteQueue { enabled: true, ..WriteQueue::default() }, 0),
    };
    let timers = app.stats.snapshot();
    let mut handlers: BTreeMap<String, HandlerCounts> = timers
        .iter()
        .filter_map(|(name, seen)| Some((name.strip_prefix("handler.")?, seen)))
        .map(|(name, seen)| (name.to_owned(), HandlerCounts { calls: seen.calls, errors: seen.errors }))
        .collect();
    // The original handled messages in the registry; here the stream takes them, and counts them.
    handlers.insert("account_message".to_owned(), HandlerCounts { calls: taken, errors: 0 });
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

/// What waits in the stream, and how many messages it ever took.
async fn stream_state(app: &App) -> Option<(WriteQueue, u64)> {
    let stream = jetstream::new(app.client.clone()).get_stream(STREAM).await.ok()?;
    let info = stream.cached_info();
    let batch = stream
        .consumer_info(PERSISTER_CONSUMER)
        .await
        .ok()
        .and_then(|consumer| u64::try_from(consumer.config.max_batch).ok())
        .unwrap_or(0);
    let queue = WriteQueue {
        enabled: true,
        size: info.state.messages,
        max: u64::try_from(info.config.max_messages).unwrap_or(0),
        batch_size: batch,
        ..WriteQueue::default()
    };
    Some((queue, info.state.last_sequence))
}
