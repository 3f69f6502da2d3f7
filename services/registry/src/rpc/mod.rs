//! The registry's methods, one file each, and how they hang on their subjects.

mod deliveries;
mod fit;
pub(crate) mod goodbye;
pub(crate) mod hello;
mod identity;
mod list;
mod message_rows;
mod message_search;
mod metrics;
mod profile;
mod redrive;
mod register;
mod resolve_account;
mod resolve_key;
mod search;
mod thread_list;
mod thread_messages;
mod thread_status;
mod why;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::rpc::{self as wire, Rpc, RpcMethod};
use agentnet_proto::subject::REGISTRY_QUEUE;
use agentnet_proto::{ErrorCode, EventType, RpcError, Subject};
use agentnet_service::nats::Nats;
use agentnet_service::rpc::{
    Fault, Method, RpcOptions, RpcServer, RpcServerBuilder, StartError, Topic, default_faults, handler,
    publish_handler, typed,
};

use crate::app::App;
use crate::events;

type Builder = RpcServerBuilder<RpcError>;

/// Largest hello, goodbye or event: metadata of 64 KiB with every character escaped.
const MAX_PUBLISH: usize = 512 * 1024;

/// Subscribes to everything.
pub(crate) async fn start(app: &Arc<App>, nats: &Nats) -> Result<RpcServer, StartError> {
    let options =
        RpcOptions { max_in_flight: 1024, deadline: Duration::from_secs(5), ..RpcOptions::default() };
    let mut builder = RpcServer::builder(nats, &app.stats, faults).options(options);
    builder = method::<wire::Register, _, _>(builder, app, register::register);
    builder = method::<wire::Search, _, _>(builder, app, search::search);
    builder = method::<wire::ResolveAccount, _, _>(builder, app, resolve_account::resolve_account);
    builder = method::<wire::ResolveKey, _, _>(builder, app, resolve_key::resolve_key);
    builder = method::<wire::ThreadList, _, _>(builder, app, thread_list::thread_list);
    builder = method::<wire::ThreadStatus, _, _>(builder, app, thread_status::thread_status);
    builder = method::<wire::ThreadMessages, _, _>(builder, app, thread_messages::thread_messages);
    builder = method::<wire::MessageSearch, _, _>(builder, app, message_search::message_search);
    builder = method::<wire::Deliveries, _, _>(builder, app, deliveries::deliveries);
    builder = method::<wire::Redrive, _, _>(builder, app, redrive::redrive);
    builder = method::<wire::Why, _, _>(builder, app, why::why);
    builder = method::<wire::Metrics, _, _>(builder, app, metrics::metrics);
    builder = encoded(builder, app, RpcMethod::List, list::list);
    builder = encoded(builder, app, RpcMethod::Profile, profile::profile);
    builder =
        topic(builder, app, RpcMethod::Hello.as_str(), &Subject::Registry(RpcMethod::Hello), hello::hello);
    builder = topic(
        builder,
        app,
        RpcMethod::Goodbye.as_str(),
        &Subject::Registry(RpcMethod::Goodbye),
        goodbye::goodbye,
    );
    builder =
        topic(builder, app, "event.presence", &Subject::Event(EventType::Presence), events::on_presence);
    builder = topic(builder, app, "event.accounts", &Subject::Event(EventType::Accounts), events::on_account);
    builder = topic(builder, app, "event.keys", &Subject::Event(EventType::Keys), events::on_account);
    builder.start().await
}

fn on(method: RpcMethod) -> Method {
    Method::new(method.as_str(), Subject::Registry(method).to_string()).queue(REGISTRY_QUEUE)
}

fn method<R, F, Fut>(builder: Builder, app: &Arc<App>, run: F) -> Builder
where
    R: Rpc + 'static,
    R::Request: 'static,
    R::Response: 'static,
    F: Fn(Arc<App>, R::Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Response, RpcError>> + Send + 'static,
{
    let app = app.clone();
    builder.method(on(R::METHOD), typed(move |_, request: R::Request| run(app.clone(), request)))
}

/// A method that decodes and encodes by itself.
fn encoded<F, Fut>(builder: Builder, app: &Arc<App>, method: RpcMethod, run: F) -> Builder
where
    F: Fn(Arc<App>, bytes::Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<bytes::Bytes, RpcError>> + Send + 'static,
{
    let app = app.clone();
    builder.method(on(method), handler(move |_, body| run(app.clone(), body)))
}

/// Publishes are heard by every replica: no queue group.
fn topic<F, Fut>(builder: Builder, app: &Arc<App>, name: &str, subject: &Subject, run: F) -> Builder
where
    F: Fn(Arc<App>, bytes::Bytes) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = bool> + Send + 'static,
{
    let app = app.clone();
    let handler = publish_handler(move |_, body: bytes::Bytes| {
        let (run, app) = (run.clone(), app.clone());
        async move { body.len() <= MAX_PUBLISH && run(app, body).await }
    });
    builder.on_publish(Topic::new(name, subject.to_string()), handler)
}

/// The dispatcher's own failures, with the original's literal strings where it has one.
fn faults(method: &str, fault: Fault) -> RpcError {
    match (RpcMethod::parse(method), fault) {
        (Some(method), Fault::NotAnObject) => method.not_an_object().into(),
        (_, fault) => default_faults(method, fault),
    }
}

/// What a failed query of the method is called outside.
fn required(text: &str, code: ErrorCode) -> Result<(), RpcError> {
    if text.is_empty() { Err(code.into()) } else { Ok(()) }
}
