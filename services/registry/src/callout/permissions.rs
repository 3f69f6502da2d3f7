//! Who may publish and subscribe what in secure mode: one table.
//!
//! | role | publishes | subscribes |
//! |---|---|---|
//! | agent | mail, receipts, replies and stream parts to anyone, resends, `registry.*.<own id>`, `registry.{network,register}.<own key>` | its own mail, `_INBOX.<own id>.>`, `_INBOX.<own key>.>`, key events, its capabilities with their queue group |
//! | operator | as an agent | as an agent; everyone's inboxes, receipts and streams, capabilities, all events |
//! | registry | answers, redeliveries, notices, events, the JetStream subjects of the blobs' bucket | `registry.>`, events, [`super::SUBJECT`] |
//! | gateway | the few requests of [`GATEWAY_METHODS`] under its own id, stream parts to itself | its own mail, `_INBOX.<own id>.>`, `_INBOX.<own key>.>`, public events |
//! | persister | notices, and the few JetStream subjects of its stream and consumer | its inbox, news of keys |
//! | system | the request that ends a connection | its inbox |
//! | unknown key | `registry.{network,register}.<its key>` | `_INBOX.<its key>.>` |
//!
//! Every key may ask on its own nkey which account it speaks for: that is how a client learns its account id, which its
//! reply subjects need.
//! An agent's own mail is `account.<id>.>`: no wildcard in place of the id fits into that, so nobody reads another's.
//! A capability comes with its queue group, or a holder could take copies of what others are given.

use agentnet_proto::signature::PublicKey;
use agentnet_proto::subject::{
    ALL_BLOCKS, ALL_CAPABILITIES, ALL_EVENTS, ALL_INBOXES, ALL_RECEIPTS, ALL_REDELIVERIES, ALL_REPLIES,
    ALL_REQUESTS, ALL_STORED, ALL_STREAMS, ALL_TASKS, ALL_THREADS, AUTH_CALLOUT_REPLIES, AccountId,
    Capability, EACH_EVENT, EventType, LEGACY_REPLY_INBOXES, PERSISTER_INBOX, REGISTRY_INBOX, RESEND,
    SYSTEM_INBOX, Subject, below, blob_api, blob_chunks, blob_entry, consumer_acks, consumer_api,
    inbox_prefix, kick, stream_api,
};
use agentnet_proto::{ErrorCode, rpc::RpcMethod};
use serde::Serialize;

/// What the gateway may ask in its own name. Everything for an account it does over that account's own connection.
pub const GATEWAY_METHODS: [RpcMethod; 22] = [
    RpcMethod::UserCreate,
    RpcMethod::UserLogin,
    RpcMethod::UserRefresh,
    RpcMethod::UserLogout,
    RpcMethod::UserSession,
    RpcMethod::ApiKeyLogin,
    RpcMethod::WsTicketCreate,
    RpcMethod::WsTicketRedeem,
    RpcMethod::TokenKeys,
    // What it posts for agents that come in over HTTP, and what it watches for all who do.
    RpcMethod::WebhookClaim,
    RpcMethod::WebhookReport,
    RpcMethod::Feed,
    // What a session of its own takes.
    RpcMethod::Network,
    RpcMethod::Register,
    RpcMethod::Hello,
    RpcMethod::Goodbye,
    RpcMethod::ResolveAccount,
    RpcMethod::ResolveKey,
    RpcMethod::List,
    RpcMethod::Search,
    RpcMethod::Profile,
    RpcMethod::Metrics,
];
/// Most capabilities of one account; more is an error of whoever looked them up.
const MAX_CAPABILITIES: usize = 256;
/// What a key may ask before it has an account.
const BOOTSTRAP: [RpcMethod; 2] = [RpcMethod::Network, RpcMethod::Register];
/// An unknown key asks and hears one answer at a time.
const UNKNOWN_SUBSCRIPTIONS: i64 = 2;
/// Longest register request, in bytes.
const UNKNOWN_PAYLOAD: i64 = 64 * 1024;
const UNLIMITED: i64 = -1;

/// What every agent may write to. Recipients and the persister check who says it.
const AGENT_PUBLISH: [&str; 6] =
    [ALL_INBOXES, ALL_RECEIPTS, ALL_REPLIES, ALL_STREAMS, ALL_CAPABILITIES, RESEND];
const OPERATOR_SUBSCRIBE: [&str; 5] = [ALL_INBOXES, ALL_RECEIPTS, ALL_STREAMS, ALL_CAPABILITIES, ALL_EVENTS];
/// Without its own inbox, which is there for its health, a round trip to itself, and the stream's figures.
const REGISTRY_PUBLISH: [&str; 10] = [
    LEGACY_REPLY_INBOXES,
    AUTH_CALLOUT_REPLIES,
    ALL_INBOXES,
    ALL_REDELIVERIES,
    ALL_BLOCKS,
    ALL_STORED,
    ALL_TASKS,
    ALL_THREADS,
    ALL_CAPABILITIES,
    EACH_EVENT,
];
const REGISTRY_SUBSCRIBE: [&str; 3] = [ALL_REQUESTS, ALL_EVENTS, super::SUBJECT];

/// A service of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The registry's replicas.
    Registry,
    /// The persister's replicas.
    Persister,
    /// The registry's second connection, in the server's system account, which ends connections.
    System,
}

/// What a key speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// An account.
    Agent {
        /// Its id.
        account: &'a AccountId,
        /// The key that was proved.
        key: &'a PublicKey,
        /// What it may receive: its open capabilities, and the restricted ones it was granted.
        capabilities: &'a [Capability],
    },
    /// An account that may watch.
    Operator {
        /// Its id.
        account: &'a AccountId,
        /// The key that was proved.
        key: &'a PublicKey,
        /// As an agent's.
        capabilities: &'a [Capability],
    },
    /// The gateway's own account, which logs people in and reads public events.
    Gateway {
        /// Its id.
        account: &'a AccountId,
        /// The key that was proved.
        key: &'a PublicKey,
    },
    /// A service.
    Service(Service),
    /// A key that is bound to no account.
    Unknown {
        /// The key, proved.
        key: &'a PublicKey,
    },
}

/// What a connection may do. Subjects of a subscription may name the queue group it needs, after a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects it may publish to, and nothing else.
    pub publish: Vec<String>,
    /// Subjects it may subscribe, and nothing else.
    pub subscribe: Vec<String>,
    /// Most subscriptions at once; -1 for any number.
    pub max_subscriptions: i64,
    /// Longest message in bytes; -1 for what the server allows.
    pub max_payload: i64,
}

impl Role<'_> {
    /// The table above.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidAccountId`] unless the account's id has the shape the registry gives out: any other could
    /// widen what is granted. [`ErrorCode::InvalidCapability`] for more than 256 of them.
    pub fn permissions(&self) -> Result<Permissions, ErrorCode> {
        match self {
            Self::Agent { account, key, capabilities } => agent(account, key, capabilities),
            Self::Operator { account, key, capabilities } => {
                let mut permissions = agent(account, key, capabilities)?;
                permissions.subscribe.extend(OPERATOR_SUBSCRIBE.map(str::to_owned));
                Ok(permissions)
            }
            Self::Gateway { account, key } => {
                let account = canonical(account)?;
                let events = [
                    EventType::Presence,
                    EventType::Accounts,
                    EventType::Keys,
                    EventType::Tasks,
                    EventType::Status,
                ];
                let requests = GATEWAY_METHODS.map(|method| format!("registry.{method}.{account}"));
                Ok(Permissions::new(
                    // A session of its own proves that it is there by a round trip to itself.
                    requests.into_iter().chain(bootstrap(key)).chain([format!("account.{account}.stream.*")]),
                    own_inboxes(account, key)
                        .into_iter()
                        .chain([format!("account.{account}.>")])
                        .chain(events.map(event)),
                ))
            }
            Self::Service(Service::Registry) => Ok(Permissions::new(
                REGISTRY_PUBLISH
                    .map(str::to_owned)
                    .into_iter()
                    .chain([below(REGISTRY_INBOX), stream_api("INFO")])
                    .chain(bucket()),
                REGISTRY_SUBSCRIBE.map(str::to_owned).into_iter().chain([below(REGISTRY_INBOX)]),
            )),
            Self::Service(Service::Persister) => Ok(persister()),
            Self::Service(Service::System) => Ok(Permissions::new([kick("*")], [below(SYSTEM_INBOX)])),
            Self::Unknown { key } => Ok(Permissions {
                max_subscriptions: UNKNOWN_SUBSCRIPTIONS,
                max_payload: UNKNOWN_PAYLOAD,
                ..Permissions::new(bootstrap(key), [below(&inbox_prefix(&key.to_nkey()))])
            }),
        }
    }
}

fn agent(
    account: &AccountId,
    key: &PublicKey,
    capabilities: &[Capability],
) -> Result<Permissions, ErrorCode> {
    let account = canonical(account)?;
    if capabilities.len() > MAX_CAPABILITIES {
        return Err(ErrorCode::InvalidCapability);
    }
    let own = [Subject::all_of(account), event(EventType::Keys)];
    let capabilities = capabilities.iter().map(|name| {
        let subject = Subject::Capability(name.clone());
        let group = subject.queue_group().unwrap_or_default();
        format!("{subject} {group}")
    });
    let publish = AGENT_PUBLISH.map(str::to_owned).into_iter();
    Ok(Permissions::new(
        publish.chain([Subject::registry_as(account)]).chain(bootstrap(key)),
        own_inboxes(account, key).into_iter().chain(own).chain(capabilities),
    ))
}

/// What the registry uses of the one bucket that holds blobs: chunks and names in, chunks out, both away.
fn bucket() -> impl Iterator<Item = String> {
    let stream = ["CREATE", "UPDATE", "INFO", "PURGE", "MSG.GET", "MSG.DELETE"];
    let stream = stream.map(|what| blob_api(&format!("STREAM.{what}")));
    stream.into_iter().chain([blob_api("DIRECT.GET"), blob_chunks("*"), blob_entry("*")])
}

/// The subjects that async-nats uses to make the stream and its consumer, pull, and acknowledge.
fn persister() -> Permissions {
    let stream = ["CREATE", "UPDATE", "INFO"].map(stream_api);
    let consumer = ["CREATE", "INFO", "MSG.NEXT"].map(consumer_api);
    let rest = [
        consumer_acks(),
        ALL_STORED.to_owned(),
        // Its health is a round trip to itself.
        below(PERSISTER_INBOX),
    ];
    Permissions::new(
        stream.into_iter().chain(consumer).chain(rest),
        [below(PERSISTER_INBOX), event(EventType::Keys)],
    )
}

fn canonical(account: &AccountId) -> Result<&AccountId, ErrorCode> {
    if account.is_canonical() { Ok(account) } else { Err(ErrorCode::InvalidAccountId) }
}

fn bootstrap(key: &PublicKey) -> [String; 2] {
    BOOTSTRAP.map(|method| Subject::registry_of_key(method, key))
}

fn own_inboxes(account: &AccountId, key: &PublicKey) -> [String; 2] {
    [below(&inbox_prefix(account.as_str())), below(&inbox_prefix(&key.to_nkey()))]
}

fn event(kind: EventType) -> String {
    Subject::Event(kind).to_string()
}

#[derive(Serialize)]
struct Allow<'a> {
    allow: &'a [String],
}

impl Permissions {
    fn new(publish: impl IntoIterator<Item = String>, subscribe: impl IntoIterator<Item = String>) -> Self {
        Self {
            publish: publish.into_iter().collect(),
            subscribe: subscribe.into_iter().collect(),
            max_subscriptions: UNLIMITED,
            max_payload: UNLIMITED,
        }
    }

    /// As the `permissions` of a user in the server's own configuration, for the services that stand there.
    #[must_use]
    pub fn to_config(&self) -> String {
        // The configuration's syntax takes JSON.
        let json = |subjects| serde_json::to_string(&Allow { allow: subjects }).unwrap_or_default();
        format!("{{ publish: {}, subscribe: {} }}", json(&self.publish), json(&self.subscribe))
    }
}

#[cfg(test)]
mod tests {
    use agentnet_proto::signature::SecretKey;
    use agentnet_proto::subject::{CAPTURED, Token};

    use super::*;

    const ID: &str = "acct_01kahj000000000000000000ab";
    const OTHER: &str = "acct_01kahj000000000000000000cd";

    fn account(text: &str) -> AccountId {
        AccountId::new(text).unwrap()
    }

    /// NATS' matching of a subject, or of a narrower pattern, against a pattern.
    fn covers(pattern: &str, subject: &str) -> bool {
        let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
        loop {
            match (pattern.next(), subject.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(token)) if token != ">" => {}
                (Some(want), Some(have)) if want == have => {}
                _ => return false,
            }
        }
    }

    fn may(list: &[String], subject: &str) -> bool {
        list.iter().any(|pattern| covers(pattern, subject))
    }

    #[test]
    fn the_table() {
        let (me, capabilities) = (account(ID), [Capability::new("weather").unwrap()]);
        let key = SecretKey::from_seed(&[1; 32]).verifying();
        let nkey = key.to_nkey();
        let role = Role::Agent { account: &me, key: &key, capabilities: &capabilities };
        let agent = role.permissions().unwrap();
        assert_eq!(
            agent.publish,
            [
                "account.*.inbox",
                "account.*.receipts",
                "account.*.replies.*",
                "account.*.stream.*",
                "agent.capability.*",
                "agentnet.resend",
                "registry.*.acct_01kahj000000000000000000ab",
                &format!("registry.network.{nkey}"),
                &format!("registry.register.{nkey}"),
            ]
        );
        assert_eq!(
            agent.subscribe,
            [
                "_INBOX.acct_01kahj000000000000000000ab.>",
                &format!("_INBOX.{nkey}.>"),
                "account.acct_01kahj000000000000000000ab.>",
                "agentnet.events.keys",
                "agent.capability.weather agentnet-capability-weather",
            ]
        );
        let role = Role::Operator { account: &me, key: &key, capabilities: &capabilities };
        let operator = role.permissions().unwrap();
        assert_eq!(operator.publish, agent.publish);
        assert_eq!(operator.subscribe[..5], agent.subscribe);
        assert_eq!(
            operator.subscribe[5..],
            [
                "account.*.inbox",
                "account.*.receipts",
                "account.*.stream.*",
                "agent.capability.*",
                "agentnet.events.>"
            ]
        );
        let unknown = Role::Unknown { key: &key }.permissions().unwrap();
        assert_eq!(
            unknown.publish,
            [format!("registry.network.{nkey}"), format!("registry.register.{nkey}")]
        );
        assert_eq!(unknown.subscribe, [format!("_INBOX.{nkey}.>")]);
        let system = Role::Service(Service::System).permissions().unwrap();
        assert_eq!(system.publish, ["$SYS.REQ.SERVER.*.KICK"]);
        assert_eq!(system.subscribe, ["_INBOX_system.>"]);
        assert_eq!((unknown.max_subscriptions, unknown.max_payload), (2, 65_536));
        let gateway = Role::Gateway { account: &me, key: &key }.permissions().unwrap();
        // No wildcard but behind its own name.
        for subject in gateway.publish.iter().chain(&gateway.subscribe) {
            let own = [format!(".{me}."), format!(".{nkey}.")];
            let is_own = own.iter().any(|own| subject.contains(own.as_str()));
            assert!(is_own || !subject.contains(['*', '>']), "{subject}");
        }
    }

    #[test]
    fn an_id_that_would_widen_a_permission_makes_none() {
        let key = SecretKey::from_seed(&[1; 32]).verifying();
        for bad in
            ["x", "acct_", "ACCT_01KAHJ000000000000000000AB", "registry", "acct_01KAHJ000000000000000000AB"]
        {
            let bad = account(bad);
            for role in [
                Role::Agent { account: &bad, key: &key, capabilities: &[] },
                Role::Operator { account: &bad, key: &key, capabilities: &[] },
                Role::Gateway { account: &bad, key: &key },
            ] {
                assert_eq!(role.permissions(), Err(ErrorCode::InvalidAccountId));
            }
        }
        let (me, many) = (account(ID), vec![Capability::new("x").unwrap(); 257]);
        let role = Role::Agent { account: &me, key: &key, capabilities: &many };
        assert_eq!(role.permissions(), Err(ErrorCode::InvalidCapability));
    }

    /// Every subject of the protocol, by who may publish and who may hear it.
    #[test]
    fn nobody_reads_or_says_what_is_anothers() {
        let (me, other, capability) = (account(ID), account(OTHER), Capability::new("weather").unwrap());
        let key = SecretKey::from_seed(&[1; 32]).verifying();
        let of = |role: Role<'_>| role.permissions().unwrap();
        let own_capability = std::slice::from_ref(&capability);
        let agent = of(Role::Agent { account: &me, key: &key, capabilities: own_capability });
        let operator = of(Role::Operator { account: &me, key: &key, capabilities: &[] });
        let gateway = of(Role::Gateway { account: &me, key: &key });
        let registry = of(Role::Service(Service::Registry));
        let persister = of(Role::Service(Service::Persister));
        let unknown = of(Role::Unknown { key: &key });
        let token = Token::new("t").unwrap();
        let own = [
            Subject::Inbox(me.clone()),
            Subject::Redelivery(me.clone()),
            Subject::Replies(me.clone(), token.clone()),
            Subject::Receipts(me.clone()),
            Subject::Stored(me.clone()),
            Subject::Tasks(me.clone()),
            Subject::Stream(me.clone(), token.clone()),
        ]
        .map(|subject| subject.to_string());
        assert!(own.iter().all(|subject| may(&agent.subscribe, subject)));
        let others = [
            Subject::Inbox(other.clone()),
            Subject::Redelivery(other.clone()),
            Subject::Replies(other.clone(), token.clone()),
            Subject::Receipts(other.clone()),
            Subject::Stored(other.clone()),
            Subject::Tasks(other.clone()),
            Subject::Stream(other.clone(), token),
            Subject::Resend,
            Subject::Event(EventType::Presence),
            Subject::Registry(RpcMethod::Register),
            Subject::RegistryAs(RpcMethod::Profile, other.clone()),
        ]
        .map(|subject| subject.to_string());
        let server =
            ["$SYS.REQ.USER.AUTH", "$JS.API.INFO", "$JS.API.STREAM.INFO.AGENTNET", "_INBOX.x", ">", "*"];
        let widened =
            ["account.>", "account.*.>", "account.*.stored", "_INBOX.>", "agent.capability.>", "agent.>"];
        for hidden in others.iter().map(String::as_str).chain(server).chain(widened) {
            for role in [&agent, &unknown, &persister] {
                assert!(!may(&role.subscribe, hidden), "{hidden} in {role:?}");
            }
        }
        // A capability of somebody else's, and one's own without the queue group.
        for hidden in ["agent.capability.other", "agent.capability.weather", "agent.capability.*"] {
            assert!(!may(&agent.subscribe, hidden) && !may(&gateway.subscribe, hidden), "{hidden}");
        }
        // What only the network says.
        for said in [
            Subject::Stored(other.clone()),
            Subject::Redelivery(other.clone()),
            Subject::Tasks(other.clone()),
            Subject::Event(EventType::Tasks),
            Subject::Event(EventType::Status),
            Subject::Event(EventType::Keys),
            Subject::Registry(RpcMethod::List),
            Subject::RegistryAs(RpcMethod::List, other.clone()),
        ] {
            for role in [&agent, &operator, &gateway, &unknown] {
                assert!(!may(&role.publish, &said.to_string()), "{said} in {role:?}");
            }
        }
        for role in [&agent, &operator, &gateway, &unknown] {
            for said in
                server.into_iter().chain(["_INBOX_registry.x", "$SYS._INBOX.x", "$SYS.REQ.SERVER.x.KICK"])
            {
                assert!(!may(&role.publish, said), "{said} in {role:?}");
            }
        }
        assert!(may(&agent.publish, &Subject::RegistryAs(RpcMethod::Hello, me).to_string()));
        assert!(CAPTURED.iter().all(|captured| may(&agent.publish, captured)));
        for mail in [Subject::Inbox(other), Subject::Capability(capability)] {
            assert!(!may(&gateway.publish, &mail.to_string()) && !may(&persister.publish, &mail.to_string()));
        }
        // The bytes of blobs: only the registry, and no other bucket or stream.
        for bucket in
            ["$O.agentnet_blobs.C.x", "$O.agentnet_blobs.M.eA==", "$JS.API.DIRECT.GET.OBJ_agentnet_blobs"]
        {
            assert!(may(&registry.publish, bucket), "{bucket}");
            for role in [&agent, &operator, &gateway, &persister, &unknown] {
                assert!(!may(&role.publish, bucket) && !may(&role.subscribe, bucket), "{bucket} in {role:?}");
            }
        }
        for other in
            ["$O.other.C.x", "$JS.API.STREAM.DELETE.OBJ_agentnet_blobs", "$JS.API.STREAM.PURGE.AGENTNET"]
        {
            assert!(!may(&registry.publish, other), "{other}");
        }
        assert!(!may(&registry.subscribe, "account.x.inbox"));
        // An empty list would mean everything.
        for role in [&agent, &operator, &gateway, &registry, &persister, &unknown] {
            assert!(!role.publish.is_empty() && !role.subscribe.is_empty());
            assert!(role.publish.iter().chain(&role.subscribe).all(|s| s != ">" && !s.is_empty()));
        }
    }
}
