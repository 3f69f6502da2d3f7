//! Tasks, as those see them who run the network: queues, figures, the strategy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rpc;
use crate::{lenient, task::TaskStrategy};

/// Body of `registry.task_queues`. Anybody may ask: there is nothing of a task in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskQueuesRequest {}

/// The tasks of one priority that wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskQueue {
    /// `urgent`, `critical`, `high`, `normal` or `low`.
    pub priority: String,
    /// How many wait; no more than 100,000 are counted.
    pub queued: i64,
    /// How many of those found nobody who could do them.
    pub waiting_for_agent: i64,
    /// How many wait for a time before they are tried again.
    pub waiting_for_retry: i64,
    /// For how long the oldest has waited, in seconds; absent when none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<f64>,
    /// How many are on their way to a worker.
    pub assigned: i64,
    /// How many are being done.
    pub running: i64,
}

/// Answer to task_queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskQueuesResponse {
    /// One for each priority, the most urgent first.
    pub queues: Vec<TaskQueue>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_queue_clear`: cancels what waits. Operators only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskQueueClearRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The queue; required.
    #[serde(default, deserialize_with = "lenient::trimmed")]
    pub priority: String,
}

/// Answer to task_queue_clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskQueueClearResponse {
    /// The queue.
    pub priority: String,
    /// How many tasks were cancelled; at most 10,000 at once, ask again when `more`.
    pub cleared: i64,
    /// Whether some may be left.
    pub more: bool,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_stats`. Anybody may ask.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskStatsRequest {}

/// How workers were chosen, and what came of it. Counted since the network was set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerStats {
    /// The strategy now.
    pub strategy: TaskStrategy,
    /// How often a task was given to a worker.
    pub total_assignments: i64,
    /// How many of these ended with the task completed.
    pub successful_assignments: i64,
    /// How many ended otherwise.
    pub failed_assignments: i64,
    /// Of those that ended, the part that was successful, 0 to 1.
    pub success_rate: f64,
    /// Agents online that take tasks and are active.
    pub active_agents: i64,
    /// How many of those have a weight other than 1.
    pub agent_weights: i64,
    /// How many tasks they have in hand on average.
    pub avg_agent_load: f64,
}

/// Answer to task_stats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStatsResponse {
    /// How often a task was given to a worker.
    pub tasks_distributed: i64,
    /// Tasks that were done.
    pub tasks_completed: i64,
    /// Tasks that ended otherwise, except those that were called off.
    pub tasks_failed: i64,
    /// From when a task might have been given to a worker until it was, on average, in seconds.
    pub avg_distribution_time: f64,
    /// How workers were chosen.
    pub load_balancer_stats: LoadBalancerStats,
    /// How many wait, by priority.
    pub queue_sizes: BTreeMap<String, i64>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

/// Body of `registry.task_strategy`: asks for the strategy, and changes it when one is given, which operators may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskStrategyRequest {
    /// Who asks; may be left out where the network proves it, and in open mode.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The strategy from now on.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
}

/// Answer to task_strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStrategyResponse {
    /// The strategy now, of every replica.
    pub strategy: TaskStrategy,
    /// Those that there are.
    pub available: Vec<TaskStrategy>,
    /// When it was made, ISO 8601.
    pub generated_at: String,
}

rpc!(
    /// `registry.task_queues`.
    TaskQueues, TaskQueues, TaskQueuesRequest, TaskQueuesResponse
);
rpc!(
    /// `registry.task_queue_clear`.
    TaskQueueClear, TaskQueueClear, TaskQueueClearRequest, TaskQueueClearResponse
);
rpc!(
    /// `registry.task_stats`.
    TaskStats, TaskStats, TaskStatsRequest, TaskStatsResponse
);
rpc!(
    /// `registry.task_strategy`.
    SetTaskStrategy, TaskStrategy, TaskStrategyRequest, TaskStrategyResponse
);
