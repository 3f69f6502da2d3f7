//! The registry's methods, one file each, and how they hang on their subjects.

mod agents;
mod blob_get;
mod blob_put;
mod blocks;
mod capabilities;
mod conversation_list;
mod coordination;
mod deliveries;
mod documents;
mod enrol;
mod evidence;
mod fit;
pub(crate) mod goodbye;
pub(crate) mod hello;
mod identity;
mod list;
mod members;
mod message_rows;
mod message_search;
mod metrics;
mod network;
mod online;
mod operators;
mod peers;
mod profile;
mod profile_update;
mod redrive;
mod register;
mod resolve_account;
mod resolve_key;
mod revoke;
mod rotate;
mod search;
mod standing;
mod suspend;
mod tasks;
mod thread_close;
mod thread_create;
mod thread_eject;
mod thread_invite;
mod thread_join;
mod thread_leave;
mod thread_list;
mod thread_members;
mod thread_messages;
mod thread_read;
mod thread_role;
mod thread_status;
mod thread_update;
mod users;
mod via;
mod whose;
mod why;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::rpc::{self as wire, Rpc, RpcMethod};
use agentnet_proto::subject::REGISTRY_QUEUE;
use agentnet_proto::{ErrorCode, EventType, RpcError, Security, Subject};
use agentnet_service::nats::Nats;
use agentnet_service::rpc::{
    Ctx, Fault, Method, PublishCtx, RpcOptions, RpcServer, RpcServerBuilder, StartError, Topic,
    decode_object, default_faults, encode_response, handler, publish_handler,
};

use crate::access;
use crate::app::App;
use crate::blobs::COMMIT_DEADLINE;
use crate::caller::{self, Call};
use crate::events;

pub(crate) use agents::at as agents_at;

type Builder = RpcServerBuilder<RpcError>;

/// Largest hello, goodbye or event: metadata of 64 KiB with every character escaped.
const MAX_PUBLISH: usize = 512 * 1024;
/// Chunks of blobs that are taken, or given, at once: each is half a megabyte.
const MAX_CHUNKS: usize = 128;
/// Blobs finished at once: each may be read back.
const MAX_COMMITS: usize = 32;

/// Subscribes to everything.
pub(crate) async fn start(app: &Arc<App>, nats: &Nats) -> Result<RpcServer, StartError> {
    let options =
        RpcOptions { max_in_flight: 1024, deadline: Duration::from_secs(5), ..RpcOptions::default() };
    let mut builder = RpcServer::builder(nats, &app.stats, faults).options(options);
    if app.config.security == Security::Secure {
        builder = builder.reply_guard(caller::may_answer);
    }
    builder = method::<wire::Register, _, _>(builder, app, register::register);
    builder = method::<wire::Network, _, _>(builder, app, network::network);
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
    builder = method::<wire::ThreadCreate, _, _>(builder, app, thread_create::thread_create);
    builder = method::<wire::ThreadInvite, _, _>(builder, app, thread_invite::thread_invite);
    builder = method::<wire::ThreadJoin, _, _>(builder, app, thread_join::thread_join);
    builder = method::<wire::ThreadLeave, _, _>(builder, app, thread_leave::thread_leave);
    builder = method::<wire::ThreadEject, _, _>(builder, app, thread_eject::thread_eject);
    builder = method::<wire::ThreadMembers, _, _>(builder, app, thread_members::thread_members);
    builder = method::<wire::ThreadUpdate, _, _>(builder, app, thread_update::thread_update);
    builder = method::<wire::ThreadRole, _, _>(builder, app, thread_role::thread_role);
    builder = method::<wire::ThreadClose, _, _>(builder, app, thread_close::thread_close);
    builder = method::<wire::ThreadRead, _, _>(builder, app, thread_read::thread_read);
    builder = method::<wire::ConversationList, _, _>(builder, app, conversation_list::conversation_list);
    builder = method::<wire::Online, _, _>(builder, app, online::online);
    builder = method::<wire::PeerAdd, _, _>(builder, app, peers::add);
    builder = method::<wire::PeerRemove, _, _>(builder, app, peers::remove);
    builder = method::<wire::PeerList, _, _>(builder, app, peers::list);
    builder = method::<wire::BlockAdd, _, _>(builder, app, blocks::add);
    builder = method::<wire::BlockRemove, _, _>(builder, app, blocks::remove);
    builder = method::<wire::BlockList, _, _>(builder, app, blocks::list);
    builder = method::<wire::DataPut, _, _>(builder, app, documents::put);
    builder = method::<wire::DataGet, _, _>(builder, app, documents::get);
    builder = method::<wire::DataList, _, _>(builder, app, documents::list);
    builder = method::<wire::DataDelete, _, _>(builder, app, documents::delete);
    builder = method::<wire::OperatorGrant, _, _>(builder, app, operators::grant);
    builder = method::<wire::OperatorRevoke, _, _>(builder, app, operators::revoke);
    builder = method::<wire::OperatorList, _, _>(builder, app, operators::list);
    builder = method::<wire::Suspend, _, _>(builder, app, suspend::suspend);
    builder = method::<wire::Resume, _, _>(builder, app, suspend::resume);
    builder = method::<wire::ProfileUpdate, _, _>(builder, app, profile_update::profile_update);
    builder = method::<wire::Enrol, _, _>(builder, app, enrol::enrol);
    builder = method::<wire::CapabilityRestrict, _, _>(builder, app, capabilities::restrict);
    builder = method::<wire::CapabilityGrant, _, _>(builder, app, capabilities::grant);
    builder = method::<wire::CapabilityRevoke, _, _>(builder, app, capabilities::revoke);
    builder = method::<wire::CapabilityList, _, _>(builder, app, capabilities::list);
    builder = method::<wire::Evidence, _, _>(builder, app, evidence::evidence);
    builder = method::<wire::Rotate, _, _>(builder, app, rotate::rotate);
    builder = method::<wire::Revoke, _, _>(builder, app, revoke::revoke);
    builder = method::<wire::BlobBegin, _, _>(builder, app, blob_put::begin);
    builder = with(builder, app, RpcMethod::BlobWrite, |m| m.max_in_flight(MAX_CHUNKS), blob_put::write);
    builder = method_with::<wire::BlobCommit, _, _>(
        builder,
        app,
        |m| m.deadline(COMMIT_DEADLINE).max_in_flight(MAX_COMMITS),
        blob_put::commit,
    );
    builder = method::<wire::BlobHead, _, _>(builder, app, blob_get::head);
    builder = with(builder, app, RpcMethod::BlobRead, |m| m.max_in_flight(MAX_CHUNKS), blob_get::read);
    builder = method::<wire::BlobList, _, _>(builder, app, blob_get::list);
    builder = method::<wire::BlobDelete, _, _>(builder, app, blob_get::delete);
    builder = method::<wire::BlobShare, _, _>(builder, app, blob_get::share);
    builder = method::<wire::UserCreate, _, _>(builder, app, users::user_create::user_create);
    builder = method::<wire::UserList, _, _>(builder, app, users::user_list::user_list);
    builder =
        method::<wire::UserSetPassword, _, _>(builder, app, users::user_set_password::user_set_password);
    builder = method::<wire::UserDisable, _, _>(builder, app, users::user_standing::disable);
    builder = method::<wire::UserEnable, _, _>(builder, app, users::user_standing::enable);
    builder = method::<wire::UserLogin, _, _>(builder, app, users::user_login::user_login);
    builder = method::<wire::UserRefresh, _, _>(builder, app, users::user_refresh::user_refresh);
    builder = method::<wire::UserLogout, _, _>(builder, app, users::user_logout::user_logout);
    builder = method::<wire::UserSession, _, _>(builder, app, users::user_session::user_session);
    builder = method::<wire::ApiKeyCreate, _, _>(builder, app, users::api_key_create::api_key_create);
    builder = method::<wire::ApiKeyList, _, _>(builder, app, users::api_key_list::api_key_list);
    builder = method::<wire::ApiKeyRevoke, _, _>(builder, app, users::api_key_revoke::api_key_revoke);
    builder = method::<wire::ApiKeyLogin, _, _>(builder, app, users::api_key_login::api_key_login);
    builder = method::<wire::WsTicketCreate, _, _>(builder, app, users::ws_tickets::create);
    builder = method::<wire::WsTicketRedeem, _, _>(builder, app, users::ws_tickets::redeem);
    builder = method::<wire::TokenKeys, _, _>(builder, app, users::token_keys::token_keys);
    builder = method::<wire::AgentRegister, _, _>(builder, app, agents::register::register);
    builder = method::<wire::AgentDiscover, _, _>(builder, app, agents::discover::discover);
    builder = method::<wire::AgentShow, _, _>(builder, app, agents::show::show);
    builder = method::<wire::AgentReport, _, _>(builder, app, agents::report::report);
    builder = method::<wire::AgentStats, _, _>(builder, app, agents::stats::stats);
    builder = method::<wire::MailFetch, _, _>(builder, app, agents::mail::fetch);
    builder = method::<wire::MailAck, _, _>(builder, app, agents::mail::ack);
    builder = method::<wire::WebhookClaim, _, _>(builder, app, agents::webhooks::claim);
    builder = method::<wire::WebhookReport, _, _>(builder, app, agents::webhooks::report);
    builder = method::<wire::MessageRoute, _, _>(builder, app, coordination::route::route);
    builder = method::<wire::MessageHistory, _, _>(builder, app, coordination::history::history);
    builder = method::<wire::BroadcastOpen, _, _>(builder, app, coordination::broadcast::open);
    builder = method::<wire::PeerGraph, _, _>(builder, app, coordination::peers::graph);
    builder = method::<wire::Feed, _, _>(builder, app, coordination::feed::feed);
    builder = method::<wire::TaskSubmit, _, _>(builder, app, tasks::submit);
    builder = method::<wire::TaskGet, _, _>(builder, app, tasks::get);
    builder = method::<wire::TaskList, _, _>(builder, app, tasks::list);
    builder = method::<wire::TaskCancel, _, _>(builder, app, tasks::cancel);
    builder = method::<wire::TaskAccept, _, _>(builder, app, tasks::accept);
    builder = method::<wire::TaskHeartbeat, _, _>(builder, app, tasks::heartbeat);
    builder = method::<wire::TaskProgress, _, _>(builder, app, tasks::progress);
    builder = method::<wire::TaskComplete, _, _>(builder, app, tasks::complete);
    builder = method::<wire::TaskFail, _, _>(builder, app, tasks::fail);
    builder = method::<wire::TaskQueues, _, _>(builder, app, tasks::queues);
    builder = method::<wire::TaskQueueClear, _, _>(builder, app, tasks::clear);
    builder = method::<wire::TaskStats, _, _>(builder, app, tasks::stats);
    builder = method::<wire::SetTaskStrategy, _, _>(builder, app, tasks::strategy);
    builder = method::<wire::SetStatus, _, _>(builder, app, tasks::set_status);
    builder = method::<wire::StatusList, _, _>(builder, app, tasks::status_list);
    builder = method::<wire::Metrics, _, _>(builder, app, metrics::metrics);
    builder = encoded(builder, app, RpcMethod::List, list::list);
    builder = encoded(builder, app, RpcMethod::Profile, profile::profile);
    builder = presence(builder, app, RpcMethod::Hello, hello::hello);
    builder = presence(builder, app, RpcMethod::Goodbye, goodbye::goodbye);
    builder =
        topic(builder, app, "event.presence", &Subject::Event(EventType::Presence), events::on_presence);
    builder = topic(builder, app, "event.accounts", &Subject::Event(EventType::Accounts), events::on_account);
    builder = topic(builder, app, "event.keys", &Subject::Event(EventType::Keys), events::on_account);
    builder.start().await
}

fn method<R, F, Fut>(builder: Builder, app: &Arc<App>, run: F) -> Builder
where
    R: Rpc + 'static,
    R::Request: 'static,
    R::Response: 'static,
    F: Fn(Arc<App>, Call, R::Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Response, RpcError>> + Send + 'static,
{
    method_with::<R, F, Fut>(builder, app, |method| method, run)
}

/// The same with limits of its own.
fn method_with<R, F, Fut>(builder: Builder, app: &Arc<App>, limits: fn(Method) -> Method, run: F) -> Builder
where
    R: Rpc + 'static,
    R::Request: 'static,
    R::Response: 'static,
    F: Fn(Arc<App>, Call, R::Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Response, RpcError>> + Send + 'static,
{
    with(builder, app, R::METHOD, limits, move |app, call, body| {
        let run = run.clone();
        async move {
            let request = decode_object(&body).map_err(|fault| faults(R::METHOD.as_str(), fault))?;
            let response = run(app, call, request).await?;
            encode_response(&response).map_err(|fault| faults(R::METHOD.as_str(), fault))
        }
    })
}

/// A method that decodes and encodes by itself.
fn encoded<F, Fut>(builder: Builder, app: &Arc<App>, method: RpcMethod, run: F) -> Builder
where
    F: Fn(Arc<App>, Call, bytes::Bytes) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<bytes::Bytes, RpcError>> + Send + 'static,
{
    with(builder, app, method, |method| method, run)
}

/// The same with limits of its own.
fn with<F, Fut>(
    builder: Builder,
    app: &Arc<App>,
    method: RpcMethod,
    limits: fn(Method) -> Method,
    run: F,
) -> Builder
where
    F: Fn(Arc<App>, Call, bytes::Bytes) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<bytes::Bytes, RpcError>> + Send + 'static,
{
    let app = app.clone();
    let subject = subject_of(&app, method);
    let asked = method;
    let method = limits(Method::new(method.as_str(), subject).queue(REGISTRY_QUEUE));
    let handler = handler(move |ctx: Ctx, body: bytes::Bytes| {
        let (run, app) = (run.clone(), app.clone());
        async move {
            let caller = caller::of_subject(app.config.security, &ctx.subject)?;
            let call = Call {
                caller,
                headers: ctx.headers,
                body: body.clone(),
                signed: None,
                by_session_key: false,
            };
            let call = caller::prove(&app, asked, call).await?;
            if let Some(account) = call.caller.account() {
                access::check_standing(&app, account.as_str())?;
            }
            run(app, call, body).await
        }
    });
    builder.method(method, handler)
}

/// Where a method is asked: in secure mode the subject names the caller.
fn subject_of(app: &App, method: RpcMethod) -> String {
    match app.config.security {
        Security::Secure => Subject::registry_of_any_caller(method),
        Security::Open | Security::Signed => Subject::Registry(method).to_string(),
    }
}

/// Presence: published by agents, heard by every replica.
fn presence<F, Fut>(builder: Builder, app: &Arc<App>, method: RpcMethod, run: F) -> Builder
where
    F: Fn(Arc<App>, Call, bytes::Bytes) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = bool> + Send + 'static,
{
    let app = app.clone();
    let subject = subject_of(&app, method);
    let handler = publish_handler(move |ctx: PublishCtx, body: bytes::Bytes| {
        let (run, app) = (run.clone(), app.clone());
        async move {
            let Ok(caller) = caller::of_subject(app.config.security, &ctx.subject) else { return false };
            let call = Call {
                caller,
                headers: ctx.headers,
                body: body.clone(),
                signed: None,
                by_session_key: false,
            };
            body.len() <= MAX_PUBLISH && run(app, call, body).await
        }
    });
    builder.on_publish(Topic::new(method.as_str(), subject), handler)
}

/// Events of other replicas. No queue group: every replica hears them.
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
