//! The methods about messages between agents, whom they know, and what changes, as the coordinator shows them.

pub(super) mod broadcast;
pub(super) mod feed;
pub(super) mod history;
pub(super) mod peers;
pub(super) mod route;
