//! What was said in a session, by numbers that stay.

use std::collections::HashSet;

use agentnet_proto::{
    ErrorCode, Timestamp,
    chat::{ChatMessage, ChatSaid, DELETED, TakenBack},
    rpc::{MessageRow, ThreadMessagesRequest},
};

use super::{ChatManager, taken_back, thread};
use crate::{
    error::{Error, ErrorKind},
    send::Stage,
    target::Target,
};

/// Pages that are read of one session.
const MAX_PAGES: usize = 100;
/// Rows of a page.
const PAGE: i64 = 200;

/// A page of what was said.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatPage {
    /// Oldest first.
    pub messages: Vec<ChatMessage>,
    /// What to ask for the page before with; `None` when there is none.
    pub next_before: Option<usize>,
    /// How many messages there are in all.
    pub total: usize,
}

impl ChatPage {
    /// Cuts the page out of messages that have numbers, oldest first.
    #[must_use]
    pub fn of(mut messages: Vec<ChatMessage>, before: Option<usize>, limit: usize) -> Self {
        let total = messages.len();
        if let Some(before) = before {
            messages.retain(|message| message.index.is_some_and(|index| index < before));
        }
        let left_out = messages.len().saturating_sub(limit.max(1));
        messages.drain(..left_out);
        let next_before = messages.first().filter(|_| left_out > 0).and_then(|first| first.index);
        Self { messages, next_before, total }
    }
}

/// A message with the account that said it.
struct Numbered {
    message: ChatMessage,
    account_id: Option<String>,
}

impl ChatManager {
    /// Everything that was said and not taken back, in the order in which the network took it. This agent must be in the
    /// session.
    ///
    /// # Errors
    /// `response_too_large` for more than 20,000 messages: read the thread by pages then; as
    /// [`RegistryClient::thread_messages`](crate::RegistryClient::thread_messages).
    pub async fn list_messages(&self, session_id: &str) -> Result<Vec<ChatMessage>, Error> {
        Ok(self.numbered(session_id).await?.into_iter().map(|numbered| numbered.message).collect())
    }

    /// One page: the latest `limit` messages whose number is below `before`, oldest first; the latest of all without it. The
    /// page before it is asked for with [`ChatPage::next_before`].
    ///
    /// # Errors
    /// As [`list_messages`](Self::list_messages).
    pub async fn page(
        &self,
        session_id: &str,
        before: Option<usize>,
        limit: usize,
    ) -> Result<ChatPage, Error> {
        Ok(ChatPage::of(self.list_messages(session_id).await?, before, limit))
    }

    /// The message of that number.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, or it was taken back; as [`list_messages`](Self::list_messages).
    pub async fn get_message(&self, session_id: &str, index: usize) -> Result<ChatMessage, Error> {
        Ok(self.one(session_id, index).await?.message)
    }

    /// Takes back what this agent said: it is shown no more. Operators still find it in the thread.
    ///
    /// # Errors
    /// `forbidden` for what others said; as [`get_message`](Self::get_message).
    pub async fn delete_message(&self, session_id: &str, index: usize) -> Result<ChatMessage, Error> {
        let Numbered { message, account_id } = self.one(session_id, index).await?;
        if account_id.as_deref() != Some(self.node.account_id()) {
            return Err(Error::new(ErrorKind::Auth, "only who said it may take it back"));
        }
        let thread_id = thread(session_id)?;
        self.node
            .send(Target::thread(&thread_id)?, TakenBack { message_id: message.message_id.clone() })
            .thread(thread_id)
            .kind(DELETED)
            .until(Stage::Stored)
            .await?;
        Ok(message)
    }

    /// What was said from `start` to `end`, both included, by the network's clock.
    ///
    /// # Errors
    /// As [`list_messages`](Self::list_messages).
    pub async fn get_messages_by_timestamp(
        &self,
        session_id: &str,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<ChatMessage>, Error> {
        let mut messages = self.list_messages(session_id).await?;
        messages.retain(|message| {
            Timestamp::parse(&message.timestamp).is_some_and(|at| (start..=end).contains(&at))
        });
        Ok(messages)
    }

    async fn one(&self, session_id: &str, index: usize) -> Result<Numbered, Error> {
        let found = self.numbered(session_id).await?.into_iter();
        found.into_iter().find(|numbered| numbered.message.index == Some(index)).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no message {index} in this session, or no more"),
            )
        })
    }

    async fn numbered(&self, session_id: &str) -> Result<Vec<Numbered>, Error> {
        let rows = self.rows(session_id).await?;
        // Only whoever said something may take it back, whatever a message claims.
        let gone: HashSet<(String, Option<String>)> = rows
            .iter()
            .filter(|row| row.kind == DELETED)
            .filter_map(|row| Some((taken_back(&row.payload)?, row.from_account_id.clone())))
            .collect();
        let said = rows.into_iter().rev().filter_map(|row| {
            let from = row.from_account_id.as_deref().unwrap_or_default();
            ChatSaid::of(&row.kind, &row.payload, session_id, from).map(|said| (row, said))
        });
        let numbered = said.enumerate().map(|(index, (row, said))| {
            let MessageRow { message_id, received_at, from_account_id, .. } = row;
            let account_id = from_account_id.clone().unwrap_or_default();
            let message = ChatMessage::new(said, account_id, message_id, received_at);
            Numbered { message: ChatMessage { index: Some(index), ..message }, account_id: from_account_id }
        });
        let mut numbered: Vec<Numbered> = numbered
            .filter(|one| !gone.contains(&(one.message.message_id.clone(), one.account_id.clone())))
            .collect();
        for one in &mut numbered {
            if let Some(account_id) = &one.account_id {
                one.message.sender = self.name_of(account_id).await;
            }
        }
        Ok(numbered)
    }

    /// The thread's messages, newest first.
    async fn rows(&self, session_id: &str) -> Result<Vec<MessageRow>, Error> {
        let thread_id = thread(session_id)?;
        let (mut rows, mut cursor) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let request = ThreadMessagesRequest { thread_id: thread_id.clone(), limit: Some(PAGE), cursor };
            let page = self.node.registry().thread_messages(&request).await?;
            rows.extend(page.messages);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(rows);
            }
        }
        Err(Error::of(
            ErrorCode::ResponseTooLarge,
            "the session has more messages than can be numbered; read its thread by pages",
        ))
    }
}
