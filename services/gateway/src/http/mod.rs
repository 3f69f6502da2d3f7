//! HTTP: connections with limits, one line per request, problem details, extractors that name the field at fault.

mod access;
mod extract;
mod forwarded;
mod layers;
mod listener;
mod origin;
mod problem;
mod stalled;
mod tls;

pub(crate) use extract::{Body, Form, From, OptionalBody, Parts, Query, json};
pub(crate) use layers::{Raw, wrap};
pub(crate) use listener::{Listener, Peer, Serving};
pub(crate) use origin::check_origin;
pub(crate) use problem::{Problem, ProblemBody, Shown, whole_seconds};
pub(crate) use tls::Tls;
