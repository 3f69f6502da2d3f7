//! Messages that nobody can read.

use agentnet_proto::{AccountId, Capability, Subject, Token};
use async_nats::Client;
use rand::RngExt;

use super::Target;
use crate::faults::agents::CAPABILITY;

/// Publishes poison, a new kind each time.
#[derive(Debug)]
pub struct Poison {
    client: Client,
    count: usize,
}

impl Poison {
    pub(super) fn new(client: Client) -> Self {
        Self { client, count: 0 }
    }

    /// Publishes one; its body, if it left.
    pub(super) async fn publish(&mut self, target: &Target) -> Option<Vec<u8>> {
        self.count += 1;
        let account = AccountId::new(target.account_id.clone()).ok()?;
        let subject = match self.count % 5 {
            0 => Subject::Receipts(account),
            1 => Subject::Inbox(account),
            2 => Subject::Replies(account, Token::new("poison").ok()?),
            3 => Subject::Capability(Capability::new(CAPABILITY).ok()?),
            _ => Subject::Resend,
        };
        let body = self.body();
        self.client.publish(subject.to_string(), body.clone().into()).await.ok()?;
        Some(body)
    }

    /// Each body is unique, so that the quarantine can be compared one by one.
    fn body(&self) -> Vec<u8> {
        let mut rng = rand::rng();
        let mark: u64 = rng.random();
        match self.count % 7 {
            0 => format!("not JSON at all {mark}").into_bytes(),
            1 => format!("[{mark}]").into_bytes(),
            2 => format!("{{\"message_id\":{mark},").into_bytes(),
            3 => format!("{{\"message_id\":\"{mark}\",\"message_id\":\"{mark}\"}}").into_bytes(),
            4 => format!("{}{mark}", "[".repeat(5000)).into_bytes(),
            5 => format!(
                "{{\"message_id\":\"{}\\u0000{mark}\",\"status\":\"\",\"payload\":{{}}}}",
                "x".repeat(600)
            )
            .into_bytes(),
            _ => (0..200).map(|_| rng.random()).collect(),
        }
    }
}
