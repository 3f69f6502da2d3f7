//! Handlers and the wrapper that decodes and encodes for them.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::Instant;

use super::{ErrorReply, Fault};

/// Longest parser message passed on, in bytes.
const MAX_DETAIL: usize = 200;

/// What a request came with.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Name of the method.
    pub method: Arc<str>,
    /// Subject it was published to; its last token can name the caller.
    pub subject: Subject,
    /// Where the answer goes.
    pub reply: Subject,
    /// NATS headers.
    pub headers: Option<HeaderMap>,
    /// When it was taken from the subscription.
    pub received: Instant,
    /// When it will be cut off.
    pub deadline: Instant,
}

/// What a publish came with.
#[derive(Clone, Debug)]
pub struct PublishCtx {
    /// Subject it was published to.
    pub subject: Subject,
    /// NATS headers.
    pub headers: Option<HeaderMap>,
    /// When it was taken from the subscription.
    pub received: Instant,
}

/// Why a call has no body: the dispatcher's fault or the handler's error.
pub(super) enum Failure<E> {
    Fault(Fault),
    Error(E),
}

pub(super) type Outcome<E> = Result<Bytes, Failure<E>>;

/// A request handler with its types erased. Made by [`typed`] or [`handler`].
pub struct Handler<E> {
    pub(super) call: Arc<dyn Fn(Ctx, Bytes) -> BoxFuture<'static, Outcome<E>> + Send + Sync>,
}

impl<E> Clone for Handler<E> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone() }
    }
}

/// A publish handler with its types erased. Made by [`publish_handler`].
pub struct PublishHandler {
    pub(super) call: Arc<dyn Fn(PublishCtx, Bytes) -> BoxFuture<'static, bool> + Send + Sync>,
}

/// A handler that takes and gives encoded bodies.
pub fn handler<E, F, Fut>(run: F) -> Handler<E>
where
    E: ErrorReply,
    F: Fn(Ctx, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, E>> + Send + 'static,
{
    Handler {
        call: Arc::new(move |ctx, body| {
            let call = run(ctx, body);
            Box::pin(async move { call.await.map_err(Failure::Error) })
        }),
    }
}

/// A handler of a request type and a response type, both JSON objects. An empty body reads as `{}`.
pub fn typed<Req, Resp, E, F, Fut>(run: F) -> Handler<E>
where
    Req: DeserializeOwned + Send + 'static,
    Resp: Serialize + Send + 'static,
    E: ErrorReply,
    F: Fn(Ctx, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Resp, E>> + Send + 'static,
{
    Handler {
        call: Arc::new(move |ctx, body| match decode_object::<Req>(&body) {
            Ok(request) => {
                let call = run(ctx, request);
                Box::pin(async move {
                    let response = call.await.map_err(Failure::Error)?;
                    encode_response(&response).map_err(Failure::Fault)
                })
            }
            Err(fault) => Box::pin(std::future::ready(Err(Failure::Fault(fault)))),
        }),
    }
}

/// A handler of publishes: true means handled, false is counted as an error. Messages of one subscription
/// are handled one after the other, in the order of arrival.
pub fn publish_handler<F, Fut>(run: F) -> PublishHandler
where
    F: Fn(PublishCtx, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = bool> + Send + 'static,
{
    PublishHandler { call: Arc::new(move |ctx, body| Box::pin(run(ctx, body))) }
}

/// Decodes a JSON object, telling apart what isn't JSON, isn't an object, and doesn't fit. Empty reads as `{}`.
pub fn decode_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    // Checked first: serde also reads a struct from an array.
    if !body.trim_ascii_start().starts_with(b"{") {
        return match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(IgnoredAny) => Err(Fault::NotAnObject),
            Err(error) => Err(Fault::MalformedJson { detail: detail(&error) }),
        };
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Fault::InvalidFields { detail: detail(&error) },
        _ => Fault::MalformedJson { detail: detail(&error) },
    })
}

/// Encodes a response as JSON.
///
/// # Errors
/// [`Fault::Unencodable`] for what JSON can't hold.
pub fn encode_response<T: Serialize>(response: &T) -> Result<Bytes, Fault> {
    match serde_json::to_vec(response) {
        Ok(body) => Ok(body.into()),
        Err(error) => Err(Fault::Unencodable { detail: detail(&error) }),
    }
}

fn detail(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if text.len() > MAX_DETAIL {
        let end = (0..=MAX_DETAIL).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The words of a panic, for the log only.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Request {
        #[serde(default)]
        limit: u32,
    }

    fn code(body: &str) -> &'static str {
        decode_object::<Request>(body.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn empty_reads_as_an_empty_object() {
        for body in ["", " \n", "{}", r#"{"other":1}"#] {
            assert_eq!(decode_object::<Request>(body.as_bytes()), Ok(Request { limit: 0 }), "{body:?}");
        }
        assert_eq!(decode_object::<Request>(b" {\"limit\":3}"), Ok(Request { limit: 3 }));
    }

    #[test]
    fn faults_are_told_apart() {
        for body in ["{", "nope", "[1,", "{} {}", "\u{feff}{}", "{\"limit\":}"] {
            assert_eq!(code(body), "malformed_json", "{body}");
        }
        for body in ["[]", "[3]", "1", "null", "\"{}\"", "true"] {
            assert_eq!(code(body), "not_an_object", "{body}");
        }
        assert_eq!(code(r#"{"limit":"many"}"#), "invalid_fields");
        assert_eq!(decode_object::<Request>(&[b'{', 0xff]).unwrap_err().code(), "malformed_json");
        assert_eq!(code(&"[".repeat(100_000)), "malformed_json");
    }

    #[test]
    fn details_are_bounded() {
        let body = format!(r#"{{"limit":"{}"}}"#, "é".repeat(5000));
        let Fault::InvalidFields { detail } = decode_object::<Request>(body.as_bytes()).unwrap_err() else {
            panic!("wrong fault");
        };
        assert!(detail.len() <= MAX_DETAIL);
    }
}
