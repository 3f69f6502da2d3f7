//! One session in memory, kept as the text that `registry.list` sends.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::envelope::CAPABILITY_PREFIX;
use agentnet_proto::rpc::AgentInfo;
use agentnet_proto::task::TaskOffer;
use agentnet_proto::{SubSystem, Timestamp, schema_version};
use agentnet_store::sessions::Session;
use serde_json::value::RawValue;

use super::table::Key;

/// Member of a session's metadata: `false` for one that takes no messages.
pub(crate) const TAKES_MAIL: &str = "takes_mail";

/// Where and when a session was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The registry that opened it.
    pub server_id: Arc<str>,
    /// When, by that registry's clock.
    pub at: Timestamp,
}

/// What a session offers to those who submit tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerInfo {
    /// How much of it.
    pub offer: TaskOffer,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What its metadata says under `agent_type`.
    pub agent_type: Option<String>,
    /// The same of `services`.
    pub services: Vec<String>,
    /// The same of `tags`.
    pub tags: Vec<String>,
}

impl WorkerInfo {
    fn of(info: &AgentInfo) -> Option<Arc<Self>> {
        let offer = TaskOffer::of_metadata(&info.metadata)?;
        let texts = |name: &str| {
            let items = info.metadata.get(name).and_then(|value| value.as_array());
            items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        Some(Arc::new(Self {
            offer,
            capabilities: info.capabilities.clone(),
            agent_type: info.metadata.get("agent_type").and_then(|value| value.as_str()).map(str::to_owned),
            services: texts("services"),
            tags: texts("tags"),
        }))
    }
}

/// What waits to be written about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    No,
    Touched,
    Changed,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The `AgentInfo` as JSON, without `last_seen` and the closing brace. Everything else about the agent is read
    /// back out of it, which happens rarely; listing happens often.
    body: Box<str>,
    pub(super) account_id: Option<Box<str>>,
    pub(super) capabilities: Box<[Box<str>]>,
    /// Types of the systems of its own that it tells of.
    pub(super) sub_systems: Box<[Box<str>]>,
    pub(super) opened: Opened,
    pub(super) last_seen: Timestamp,
    /// Milliseconds on the presence clock, negative for what was heard before the start.
    pub(super) heard: i64,
    /// False for what was silent for longer than the TTL when we started: kept, not shown.
    pub(super) shown: bool,
    pub(super) dirty: Dirty,
    /// Whether it knows what 1.2 added.
    pub(super) speaks_1_2: bool,
    /// Whether it has said hello since we know it.
    pub(super) greeted: bool,
    /// Whether messages can be delivered to it: those that others hold for somebody who comes in over HTTP take none.
    pub(super) takes_mail: bool,
    /// What it offers to those who submit tasks.
    pub(super) worker: Option<Arc<WorkerInfo>>,
}

/// What can't be read was refused at the door, or was there before that was watched.
fn sub_systems(info: &AgentInfo) -> Box<[Box<str>]> {
    let systems = SubSystem::all_of(&info.metadata).unwrap_or_default();
    systems.into_iter().map(|system| system.sub_system_type.into()).collect()
}

impl Entry {
    pub(super) fn new(info: &AgentInfo, opened: Opened, last_seen: Timestamp, heard: i64) -> Self {
        Self {
            body: encode(info),
            account_id: info.account_id.as_deref().map(Box::from),
            capabilities: info.capabilities.iter().map(|c| c.as_str().into()).collect(),
            sub_systems: sub_systems(info),
            opened,
            last_seen,
            heard,
            shown: true,
            dirty: Dirty::No,
            speaks_1_2: speaks_1_2(info),
            greeted: false,
            takes_mail: takes_mail(info),
            worker: WorkerInfo::of(info),
        }
    }

    /// Bytes that this entry adds, near enough.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
            + self.capabilities.iter().map(|c| c.len() + 16).sum::<usize>()
            + self.sub_systems.iter().map(|kind| kind.len() + 16).sum::<usize>()
            + 300
    }

    /// Takes a new description; whether it differs from the old one.
    pub(super) fn describe(&mut self, mut info: AgentInfo) -> bool {
        let complete = !info.name.is_empty() && info.account_id.is_some() && info.username.is_some();
        if !complete || info.schema_version.is_none() {
            // What a hello leaves out stays as it was.
            let old = self.info();
            if info.name.is_empty() {
                info.name = old.name;
            }
            info.account_id = info.account_id.or(old.account_id);
            info.username = info.username.or(old.username);
            info.schema_version = info.schema_version.or(old.schema_version);
        }
        let body = encode(&info);
        if body == self.body {
            return false;
        }
        self.body = body;
        self.account_id = info.account_id.as_deref().map(Box::from);
        self.capabilities = info.capabilities.iter().map(|c| c.as_str().into()).collect();
        self.sub_systems = sub_systems(&info);
        self.speaks_1_2 = speaks_1_2(&info);
        self.takes_mail = takes_mail(&info);
        self.worker = WorkerInfo::of(&info);
        true
    }

    /// What deliveries to this session may be addressed to.
    pub(super) fn recipients(&self) -> impl Iterator<Item = String> + '_ {
        let takes_mail = self.takes_mail;
        let capabilities = self.capabilities.iter().map(|name| format!("{CAPABILITY_PREFIX}{name}"));
        self.account_id.iter().map(|id| id.to_string()).chain(capabilities).filter(move |_| takes_mail)
    }

    /// The description, without `last_seen`.
    pub(super) fn info(&self) -> AgentInfo {
        // Written by `encode`, so it reads back; an empty description is the harmless alternative to a panic.
        serde_json::from_str(&format!("{}}}", self.body)).unwrap_or_default()
    }

    /// Appends the session as `registry.list` shows it.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        out.extend_from_slice(self.body.as_bytes());
        // A Vec refuses no write.
        let _ = write!(out, ",\"last_seen\":\"{}\"}}", self.last_seen);
    }

    /// Length of what [`Self::write_json`] appends, at most.
    pub(super) fn json_len(&self) -> usize {
        self.body.len() + 48
    }

    /// Appends the session as `registry.profile` shows it.
    pub(super) fn write_profile_json(&self, (agent_id, tag): &Key, out: &mut Vec<u8>) {
        #[derive(serde::Deserialize)]
        struct Told<'a> {
            #[serde(borrow)]
            capabilities: &'a RawValue,
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        #[derive(serde::Serialize)]
        struct Shown<'a> {
            session_tag: &'a str,
            agent_id: &'a str,
            server_id: &'a str,
            connected_at: Timestamp,
            last_seen: Timestamp,
            capabilities: &'a RawValue,
            metadata: &'a RawValue,
        }
        let body = format!("{}}}", self.body);
        // Written by `encode`, so it reads back; a session that didn't would still show who it is.
        let told = serde_json::from_str::<Told<'_>>(&body);
        let (capabilities, metadata) =
            told.map_or((RawValue::NULL, RawValue::NULL), |told| (told.capabilities, told.metadata));
        let shown = Shown {
            session_tag: tag,
            agent_id,
            server_id: &self.opened.server_id,
            connected_at: self.opened.at,
            last_seen: self.last_seen,
            capabilities,
            metadata,
        };
        // A Vec refuses no write.
        let _ = serde_json::to_writer(out, &shown);
    }

    /// The session as Postgres keeps it.
    pub(super) fn to_row(&self, tag: &str, now: i64) -> Session {
        let info = self.info();
        Session {
            session_tag: tag.to_owned(),
            agent_id: info.agent_id,
            account_id: info.account_id,
            username: info.username,
            server_id: self.opened.server_id.to_string(),
            schema_version: info.schema_version.unwrap_or_else(|| "1.0".to_owned()),
            connected_at: self.opened.at,
            age: self.age(now),
            name: info.name,
            capabilities: info.capabilities,
            metadata: info.metadata,
        }
    }

    /// Time since it was last heard of.
    pub(super) fn age(&self, now: i64) -> Duration {
        Duration::from_millis(u64::try_from(now.saturating_sub(self.heard)).unwrap_or(0))
    }
}

/// The description of a session out of its row.
pub(super) fn info_of_row(row: &Session) -> AgentInfo {
    AgentInfo {
        agent_id: row.agent_id.clone(),
        name: row.name.clone(),
        capabilities: row.capabilities.clone(),
        metadata: row.metadata.clone(),
        account_id: row.account_id.clone(),
        username: row.username.clone(),
        session_tag: Some(row.session_tag.clone()),
        last_seen: None,
        schema_version: (row.schema_version != "1.0").then(|| row.schema_version.clone()),
    }
}

fn takes_mail(info: &AgentInfo) -> bool {
    info.metadata.get(TAKES_MAIL).and_then(serde_json::Value::as_bool) != Some(false)
}

fn speaks_1_2(info: &AgentInfo) -> bool {
    info.schema_version.as_deref().is_some_and(schema_version::is_at_least_1_2)
}

fn encode(info: &AgentInfo) -> Box<str> {
    #[derive(serde::Serialize)]
    struct Described<'a> {
        agent_id: &'a str,
        name: &'a str,
        capabilities: &'a [String],
        metadata: &'a serde_json::Map<String, serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_tag: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        schema_version: Option<&'a str>,
    }
    let described = Described {
        agent_id: &info.agent_id,
        name: &info.name,
        capabilities: &info.capabilities,
        metadata: &info.metadata,
        account_id: info.account_id.as_deref(),
        username: info.username.as_deref(),
        session_tag: info.session_tag.as_deref(),
        schema_version: info.schema_version.as_deref(),
    };
    // Strings and JSON values always encode.
    let mut text = serde_json::to_string(&described).unwrap_or_else(|_| "{\"agent_id\":\"\"}".to_owned());
    text.pop();
    text.into_boxed_str()
}
