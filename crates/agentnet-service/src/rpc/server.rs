//! Building, starting and stopping a server.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::MethodRuntime;
use super::metrics::MethodMetrics;
use super::publish::TopicRuntime;
use super::serve::Intake;
use super::{
    ErrorReply, Fault, FaultMap, Handler, Method, PublishHandler, ReplyGuard, Topic, default_reply_guard,
};
use crate::nats::{Nats, NatsError};
use crate::shutdown::Shutdown;
use crate::stats::Stats;

/// Limits of every method that doesn't set its own.
#[derive(Clone, Copy, Debug)]
pub struct RpcOptions {
    /// Calls of one method running at once; more are answered [`Fault::Busy`]. 256.
    pub max_in_flight: usize,
    /// Deadline of a call. 10 s.
    pub deadline: Duration,
    /// Largest request body in bytes. 1 MiB, what a NATS server carries by default.
    pub max_body_bytes: usize,
    /// How long an answer may wait for a full or broken connection. 5 s.
    pub reply_timeout: Duration,
    /// How long the server may take to confirm the subscriptions at start. 5 s.
    pub start_timeout: Duration,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            deadline: Duration::from_secs(10),
            max_body_bytes: 1 << 20,
            reply_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(5),
        }
    }
}

/// A server couldn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A subject or queue group is not valid, or the connection is closed.
    #[error("subscribing to {subject} failed")]
    Subscribe {
        /// The subject.
        subject: String,
        /// The client's words.
        #[source]
        source: async_nats::SubscribeError,
    },
    /// The NATS server didn't confirm the subscriptions.
    #[error("the subscriptions were not confirmed")]
    Confirm(#[source] NatsError),
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Calls cut off at the soft deadline, each answered [`Fault::ShuttingDown`].
    pub cut_off: usize,
    /// Calls and loops still unfinished at the hard deadline.
    pub left: usize,
}

/// Collects methods and topics.
pub struct RpcServerBuilder<E> {
    nats: Nats,
    stats: Stats,
    options: RpcOptions,
    faults: FaultMap<E>,
    guard: ReplyGuard,
    methods: Vec<(Method, Handler<E>)>,
    topics: Vec<(Topic, PublishHandler)>,
}

impl<E: ErrorReply> RpcServerBuilder<E> {
    /// Limits.
    #[must_use]
    pub fn options(mut self, options: RpcOptions) -> Self {
        self.options = options;
        self
    }

    /// Where answers may go, instead of [`default_reply_guard`].
    #[must_use]
    pub fn reply_guard(mut self, guard: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.guard = Arc::new(guard);
        self
    }

    /// Serves requests.
    #[must_use]
    pub fn method(mut self, method: Method, handler: Handler<E>) -> Self {
        self.methods.push((method, handler));
        self
    }

    /// Handles publishes, in order.
    #[must_use]
    pub fn on_publish(mut self, topic: Topic, handler: PublishHandler) -> Self {
        self.topics.push((topic, handler));
        self
    }

    /// Subscribes to everything; when it returns the NATS server routes requests here.
    pub async fn start(self) -> Result<RpcServer, StartError> {
        let server = RpcServer {
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let guard = server.stop.clone().drop_guard();
        for (method, handler) in self.methods {
            let queue = method.queue.clone();
            let subjects = method.subjects.clone();
            let name: Arc<str> = method.name.into();
            let max_in_flight = method.max_in_flight.unwrap_or(self.options.max_in_flight).max(1);
            let runtime = Arc::new(MethodRuntime {
                metrics: MethodMetrics::new(&name, &self.stats),
                name,
                client: self.nats.client().clone(),
                handler,
                faults: self.faults.clone(),
                guard: self.guard.clone(),
                slots: Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS))),
                max_in_flight,
                max_body_bytes: method.max_body_bytes.unwrap_or(self.options.max_body_bytes),
                deadline: method.deadline.unwrap_or(self.options.deadline),
                reply_timeout: self.options.reply_timeout,
                tasks: server.tasks.clone(),
                abandon: server.abandon.clone(),
            });
            for subject in subjects {
                let mut intake = server.intake(&self.nats, &subject, queue.clone()).await?;
                let runtime = runtime.clone();
                server.tasks.spawn(async move {
                    while let Some(message) = intake.next().await {
                        runtime.accept(message).await;
                    }
                });
            }
        }
        for (topic, handler) in self.topics {
            let intake = server.intake(&self.nats, &topic.subject, topic.queue).await?;
            let name: Arc<str> = topic.name.into();
            let runtime = TopicRuntime {
                metrics: MethodMetrics::new(&name, &self.stats),
                name,
                handler,
                deadline: topic.deadline.unwrap_or(self.options.deadline),
                abandon: server.abandon.clone(),
            };
            server.tasks.spawn(runtime.serve(intake));
        }
        self.nats.round_trip(self.options.start_timeout).await.map_err(StartError::Confirm)?;
        guard.disarm();
        Ok(server)
    }
}

/// A running server. Dropping it leaves it running; stop it with [`RpcServer::shutdown`].
#[derive(Debug)]
pub struct RpcServer {
    stop: CancellationToken,
    abandon: CancellationToken,
    tasks: TaskTracker,
}

impl RpcServer {
    /// A server on a connection. `faults` gives the bodies that answer what fails outside handlers.
    pub fn builder<E: ErrorReply>(
        nats: &Nats,
        stats: &Stats,
        faults: impl Fn(&str, Fault) -> E + Send + Sync + 'static,
    ) -> RpcServerBuilder<E> {
        RpcServerBuilder {
            nats: nats.clone(),
            stats: stats.clone(),
            options: RpcOptions::default(),
            faults: Arc::new(faults),
            guard: default_reply_guard(),
            methods: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// Stops intake, waits for calls in flight, cuts them off (and answers them) at the soft deadline, gives up
    /// at the hard one. Flush and close the connection afterwards. Assumes that the stop was requested.
    pub async fn shutdown(&self, shutdown: &Shutdown) -> Drained {
        self.stop.cancel();
        self.tasks.close();
        let mut cut_off = 0;
        tokio::select! {
            biased;
            () = self.tasks.wait() => {}
            () = shutdown.soft_deadline() => {
                cut_off = self.tasks.len();
                self.abandon.cancel();
                shutdown.bounded(self.tasks.wait()).await;
            }
        }
        Drained { cut_off, left: self.tasks.len() }
    }

    async fn intake(&self, nats: &Nats, subject: &str, queue: Option<String>) -> Result<Intake, StartError> {
        let client = nats.client();
        let subscription: Result<Subscriber, _> = match queue {
            Some(queue) => client.queue_subscribe(subject.to_owned(), queue).await,
            None => client.subscribe(subject.to_owned()).await,
        };
        let subscription =
            subscription.map_err(|source| StartError::Subscribe { subject: subject.to_owned(), source })?;
        Ok(Intake::new(nats, subscription, self.stop.child_token()))
    }
}
