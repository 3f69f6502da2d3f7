//! Tasks: work that somebody submits and the network gives to an agent that can do it.
//!
//! What stands here is shared by requests, events and the messages that bring tasks to workers. How a task goes from state
//! to state is told in `docs/PROTOCOL.md`, why in ADR 0009.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ErrorCode, envelope::Payload, lenient};

/// `kind` of the message that brings a task to a worker; its payload is a [`TaskAssignment`].
pub const TASK_KIND: &str = "task";
/// Member of an agent's metadata that says it takes tasks: `true`, or `{"capacity": 4, "weight": 1}`.
pub const TASKS_METADATA: &str = "tasks";
/// Username of the account that sends tasks to workers. Nobody registers it: the registry's replicas speak for it.
pub const TASKS_USERNAME: &str = "agentnet-tasks";
/// Tasks that a worker has in hand at most, unless it says otherwise.
pub const DEFAULT_CAPACITY: u32 = 100;
/// Most that a worker may say.
pub const MAX_CAPACITY: u32 = 10_000;
/// Longest `task_data` and `result`, as JSON text in bytes.
pub const MAX_TASK_BYTES: usize = 200_000;
/// How long a task lives unless it has a deadline of its own.
pub const DEFAULT_TASK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The latest deadline, from now.
pub const MAX_TASK_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a task is tried unless it says otherwise.
pub const DEFAULT_ATTEMPTS: i64 = 5;
/// Most that it may say.
pub const MAX_ATTEMPTS: i64 = 100;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $code:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every one, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The word's meaning, in whatever case and with white space around it.
            ///
            /// # Errors
            /// The code that says that there is no such word.
            pub fn parse(text: &str) -> Result<Self, ErrorCode> {
                let text = text.trim();
                Self::ALL.iter().copied().find(|one| one.as_str().eq_ignore_ascii_case(text)).ok_or(ErrorCode::$code)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How soon a task wants to be done.
    #[derive(Default)]
    TaskPriority, InvalidPriority {
        /// Before everything else.
        Urgent = "urgent",
        /// Before what is important.
        Critical = "critical",
        /// Before the usual.
        High = "high",
        /// The usual.
        #[default]
        Normal = "normal",
        /// May wait.
        Low = "low",
    }
}

impl TaskPriority {
    /// How much longer than it has a task counts as having waited: what has waited `head_start` longer goes first, so
    /// that nothing waits for ever.
    pub const fn head_start(self) -> Duration {
        Duration::from_secs(match self {
            Self::Urgent => 600,
            Self::Critical => 300,
            Self::High => 120,
            Self::Normal => 30,
            Self::Low => 0,
        })
    }
}

words! {
    /// Where a task is. The last five are ends: a task reaches exactly one of them, once.
    TaskState, InvalidState {
        /// Waits for a worker, or for its next attempt.
        Queued = "queued",
        /// On its way to a worker that hasn't accepted it yet.
        Assigned = "assigned",
        /// A worker is at it.
        Running = "running",
        /// Done; there is a result.
        Completed = "completed",
        /// The worker said that it can't be done.
        Failed = "failed",
        /// The submitter or an operator called it off.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
        /// Every attempt was used up.
        Dead = "dead",
    }
}

impl TaskState {
    /// Whether nothing happens to the task any more.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Expired | Self::Dead)
    }
}

words! {
    /// How a worker is chosen among those that are eligible and have room.
    #[derive(Default)]
    TaskStrategy, InvalidStrategy {
        /// Who has the fewest tasks in hand.
        #[default]
        LeastConnections = "least_connections",
        /// Who was given nothing for the longest time.
        RoundRobin = "round_robin",
        /// In proportion to the workers' weights.
        WeightedRoundRobin = "weighted_round_robin",
        /// Who took the least time for its latest tasks.
        LeastResponseTime = "least_response_time",
        /// Who reports the least load of its machine.
        ResourceBased = "resource_based",
        /// Whose capabilities fit the requirements most closely.
        CapabilityBased = "capability_based",
        /// The same worker for the same `affinity`, as long as it is there.
        ConsistentHash = "consistent_hash",
        /// The less busy of two picked at random.
        RandomOfTwo = "random_of_two",
        /// Who would finish first, by its times and what it has in hand.
        Predictive = "predictive",
    }
}

words! {
    /// What an agent says about itself. Only active ones are given tasks.
    #[derive(Default)]
    AgentStatus, InvalidStatus {
        /// Takes tasks; what counts for an agent that never said anything.
        #[default]
        Active = "active",
        /// Out of service.
        Inactive = "inactive",
        /// Has enough to do.
        Busy = "busy",
        /// Not to be relied on: what it said is old.
        Stale = "stale",
        /// Being worked on.
        Maintenance = "maintenance",
        /// Broken.
        Error = "error",
    }
}

/// What a worker must be. Everything that is given has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskRequirements {
    /// It has all of these.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Its metadata says this `agent_type`.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// Its metadata lists all of these under `services`.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Its metadata lists all of these under `tags`.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// It is one of these accounts, by id or username.
    #[serde(default, deserialize_with = "lenient::strings", skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
}

/// What an agent offers to those who submit tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskOffer {
    /// Tasks that one session has in hand at most.
    pub capacity: u32,
    /// Its share under [`TaskStrategy::WeightedRoundRobin`].
    pub weight: f64,
}

impl TaskOffer {
    /// What an agent's metadata says under [`TASKS_METADATA`]; `None` when it takes no tasks.
    pub fn of_metadata(metadata: &Map<String, Value>) -> Option<Self> {
        let plain = Self { capacity: DEFAULT_CAPACITY, weight: 1.0 };
        match metadata.get(TASKS_METADATA)? {
            Value::Bool(true) => Some(plain),
            Value::Object(offer) => {
                let capacity = match offer.get("capacity") {
                    None | Some(Value::Null) => DEFAULT_CAPACITY,
                    Some(said) => u32::try_from(said.as_u64()?).unwrap_or(MAX_CAPACITY).min(MAX_CAPACITY),
                };
                let weight = offer.get("weight").and_then(Value::as_f64).unwrap_or(1.0);
                let weight = if weight.is_finite() { weight.clamp(0.001, 1000.0) } else { 1.0 };
                (capacity > 0).then_some(Self { capacity, weight })
            }
            _ => None,
        }
    }

    /// What stands in the metadata of an agent that offers this.
    pub fn to_metadata(self) -> Value {
        serde_json::json!({"capacity": self.capacity, "weight": self.weight})
    }
}

/// Payload of the message that brings a task to a worker. The worker asks `task_accept` before it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskAssignment {
    /// The task.
    #[serde(deserialize_with = "lenient::trimmed")]
    pub task_id: String,
    /// Which assignment of it this is, from 1. `task_accept` repeats it.
    pub attempt: i64,
    /// Who submitted it, an account id.
    #[serde(deserialize_with = "lenient::trimmed")]
    pub submitter: String,
    /// What kind of work it is.
    #[serde(default, deserialize_with = "lenient::opt_trimmed", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// What is to be done, as it was submitted.
    pub task_data: Payload,
    /// How soon.
    pub priority: TaskPriority,
    /// What the worker had to be.
    #[serde(default)]
    pub requirements: TaskRequirements,
    /// Until when it has to be accepted, ISO 8601.
    pub accept_by: String,
    /// When it ends as expired, ISO 8601.
    pub deadline: String,
    /// When it was submitted, ISO 8601.
    pub created_at: String,
}

/// Body of `agentnet.events.tasks` and `account.<id>.tasks`: what happened to a task. The latter goes to the submitter, and
/// to the worker that has it or had it. News, not proof: whoever needs to be sure asks `task_get`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEvent {
    /// What happened.
    pub event: TaskChange,
    /// The task.
    pub task_id: String,
    /// Where it is now.
    pub state: TaskState,
    /// How soon it wants to be done.
    pub priority: TaskPriority,
    /// Who submitted it.
    pub submitter: String,
    /// The worker that the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Which assignment, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i64>,
    /// How much is done, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Why, where there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When, ISO 8601.
    pub at: String,
}

words! {
    /// What happened to a task.
    TaskChange, InvalidField {
        /// It was submitted.
        Submitted = "submitted",
        /// It goes to a worker.
        Assigned = "assigned",
        /// The worker has begun.
        Started = "started",
        /// The worker said how far it is.
        Progress = "progress",
        /// The attempt ended without an end of the task; it is queued again.
        Retried = "retried",
        /// It was done.
        Completed = "completed",
        /// It can't be done.
        Failed = "failed",
        /// It was called off.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
        /// Its attempts were used up.
        Dead = "dead",
    }
}

impl From<TaskState> for TaskChange {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Queued => Self::Retried,
            TaskState::Assigned => Self::Assigned,
            TaskState::Running => Self::Started,
            TaskState::Completed => Self::Completed,
            TaskState::Failed => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
            TaskState::Expired => Self::Expired,
            TaskState::Dead => Self::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn offer(value: Value) -> Option<TaskOffer> {
        TaskOffer::of_metadata(&Map::from_iter([(TASKS_METADATA.to_owned(), value)]))
    }

    #[test]
    fn words_are_read_in_any_case_and_nothing_else() {
        assert_eq!(TaskPriority::parse(" Urgent "), Ok(TaskPriority::Urgent));
        assert_eq!(TaskPriority::parse("soon"), Err(ErrorCode::InvalidPriority));
        assert_eq!(TaskStrategy::parse("fastest"), Err(ErrorCode::InvalidStrategy));
        assert_eq!(AgentStatus::parse("asleep"), Err(ErrorCode::InvalidStatus));
        assert_eq!(TaskState::parse("ended"), Err(ErrorCode::InvalidState));
        for state in TaskState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), json!(state.as_str()));
            assert_eq!(
                TaskChange::from(*state).as_str() == state.as_str(),
                state.is_end() || *state == TaskState::Assigned
            );
        }
        let starts: Vec<Duration> = TaskPriority::ALL.iter().map(|p| p.head_start()).collect();
        assert!(starts.is_sorted_by(|a, b| a > b), "{starts:?}");
    }

    #[test]
    fn offers() {
        let plain = TaskOffer { capacity: DEFAULT_CAPACITY, weight: 1.0 };
        assert_eq!(offer(json!(true)), Some(plain));
        assert_eq!(offer(json!({})), Some(plain));
        assert_eq!(offer(json!({"capacity": 3, "weight": 2})), Some(TaskOffer { capacity: 3, weight: 2.0 }));
        assert_eq!(offer(json!({"capacity": 1e12 as u64})).unwrap().capacity, MAX_CAPACITY);
        for none in [json!(false), json!(null), json!("yes"), json!({"capacity": 0}), json!({"capacity": -1})]
        {
            assert_eq!(offer(none.clone()), None, "{none}");
        }
        assert_eq!(TaskOffer::of_metadata(&Map::new()), None);
    }

    proptest! {
        #[test]
        fn what_is_offered_is_read_back(capacity in 1..=MAX_CAPACITY, weight in 0.001..1000.0_f64) {
            let said = TaskOffer { capacity, weight };
            prop_assert_eq!(offer(said.to_metadata()), Some(said));
        }

        #[test]
        fn no_metadata_makes_an_offer_out_of_bounds(capacity in any::<f64>(), weight in any::<f64>()) {
            if let Some(read) = offer(json!({"capacity": capacity, "weight": weight})) {
                prop_assert!((1..=MAX_CAPACITY).contains(&read.capacity) && (0.001..=1000.0).contains(&read.weight));
            }
        }

        #[test]
        fn assignments_survive_json(id in "[a-z0-9-]{1,40}", attempt in 1..1000_i64, data in "[a-z ]{0,40}", p in 0..5_usize) {
            let told = TaskAssignment {
                task_id: id, attempt, submitter: "acct_a".into(), task_type: Some("t".into()),
                task_data: Payload::of(&data).unwrap(), priority: TaskPriority::ALL[p],
                requirements: TaskRequirements { capabilities: vec!["x".into()], ..TaskRequirements::default() },
                accept_by: "2026-01-01T00:00:00Z".into(), deadline: "2026-01-02T00:00:00Z".into(), created_at: "2026-01-01T00:00:00Z".into(),
            };
            let text = serde_json::to_string(&told).unwrap();
            prop_assert_eq!(serde_json::from_str::<TaskAssignment>(&text).unwrap(), told);
        }

        #[test]
        fn parsing_words_never_panics(text in ".*") {
            let _ = (TaskPriority::parse(&text), TaskState::parse(&text), TaskStrategy::parse(&text));
        }
    }
}
