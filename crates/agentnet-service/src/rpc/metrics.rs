//! Metric definitions of the dispatcher.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `agentnet_rpc_calls_total` | method | calls answered, errors included |
//! | `agentnet_rpc_errors_total` | method, code | calls answered with an error |
//! | `agentnet_rpc_seconds` | method | from taking a request to handing over its answer |
//! | `agentnet_rpc_dropped_total` | method, reason | `no_reply_subject`, `reply_subject_forbidden`, `reply_not_sent` |

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::stats::{Stats, Timer};

/// Bound to the recorder once, because looking a metric up costs more than a call.
pub(super) struct MethodMetrics {
    name: Arc<str>,
    calls: Counter,
    seconds: Histogram,
    timer: Arc<Timer>,
}

/// Why a request went unanswered.
#[derive(Clone, Copy)]
pub(super) enum Dropped {
    NoReplySubject,
    ReplySubjectForbidden,
    ReplyNotSent,
}

impl MethodMetrics {
    pub(super) fn new(name: &Arc<str>, stats: &Stats) -> Self {
        Self {
            name: name.clone(),
            calls: metrics::counter!("agentnet_rpc_calls_total", "method" => name.to_string()),
            seconds: metrics::histogram!("agentnet_rpc_seconds", "method" => name.to_string()),
            timer: stats.timer(&format!("handler.{name}")),
        }
    }

    pub(super) fn finished(&self, elapsed: Duration) {
        self.calls.increment(1);
        self.seconds.record(elapsed.as_secs_f64());
        self.timer.record(elapsed);
    }

    pub(super) fn failed(&self, code: &'static str) {
        self.timer.record_error();
        metrics::counter!("agentnet_rpc_errors_total", "method" => self.name.to_string(), "code" => code)
            .increment(1);
    }

    pub(super) fn dropped(&self, reason: Dropped) {
        let reason = match reason {
            Dropped::NoReplySubject => "no_reply_subject",
            Dropped::ReplySubjectForbidden => "reply_subject_forbidden",
            Dropped::ReplyNotSent => "reply_not_sent",
        };
        metrics::counter!("agentnet_rpc_dropped_total", "method" => self.name.to_string(), "reason" => reason)
            .increment(1);
    }
}
