//! HTTP: connections with limits, one line per request, problem details, extractors that name the field at fault.

mod access;
mod extract;
mod layers;
mod listener;
mod origin;
mod problem;

pub(crate) use extract::{Body, Form, From, OptionalBody, Parts, Query, json};
pub(crate) use layers::wrap;
pub(crate) use listener::{Listener, Peer};
pub(crate) use origin::check_origin;
pub(crate) use problem::{Problem, ProblemBody, Shown};
