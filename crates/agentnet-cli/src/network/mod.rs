//! Which network a command talks to, and the connection to it.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

pub use agentnet::connect::context;
use agentnet::{
    AgentNode, AgentNodeBuilder, ErrorKind, Identity, IdentityStore, RegistryClient, Signer,
    connect::{Connection, KeyDoor, LOCAL_NATS_URL, NatsSettings, URL_VARIABLES, connect, enters_with_key},
    proto::{AccountId, Security},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{net::TcpStream, time::timeout};

use crate::{failure::Failure, output::style};
use context::{Context, UserIdentity};

/// How long connecting may take. A server that refuses is noticed at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The role in which a person gets their account.
const PERSON: &str = "cli";
/// How long closing may take; what was asked is answered by then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who named the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `--nats-url`.
    Flag,
    /// This variable.
    Environment(&'static str),
    /// The file of a running `agentnet up`.
    Context {
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// `agentnet attach`.
    Attached,
    /// Nobody. `stale` is when an `agentnet up` that no longer runs was started.
    Default {
        /// ISO 8601.
        stale: Option<String>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("--nats-url"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Context { data_dir } => write!(f, "`agentnet up` in {}", data_dir.display()),
            Self::Attached => f.write_str("`agentnet attach`"),
            Self::Default { .. } => f.write_str("the default"),
        }
    }
}

/// The network a command talks to. `Debug` hides the token.
#[derive(Debug, Clone)]
pub struct Network {
    /// URL of NATS.
    pub url: SecretString,
    /// Who named it.
    pub source: Source,
    /// The mode that was asked for; else it follows from the rest.
    pub security: Option<Security>,
    /// Who the command speaks as where that takes a key; else the person's own identity.
    pub who: Option<UserIdentity>,
    /// The guest that the command speaks as, instead of anybody that there is.
    pub guest: Option<Identity>,
}

impl Network {
    /// Finds the network as agents do: the flag, the environment, the file of a running `agentnet up`, the default.
    ///
    /// # Errors
    /// `context_unreadable` for a context file that is damaged or belongs to somebody else.
    pub fn find(flag: Option<&str>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let security = told_security(lookup)?;
        // Also when it is named by its URL, the person of one's own network is who speaks there.
        let who = |url: &str| {
            let up = context::running(lookup)?;
            let servers = |url: &str| NatsSettings::from_url(url).ok().map(|settings| settings.servers);
            up.identity.filter(|_| servers(&up.nats_url) == servers(url))
        };
        let named =
            |url: &str, source| Ok(Self { url: url.into(), source, security, who: who(url), guest: None });
        if let Some(url) = flag {
            return named(url, Source::Flag);
        }
        for variable in URL_VARIABLES {
            if let Some(url) = lookup(variable) {
                return named(&url, Source::Environment(variable));
            }
        }
        let (last, running) = read_context(lookup)?;
        match running {
            Some(context) => {
                let source = match context.pid {
                    context::ELSEWHERE => Source::Attached,
                    _ => Source::Context { data_dir: context.data_dir },
                };
                let url = context.nats_url.into();
                Ok(Self { url, source, security, who: context.identity, guest: None })
            }
            None => named(LOCAL_NATS_URL, Source::Default { stale: last.map(|context| context.started_at) }),
        }
    }

    /// An agent on this network, with what a person's agent needs to get in.
    ///
    /// # Errors
    /// `identity_*` where it takes a key that can't be used; an unusable URL.
    pub fn agent(&self, agent_id: &str) -> Result<AgentNodeBuilder, Failure> {
        let builder = AgentNode::builder(agent_id).nats_url(self.url.expose_secret());
        if !self.takes_a_key(&self.settings(agent_id)?) {
            let builder = match self.security {
                Some(security) => builder.security(security),
                None => builder,
            };
            if let Some(guest) = &self.guest {
                return Ok(builder.identity(guest.clone()));
            }
            return Ok(match &self.who {
                // One that was named; that of the running network is for its secure mode.
                Some(who) if who.dir.as_os_str().is_empty() => builder.identity_name(&who.name),
                _ => builder,
            });
        }
        Ok(builder.security(Security::Secure).identity(self.identity()?))
    }

    /// Connects, and says what to do when that fails. `name` is the connection's, for operators.
    ///
    /// # Errors
    /// `nats_unavailable`, at once when nobody listens there; a refusal of the token or key; an unusable URL; `identity_*`.
    pub async fn connect(&self, name: &str) -> Result<Link, Failure> {
        let settings = self.settings(name)?;
        if nobody_listens(&settings).await {
            let detail = format!("nobody listens at {}", settings.redacted());
            return Err(self.unavailable("nats_unavailable", detail));
        }
        if self.takes_a_key(&settings) {
            return self.connect_with_key(&settings, &self.identity()?, true).await;
        }
        let connection = connect(&settings).await.map_err(|error| self.refused(&settings, &error))?;
        Ok(Link { registry: RegistryClient::over(&connection), connection, signer: None })
    }

    /// As [`Self::connect`], as somebody in particular who has an account already.
    ///
    /// # Errors
    /// As [`Self::connect`]; `identity_unknown_to_network`.
    pub async fn connect_as(&self, name: &str, identity: &Identity) -> Result<Link, Failure> {
        let settings = self.settings(name)?;
        if self.takes_a_key(&settings) {
            return self.connect_with_key(&settings, identity, false).await;
        }
        self.connect(name).await?.signed_by(identity).await
    }

    async fn connect_with_key(
        &self,
        settings: &NatsSettings,
        identity: &Identity,
        may_register: bool,
    ) -> Result<Link, Failure> {
        let open = async || {
            let door = KeyDoor::open(settings, identity.key()).await?;
            let network = door.registry().network().await?;
            Ok::<_, agentnet::Error>((door, network))
        };
        let opened = open().await.map_err(|error| self.refused(settings, &error))?;
        let (door, network) = match opened {
            (door, network) if network.account.is_none() => {
                door.close().await;
                if !may_register {
                    return Err(Failure::local(
                        "identity_unknown_to_network",
                        format!("no account of this network knows the key of {}", identity.name()),
                        "an agent that registers with it gets a new account",
                    ));
                }
                // An agent's registration makes the account, and its goodbye leaves nobody online.
                self.agent(PERSON)?.start().await?.close().await?;
                open().await.map_err(|error| self.refused(settings, &error))?
            }
            opened => opened,
        };
        let unreadable = |what: &str| {
            Failure::local(
                "registry_failed",
                format!("the registry answered no {what}"),
                "are its version and this one's alike?",
            )
        };
        let account = network.account.and_then(|account| AccountId::new(account.account_id).ok());
        let account = account.ok_or_else(|| unreadable("account id"))?;
        let deployment = network.deployment.parse().map_err(|_| unreadable("network's name"))?;
        let connection = door.enter(&account).await.map_err(|error| self.refused(settings, &error))?;
        let signer = Some(Arc::new(Signer::new(identity, deployment)));
        let registry = RegistryClient::over(&connection).as_account(account);
        Ok(Link { connection, registry, signer })
    }

    fn settings(&self, name: &str) -> Result<NatsSettings, Failure> {
        let mut settings = NatsSettings::from_url(self.url.expose_secret())
            .map_err(|error| Failure::local(error.code(), error.detail(), self.hint()))?
            .named(name);
        settings.connect_timeout = CONNECT_TIMEOUT;
        Ok(settings)
    }

    fn takes_a_key(&self, settings: &NatsSettings) -> bool {
        enters_with_key(self.security, settings, &crate::command::environment)
    }

    /// Who the command speaks as: made on first use, without questions.
    fn identity(&self) -> Result<Identity, Failure> {
        if let Some(guest) = &self.guest {
            return Ok(guest.clone());
        }
        let password = agentnet::identity::password_from_env();
        let (store, name) = match &self.who {
            Some(who) if !who.dir.as_os_str().is_empty() => (IdentityStore::new(&who.dir), who.name.clone()),
            Some(who) => (IdentityStore::from_env()?, who.name.clone()),
            None => (IdentityStore::from_env()?, person(&crate::command::environment)),
        };
        Ok(store.open_or_create(&name, password.as_ref())?)
    }

    fn refused(&self, settings: &NatsSettings, error: &agentnet::Error) -> Failure {
        match error.kind() {
            ErrorKind::Auth if self.takes_a_key(settings) => Failure::local(
                error.code(),
                error.detail().to_owned(),
                "an operator can say more: `agentnet profile`",
            ),
            ErrorKind::Auth => Failure::local(
                "nats_refused",
                format!("the NATS server at {} refused the token or password", settings.redacted()),
                format!("the network was named by {}: check the part before the @", self.source),
            ),
            _ => self.unavailable(error.code(), error.detail().to_owned()),
        }
    }

    fn unavailable(&self, code: &str, detail: String) -> Failure {
        Failure::Refused { code: code.to_owned(), detail, hint: self.hint(), retryable: true }
    }

    /// What to do when the network can't be reached.
    fn hint(&self) -> String {
        match &self.source {
            Source::Flag => "check --nats-url, or start a network with `agentnet up`".to_owned(),
            Source::Environment(variable) => {
                format!("check {variable}, or unset it and start a network with `agentnet up`")
            }
            Source::Context { data_dir } => {
                format!(
                    "`agentnet up` in {} is starting or in trouble: look at its terminal",
                    data_dir.display()
                )
            }
            Source::Attached => {
                "start the network that was attached, or forget it with `agentnet detach`".to_owned()
            }
            Source::Default { stale: Some(since) } => format!(
                "the `agentnet up` started at {} has ended: start it again, or name a network with --nats-url",
                crate::output::time::date_time(since)
            ),
            Source::Default { stale: None } => {
                "start a network with `agentnet up`, or name one with --nats-url".to_owned()
            }
        }
    }
}

/// The mode that the environment asks for.
fn told_security(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<Security>, Failure> {
    let Some(word) = lookup("AGENTNET_SECURITY") else { return Ok(None) };
    let told = word.parse::<Security>().map_err(|error| {
        let detail = format!("AGENTNET_SECURITY can't be used: {error}");
        Failure::local("usage", detail, "set it to one of the three, or unset it")
    })?;
    Ok(Some(told))
}

/// What a person's identity is called unless they say: as the system calls them.
pub fn person(lookup: &dyn Fn(&str) -> Option<String>) -> String {
    ["USER", "LOGNAME"].into_iter().find_map(lookup).unwrap_or_else(|| "operator".to_owned())
}

/// What the last `agentnet up` wrote, and the network that runs.
fn read_context(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(Option<Context>, Option<Context>), Failure> {
    let Some(path) = context::path(lookup) else { return Ok((None, None)) };
    let last = context::read(&path).map_err(|error| {
        Failure::local(
            "context_unreadable",
            format!("{} can't be read: {error}", path.display()),
            "remove it, or name the network with --nats-url",
        )
    })?;
    let running = last.clone().and_then(Context::living);
    Ok((last, running))
}

/// Whether every server refuses connections outright: waiting would not help a person.
async fn nobody_listens(settings: &NatsSettings) -> bool {
    for server in &settings.servers {
        let host = server.host.trim_start_matches('[').trim_end_matches(']');
        match timeout(CONNECT_TIMEOUT, TcpStream::connect((host, server.port))).await {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            _ => return false,
        }
    }
    true
}

/// A connection of a command.
#[derive(Debug, Clone)]
pub struct Link {
    connection: Connection,
    registry: RegistryClient,
    signer: Option<Arc<Signer>>,
}

impl Link {
    /// The registry on this network.
    pub fn registry(&self, within: Duration) -> RegistryClient {
        let registry = self.registry.clone().with_timeout(within);
        match &self.signer {
            Some(signer) => registry.signed_by(Arc::clone(signer)),
            None => registry,
        }
    }

    /// The same, asking as an identity.
    ///
    /// # Errors
    /// That the network doesn't say its name.
    pub async fn signed_by(mut self, identity: &Identity) -> Result<Self, Failure> {
        let network = self.registry(CONNECT_TIMEOUT).network().await?;
        let deployment = network.deployment.parse().map_err(|_| {
            Failure::local(
                "registry_failed",
                "the registry answered no network's name",
                "are all of one version?",
            )
        })?;
        self.signer = Some(Arc::new(Signer::new(identity, deployment)));
        Ok(self)
    }

    /// Who asks, if that is signed.
    pub fn signer(&self) -> Option<&Arc<Signer>> {
        self.signer.as_ref()
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Closes the connection. What failed by now matters to nobody.
    pub async fn close(self) {
        let _ = self.connection.close(CLOSE_TIMEOUT).await;
    }
}

/// One dim line that says which network is used, for `-v`.
pub fn describe(network: &Network) -> String {
    let servers = NatsSettings::from_url(network.url.expose_secret())
        .map_or_else(|_| "an unusable URL".to_owned(), |settings| settings.redacted());
    style::paint(style::DIM, format_args!("network: {servers}, named by {}", network.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_context(dir: &std::path::Path, pid: u32) -> String {
        let path = dir.join("context.json");
        let context = Context {
            nats_url: "nats://ctx@127.0.0.1:1".to_owned(),
            mode: "open".to_owned(),
            identity: None,
            enrolment_token: None,
            data_dir: "/data".into(),
            pid,
            started_at: "2026-11-21T10:00:00Z".to_owned(),
            process_started: None,
            before: None,
        };
        context::write(&path, &context).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn find(flag: Option<&str>, env: Option<&str>, file: &str) -> Network {
        find_among(flag, env, None, file)
    }

    fn find_among(flag: Option<&str>, env: Option<&str>, services: Option<&str>, file: &str) -> Network {
        let lookup = |name: &str| match name {
            "AGENTNET_NATS_URL" => env.map(str::to_owned),
            "NATS_URL" => services.map(str::to_owned),
            context::PATH_VARIABLE => Some(file.to_owned()),
            _ => None,
        };
        Network::find(flag, &lookup).unwrap()
    }

    #[test]
    fn the_order_is_flag_environment_file_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = write_context(dir.path(), std::process::id());
        let found = find(Some("nats://flag@h:1"), Some("nats://env@h:1"), &file);
        assert_eq!((found.url.expose_secret(), found.source), ("nats://flag@h:1", Source::Flag));
        let found = find(None, Some("nats://env@h:1"), &file);
        assert_eq!(found.url.expose_secret(), "nats://env@h:1");
        assert_eq!(found.source, Source::Environment("AGENTNET_NATS_URL"));
        let found = find_among(None, None, Some("nats://services@h:1"), &file);
        assert_eq!(found.url.expose_secret(), "nats://services@h:1");
        assert_eq!(found.source, Source::Environment("NATS_URL"));
        let found = find(None, None, &file);
        assert_eq!(found.url.expose_secret(), "nats://ctx@127.0.0.1:1");
        assert_eq!(found.source, Source::Context { data_dir: "/data".into() });
        let found = find(None, None, "/nowhere/context.json");
        assert_eq!(found.url.expose_secret(), LOCAL_NATS_URL);
        assert_eq!(found.source, Source::Default { stale: None });
    }

    #[test]
    fn a_dead_network_is_named_in_the_hint() {
        let dir = tempfile::tempdir().unwrap();
        let found = find(None, None, &write_context(dir.path(), 4_194_999));
        assert_eq!(found.url.expose_secret(), LOCAL_NATS_URL);
        assert!(found.hint().contains("2026-11-21 10:00:00 has ended"), "{}", found.hint());
    }

    #[test]
    fn a_damaged_file_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.json");
        std::fs::write(&path, "{").unwrap();
        let path = path.to_string_lossy().into_owned();
        let lookup = |name: &str| (name == context::PATH_VARIABLE).then(|| path.clone());
        let failure = Network::find(None, &lookup).unwrap_err();
        assert_eq!(failure.code(), "context_unreadable");
        assert!(failure.hint().contains("remove it"));
    }

    #[tokio::test]
    async fn nobody_there_is_said_at_once_without_the_token() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("nats://s3cret@127.0.0.1:{port}");
        let started = std::time::Instant::now();
        let network = find(Some(&url), None, "/nowhere");
        let failure = network.connect("test").await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!((failure.code(), failure.exit_code()), ("nats_unavailable", 2));
        assert!(!format!("{failure:?} {network:?} {}", describe(&network)).contains("s3cret"));
    }
}
