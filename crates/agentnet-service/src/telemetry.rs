//! Logs and the metrics recorder of a process.
//!
//! Both are process-wide; several services sharing one process (`agentnet up`) may each ask for them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::config::{LogConfig, LogFormat};

/// Seconds. From the 50 us of a call answered from memory to the deadline of the slowest one.
const BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Histograms collect samples until they are folded, so they must be folded though nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Logs to the file, else to stderr. The first call in a process wins; returns whether this was it.
pub fn init(config: &LogConfig) -> bool {
    let filter = EnvFilter::new(&config.filter);
    // It could be opened when the configuration was read.
    let file = config.file.as_deref().and_then(|path| crate::config::open_log(path).ok());
    let is_file = file.is_some();
    let writer = match file {
        Some(file) => BoxMakeWriter::new(Mutex::new(file)),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(!is_file).with_writer(writer);
    match config.format {
        LogFormat::Text => builder.try_init().is_ok(),
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_ok(),
    }
}

/// Another library installed a metrics recorder first, or the buckets were refused.
#[derive(Debug, thiserror::Error)]
#[error("metrics recorder could not be installed")]
pub struct RecorderError(#[from] metrics_exporter_prometheus::BuildError);

static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// The Prometheus recorder of this process, installed at the first call. Call before components are built:
/// counters bind to the recorder when they are made. Needs a tokio runtime, which folds histograms.
pub fn metrics_recorder() -> Result<PrometheusHandle, RecorderError> {
    let mut slot = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = slot.as_ref() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    tokio::spawn({
        let handle = handle.clone();
        async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                handle.run_upkeep();
            }
        }
    });
    *slot = Some(handle.clone());
    Ok(handle)
}
