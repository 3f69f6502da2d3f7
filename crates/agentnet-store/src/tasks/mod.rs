//! `agent_tasks` and what belongs to it: tasks, their attempts, the workers' figures (ADR 0009).
//!
//! Every transition is one statement that names the state it comes from; what ends an attempt notes it in the same
//! statement. All times are the database's.

mod assign;
mod end;
mod figures;
mod read;
mod report;
mod row;
mod submit;
mod sweep;

pub use assign::{Candidate, Round, WorkerFigures, worker_figures};
pub use end::{Changed, Ending, Target, end, lock};
pub use figures::{
    Figures, QueueSize, Totals, fold_attempts, fold_ends, queues, set_strategy, strategy, totals,
};
pub use read::{AttemptRow, Filter, attempts, by_id, list};
pub use report::{Refusal, Report, accept, complete, hear, why_not};
pub use row::Task;
pub use submit::{NewTask, Submitted, open_by_submitter, submit};
pub use sweep::{Overdue, clear_queue, forget, overdue, unpark, workers_in_hand};
