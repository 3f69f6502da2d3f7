//! Dispatch of requests and publishes from NATS subjects to handlers.
//!
//! Every request with a reply subject is answered, whatever it holds and whatever its handler does: bad JSON,
//! a full method, a panic and an overrun are [`Fault`]s, for which the domain supplies the bodies through a
//! [`FaultMap`].
//!
//! A handler is polled once where it was received and becomes a task only if it has to wait, so a call that is
//! answered from memory costs no spawn.

mod call;
mod fault;
mod handler;
mod method;
mod metrics;
mod proto;
mod publish;
mod reply;
mod serve;
mod server;

pub use fault::{ErrorReply, Fault, FaultMap};
pub use handler::{
    Ctx, Handler, PublishCtx, PublishHandler, decode_object, encode_response, handler, publish_handler, typed,
};
pub use method::{Method, Topic};
pub use proto::default_faults;
pub use reply::{ReplyGuard, default_reply_guard};
pub use server::{Drained, RpcOptions, RpcServer, RpcServerBuilder, StartError};
