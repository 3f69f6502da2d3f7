//! Who is online, takes tasks, and may be given this one.

use std::collections::HashMap;
use std::sync::Arc;

use agentnet_proto::task::{AgentStatus, TaskRequirements};
use agentnet_store::tasks::WorkerFigures;

use super::strategy::{Choice, load_of};
use crate::app::App;
use crate::presence::WorkerInfo;

/// A worker with everything that decides.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) choice: Choice,
    sessions: Vec<Arc<WorkerInfo>>,
}

impl Worker {
    /// Whether it can have one more.
    pub(super) fn has_room(&self) -> bool {
        self.choice.in_hand < self.choice.capacity
    }

    /// Whether one of its sessions has a weight other than 1.
    pub(super) fn is_weighted(&self) -> bool {
        self.sessions.iter().any(|session| session.offer.weight != 1.0)
    }

    /// Whether every session of it fits: any of them may be the one that gets the message.
    pub(super) fn fits(&self, wanted: &TaskRequirements) -> bool {
        let named = wanted.agents.is_empty() || wanted.agents.contains(&self.choice.account);
        named && self.sessions.iter().all(|session| fits(wanted, session))
    }
}

fn fits(wanted: &TaskRequirements, has: &WorkerInfo) -> bool {
    let all = |wanted: &[String], has: &[String]| wanted.iter().all(|one| has.contains(one));
    all(&wanted.capabilities, &has.capabilities)
        && all(&wanted.services, &has.services)
        && all(&wanted.tags, &has.tags)
        && wanted.agent_type.as_ref().is_none_or(|wanted| has.agent_type.as_ref() == Some(wanted))
}

/// What each account offers.
pub(crate) type Offers = HashMap<String, Vec<Arc<WorkerInfo>>>;

/// The accounts that are online and offer something, whatever their status.
pub(crate) fn offers(app: &App) -> Offers {
    let mut offers = app.presence.offers();
    offers.retain(|account, _| !app.suspended.contains(account));
    offers
}

/// Those of them that are active, with their figures.
pub(crate) fn eligible(mut offers: Offers, figures: Vec<WorkerFigures>) -> Vec<Worker> {
    let active = |figures: &WorkerFigures| match figures.status.as_deref().map(AgentStatus::parse) {
        None => true,
        Some(said) => said == Ok(AgentStatus::Active),
    };
    let mut workers: Vec<Worker> = figures
        .into_iter()
        .filter(active)
        .filter_map(|figures| {
            let sessions = offers.remove(&figures.account_id)?;
            let choice = Choice {
                in_hand: figures.in_hand,
                capacity: sessions.iter().map(|session| i64::from(session.offer.capacity)).sum(),
                weight: sessions.iter().map(|session| session.offer.weight).sum(),
                avg_ms: figures.avg_ms,
                last_assigned: figures.last_assigned_at.map_or(i64::MIN, |at| {
                    i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
                }),
                share: figures.share.unwrap_or_default(),
                load: load_of(figures.load()),
                capabilities: sessions.first().map_or(0, |session| session.capabilities.len()),
                account: figures.account_id,
            };
            Some(Worker { choice, sessions })
        })
        .collect();
    // Who comes later begins where the others are, instead of being given everything until it has caught up.
    let known = workers.iter().filter(|worker| worker.choice.share > 0.0);
    let least = known.map(|worker| worker.choice.share).fold(f64::INFINITY, f64::min);
    if least.is_finite() {
        for worker in &mut workers {
            worker.choice.share = worker.choice.share.max(least);
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use agentnet_proto::task::TaskOffer;

    use super::*;

    #[test]
    fn everything_that_is_wanted_has_to_be_there() {
        let text = |t: &str| vec![t.to_owned()];
        let has = WorkerInfo {
            offer: TaskOffer { capacity: 1, weight: 1.0 },
            capabilities: vec!["a".into(), "b".into()],
            agent_type: Some("worker".into()),
            services: text("s"),
            tags: text("t"),
        };
        let none = TaskRequirements::default();
        assert!(fits(&none, &has));
        let met = TaskRequirements {
            capabilities: vec!["b".into(), "a".into()],
            agent_type: Some("worker".into()),
            services: text("s"),
            tags: text("t"),
            agents: Vec::new(),
        };
        assert!(fits(&met, &has));
        for unmet in [
            TaskRequirements { capabilities: text("c"), ..met.clone() },
            TaskRequirements { agent_type: Some("provider".into()), ..met.clone() },
            TaskRequirements { services: text("x"), ..met.clone() },
            TaskRequirements { tags: text("x"), ..met },
        ] {
            assert!(!fits(&unmet, &has), "{unmet:?}");
        }
    }
}
