//! Presence: register, hello, goodbye.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use agentnet_proto::{
    AccountId, Clock, IdGen, Security, Subject,
    rpc::{AgentInfo, Goodbye, ListRequest, RegisterRequest, RegisterResponse, RpcMethod},
    schema_version,
    signature::Purpose,
};
use tokio::time::Instant;

use super::{Config, Inner};
use crate::{
    auth::{Auth, Registrant},
    error::{Error, ErrorKind},
    identity::Identity,
    registry::RegistryClient,
    send::Extras,
};

/// What the registry gave us.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) tag: Arc<str>,
    pub(super) username: String,
    pub(super) heartbeat: Duration,
}

/// Shortest heartbeat, as in the original.
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);
/// Longest heartbeat taken from a registry: a wrong answer must not silence the node.
const MAX_HEARTBEAT: Duration = Duration::from_secs(3600);

impl Session {
    pub(super) fn of(answer: &RegisterResponse, fallback: Duration) -> Self {
        let heartbeat = Duration::try_from_secs_f64(answer.heartbeat_interval)
            .ok()
            .filter(|d| !d.is_zero())
            .unwrap_or(fallback)
            .clamp(MIN_HEARTBEAT, MAX_HEARTBEAT);
        Self { tag: answer.session_tag.as_str().into(), username: answer.username.clone(), heartbeat }
    }
}

/// Registers; `account` is the account of an earlier registration, to stay the same agent.
pub(super) async fn register(
    config: &Config,
    registry: &RegistryClient,
    auth: &Auth,
    account: Option<&AccountId>,
    clock: &dyn Clock,
    ids: &dyn IdGen,
) -> Result<(AccountId, RegisterResponse), Error> {
    let account_id = account.map(ToString::to_string).or_else(|| config.account_id.clone());
    // An identity that was chosen is more than the role it is used in.
    let identity = config.identity.as_ref().map(|identity| identity.name().to_owned());
    let username = config.username.clone().or(identity).or_else(|| config.identity_name.clone());
    let request = RegisterRequest {
        agent_id: config.agent_id.clone(),
        name: config.name.clone(),
        username: username.clone(),
        account_id: account_id.clone(),
        capabilities: config.capabilities.clone(),
        metadata: config.metadata.clone(),
        guest: config.identity.as_ref().is_some_and(Identity::is_guest),
        enrolment_token: config.enrolment_token.clone(),
        auth: auth.register_block(
            Registrant {
                agent_id: &config.agent_id,
                name: &config.name,
                username: username.as_deref(),
                account_id: account_id.as_deref(),
            },
            clock,
            ids,
        ),
        schema_version: Some(schema_version::CURRENT.to_owned()),
    };
    let answer = registry.register(&request).await?;
    let account = AccountId::new(answer.account_id.clone())
        .map_err(|code| Error::of(code, "the registry gave an account id that can't be addressed"))?;
    Ok((account, answer))
}

/// How long a start goes on asking a registry that says it has too much to do.
const BUSY_PATIENCE: Duration = Duration::from_secs(20);
/// First pause before it asks again; it doubles.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// [`register`], again while the registry answers that too many register at once.
pub(super) async fn register_patiently(
    config: &Config,
    registry: &RegistryClient,
    auth: &Auth,
    clock: &dyn Clock,
    ids: &dyn IdGen,
) -> Result<(AccountId, RegisterResponse), Error> {
    let give_up = Instant::now() + BUSY_PATIENCE;
    let mut pause = BUSY_PAUSE;
    loop {
        let error = match register(config, registry, auth, None, clock, ids).await {
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::RateLimited) => error,
            done => return done,
        };
        // At random, so that those who were turned away together don't come back together.
        let wait = pause.mul_f64(rand::random_range(0.5..=1.0));
        if Instant::now() + wait >= give_up {
            return Err(error);
        }
        tracing::debug!(%error, ?wait, "the registry has too much to do; asking again");
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(BUSY_PAUSE_MAX);
    }
}

impl Inner {
    pub(super) fn heartbeat(&self) -> Duration {
        self.session.read().unwrap_or_else(PoisonError::into_inner).heartbeat
    }

    /// Says that the session is here.
    pub(super) async fn hello(&self) -> Result<(), Error> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner).clone();
        let info = AgentInfo {
            agent_id: self.config.agent_id.clone(),
            name: self.config.name.clone(),
            capabilities: self.config.capabilities.clone(),
            metadata: self.config.metadata.clone(),
            account_id: Some(self.account.to_string()),
            username: Some(session.username),
            session_tag: Some(session.tag.to_string()),
            last_seen: Some(self.clock.now().to_string()),
            schema_version: Some(schema_version::CURRENT.to_owned()),
        };
        self.presence(RpcMethod::Hello, &Purpose::Hello, serde_json::to_vec(&info)).await
    }

    pub(super) async fn goodbye(&self) -> Result<(), Error> {
        let goodbye = Goodbye {
            agent_id: self.config.agent_id.clone(),
            session_tag: self.session_tag().to_string(),
            seen_at: self.clock.now().to_string(),
        };
        self.presence(RpcMethod::Goodbye, &Purpose::Goodbye, serde_json::to_vec(&goodbye)).await
    }

    async fn presence(
        &self,
        method: RpcMethod,
        purpose: &Purpose<'_>,
        body: serde_json::Result<Vec<u8>>,
    ) -> Result<(), Error> {
        let body = body.map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, "the agent's metadata can't be written as JSON")
                .source_of(e)
        })?;
        let deadline = Instant::now() + Duration::from_secs(1);
        let subject = match self.auth.security() {
            Security::Secure => Subject::RegistryAs(method, self.account.clone()),
            Security::Open | Security::Signed => Subject::Registry(method),
        };
        let signature = self.auth.signature(purpose, &body);
        self.publish(subject.to_string(), Extras { reply: None, signature }, body.into(), deadline).await
    }

    /// Registers again if the registry doesn't know the session any more; whether that is settled.
    pub(super) async fn reregister_if_lost(&self) -> bool {
        let mine = self.session_tag();
        let request = ListRequest {
            account_id: Some(self.account.to_string()),
            limit: Some(1000),
            ..Default::default()
        };
        match self.registry.list(&request).await {
            // The hello right after the reconnect may have been sent before the registry was back too, and what waits
            // for us waits for a hello.
            Ok(answer) if answer.agents.iter().any(|a| a.session_tag.as_deref() == Some(&mine)) => {
                return self.hello().await.is_ok();
            }
            // There may be more sessions than one page: not finding ours says nothing then.
            Ok(answer) if answer.next_cursor.is_some() => return true,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "whether the session is still known couldn't be found out");
                return false;
            }
        }
        match self.register_again().await {
            Ok(()) => self.hello().await.is_ok(),
            Err(error) => {
                tracing::warn!(%error, "could not register again; trying on");
                false
            }
        }
    }

    /// Opens another session of the same account, which the node goes on as.
    pub(super) async fn register_again(&self) -> Result<(), Error> {
        let (clock, ids) = (self.clock.as_ref(), self.ids.as_ref());
        let (account, answer) =
            register(&self.config, &self.registry, &self.auth, Some(&self.account), clock, ids).await?;
        if account != self.account {
            let detail = format!("the registry gave the account {account} instead of {}", self.account);
            return Err(Error::new(ErrorKind::Auth, detail));
        }
        tracing::info!(%account, session = answer.session_tag, "registered again");
        self.metrics.registrations.up();
        let session = Session::of(&answer, self.config.heartbeat);
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
        self.blocks.changed();
        Ok(())
    }
}
