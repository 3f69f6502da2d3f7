//! Threads as everybody sees them: page by page through the registry.

use std::collections::HashMap;

use agentnet::RegistryClient;
use agentnet_proto::rpc::ThreadMessagesRequest;
use anyhow::{Context, Result};

/// Rows per page, the most the registry gives.
const PAGE: i64 = 200;

/// Message ids of each thread, newest first.
///
/// # Errors
/// When the registry doesn't answer, or its pages never end.
pub async fn history(
    registry: &RegistryClient,
    threads: impl IntoIterator<Item = String>,
) -> Result<HashMap<String, Vec<String>>> {
    let mut history = HashMap::new();
    for thread_id in threads {
        let mut ids: Vec<String> = Vec::new();
        let mut request =
            ThreadMessagesRequest { thread_id: thread_id.clone(), limit: Some(PAGE), cursor: None };
        loop {
            let page = registry
                .thread_messages(&request)
                .await
                .with_context(|| format!("the history of {thread_id}"))?;
            ids.extend(page.messages.into_iter().map(|message| message.message_id));
            anyhow::ensure!(
                page.next_cursor != request.cursor || page.next_cursor.is_none(),
                "the cursor of {thread_id} stands still"
            );
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        history.insert(thread_id, ids);
    }
    Ok(history)
}
