//! Choosing agents among those online, by what they tell about themselves: `provider`, `model` or `models`, capabilities.

use agentnet_proto::{
    ErrorCode,
    rpc::{AgentInfo, ListRequest},
};
use rand::seq::IndexedRandom as _;
use serde_json::Value;

use super::{record::SessionAgent, sessions::WantedAgent};
use crate::{http::Problem, seats::Seat};

/// Pages that are read of those online.
const MAX_PAGES: usize = 20;

/// Every session online, persons' left out.
pub(super) async fn online(seat: &Seat) -> Result<Vec<AgentInfo>, Problem> {
    let registry = seat.node.registry();
    let (mut agents, mut cursor) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let page = registry.list(&ListRequest { cursor, ..ListRequest::default() }).await?;
        agents.extend(page.agents);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    agents.retain(|agent| text(agent, "via") != Some("gateway"));
    Ok(agents)
}

/// A text of an agent's metadata.
pub(super) fn text<'a>(agent: &'a AgentInfo, name: &str) -> Option<&'a str> {
    agent.metadata.get(name).and_then(Value::as_str)
}

/// The models that an agent offers.
pub(super) fn models(agent: &AgentInfo) -> impl Iterator<Item = &str> {
    let list = agent.metadata.get("models").and_then(Value::as_array);
    text(agent, "model").into_iter().chain(list.into_iter().flatten().filter_map(Value::as_str))
}

/// One of the agents that fit, any of them, but none of `taken`.
///
/// # Errors
/// 503, saying what was asked for.
pub(super) fn choose(
    online: &[AgentInfo],
    key: &str,
    wanted: &WantedAgent,
    taken: &[SessionAgent],
) -> Result<SessionAgent, Problem> {
    let fitting: Vec<&AgentInfo> = online
        .iter()
        .filter(|agent| fits(agent, wanted))
        .filter(|agent| {
            taken.iter().all(|taken| Some(taken.agent_id.as_str()) != agent.account_id.as_deref())
        })
        .collect();
    let Some((agent, account_id)) =
        fitting.choose(&mut rand::rng()).and_then(|agent| Some((*agent, agent.account_id.clone()?)))
    else {
        return Err(Problem::new(ErrorCode::NoAgentAvailable, missing(key, wanted)));
    };
    let model = wanted.model.clone().or_else(|| models(agent).next().map(str::to_owned));
    Ok(SessionAgent {
        agent_id: account_id,
        name: agent.username.clone().unwrap_or_else(|| agent.agent_id.clone()),
        provider: text(agent, "provider").unwrap_or_default().to_owned(),
        model: model.unwrap_or_default(),
        capabilities: match &wanted.capabilities {
            Some(wanted) => wanted.clone(),
            None => agent.capabilities.clone(),
        },
        personality: wanted.personality.clone(),
        status: "active".to_owned(),
        hosted_by: None,
    })
}

fn fits(agent: &AgentInfo, wanted: &WantedAgent) -> bool {
    let provider = text(agent, "provider").is_some_and(|has| has.eq_ignore_ascii_case(&wanted.provider));
    let model =
        wanted.model.as_deref().is_none_or(|model| models(agent).any(|has| has.eq_ignore_ascii_case(model)));
    let capabilities = wanted.capabilities.as_deref().unwrap_or_default();
    provider && model && capabilities.iter().all(|wanted| agent.capabilities.contains(wanted))
}

fn missing(key: &str, wanted: &WantedAgent) -> String {
    let mut text = format!("no agent is online for {key:?}: provider {:?}", wanted.provider);
    if let Some(model) = &wanted.model {
        text.push_str(&format!(", model {model:?}"));
    }
    if let Some(capabilities) = wanted.capabilities.as_ref().filter(|list| !list.is_empty()) {
        text.push_str(&format!(", capabilities {}", capabilities.join(", ")));
    }
    text.push_str("; start one that says so in its metadata, and try again");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(account: &str, metadata: &Value, capabilities: &[&str]) -> AgentInfo {
        AgentInfo {
            agent_id: account.to_owned(),
            account_id: Some(account.to_owned()),
            metadata: metadata.as_object().unwrap().clone(),
            capabilities: capabilities.iter().map(|&c| c.to_owned()).collect(),
            ..AgentInfo::default()
        }
    }

    fn wanted(model: Option<&str>, capabilities: Option<&[&str]>) -> WantedAgent {
        WantedAgent {
            provider: "groq".to_owned(),
            model: model.map(str::to_owned),
            capabilities: capabilities.map(|list| list.iter().map(|&c| c.to_owned()).collect()),
            personality: None,
            metadata: None,
        }
    }

    #[test]
    fn provider_model_and_capabilities_must_fit() {
        let online = [
            agent(
                "a",
                &json!({"provider": "Groq", "models": ["llama-3-70b", "x"]}),
                &["conversation", "sum"],
            ),
            agent("b", &json!({"provider": "openai", "model": "llama-3-70b"}), &["conversation"]),
        ];
        let pick = |wanted: &WantedAgent, taken: &[SessionAgent]| {
            choose(&online, "primary", wanted, taken).map(|agent| agent.agent_id).map_err(|p| p.detail)
        };
        assert_eq!(pick(&wanted(Some("llama-3-70b"), Some(&["conversation"])), &[]), Ok("a".into()));
        assert_eq!(pick(&wanted(None, None), &[]), Ok("a".into()));
        let refused = pick(&wanted(Some("gpt-9"), Some(&["fly"])), &[]).unwrap_err();
        for said in ["primary", "groq", "gpt-9", "fly"] {
            assert!(refused.contains(said), "{refused}");
        }
        let taken = choose(&online, "primary", &wanted(None, None), &[]).unwrap();
        assert!(pick(&wanted(None, None), &[taken]).is_err());
    }
}
