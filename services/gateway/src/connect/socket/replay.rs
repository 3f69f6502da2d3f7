//! What a client missed.

use std::collections::HashSet;

use agentnet_proto::{envelope::kind, rpc::ThreadMessagesRequest};

use super::{super::frame::MessageType, show::Said, talk::Chat};
use crate::sockets::{End, Socket};

/// Pages of the thread that a replay looks through.
const REPLAY_PAGES: usize = 10;

impl Chat {
    /// What was said since the client left off, oldest first; each message once. Only the first time the client hears of
    /// what is missing.
    pub(super) async fn replay(
        &mut self,
        socket: &mut Socket,
        last: &str,
        is_first: bool,
    ) -> Result<(), End> {
        let mut rows = Vec::new();
        let mut cursor = None;
        let mut reached = false;
        for _ in 0..REPLAY_PAGES {
            let request = ThreadMessagesRequest {
                thread_id: self.session.session_id.clone(),
                limit: Some(200),
                cursor: cursor.take(),
            };
            let page = match self.seat().node.registry().thread_messages(&request).await {
                Ok(page) => page,
                Err(error) => {
                    if is_first {
                        self.say_problem(socket, &error.into()).await?;
                    }
                    break;
                }
            };
            for row in page.messages {
                if row.message_id == last {
                    reached = true;
                    break;
                }
                rows.push(row);
            }
            cursor = page.next_cursor;
            if reached || cursor.is_none() {
                break;
            }
        }
        if !reached && is_first {
            let text = "The message that the client has seen last is not in this session, or too far back: what is \
                        sent now may be more, or less, than what was missed";
            self.say_own(socket, MessageType::Info, Some(text)).await?;
        }
        let agents: HashSet<String> =
            self.session.agents.values().map(|agent| agent.agent_id.clone()).collect();
        for row in rows.into_iter().rev() {
            let Some(from) = row.from_account_id.as_deref().filter(|from| agents.contains(*from)) else {
                continue;
            };
            if row.kind == kind::ERROR || !self.is_new(&row.message_id) {
                continue;
            }
            let said = Said {
                from,
                message_id: &row.message_id,
                parent: row.parent_message_id.as_deref(),
                sent_at: &row.sent_at,
                payload: &row.payload,
            };
            self.show(socket, &said).await?;
        }
        Ok(())
    }
}
