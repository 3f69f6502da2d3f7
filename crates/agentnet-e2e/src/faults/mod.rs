//! The fault harness: proves that nothing acknowledged is lost, by breaking everything while it is used.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`], [`scenario`] | what a run is told, and what can be done to the network |
//! | [`stack`], [`child`], [`service`] | a private network of separate processes, killed with -9 and started again |
//! | [`agents`], [`agent`], [`journal`] | recipients, and the rows they write as their effects |
//! | [`load`], [`ledger`] | senders at a fixed rate, and what they were told |
//! | [`senders`], [`sender`] | senders that are processes, with their outboxes in files |
//! | [`tasks`] | tasks instead of messages, with workers that die |
//! | [`inject`], [`proxy`] | faults |
//! | [`rest`], [`check`] | waits until nothing moves, then compares ledger, journals and Postgres |
//! | [`run`](mod@run), [`report`] | one run from an empty directory to a verdict |
//!
//! # How do I add one more fault?
//!
//! A variant of [`scenario::Fault`], how it begins and ends in [`inject`], and a [`scenario::Scenario`] that takes from
//! it.

pub mod agent;
pub mod agents;
pub mod check;
pub mod child;
pub mod inject;
pub mod journal;
pub mod latency;
pub mod ledger;
pub mod load;
pub mod options;
pub mod proxy;
pub mod ready;
pub mod report;
pub mod rest;
pub mod run;
pub mod scenario;
pub mod sender;
pub mod senders;
pub mod service;
pub mod stack;
pub mod tasks;
