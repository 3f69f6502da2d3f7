//! Who may read what: the one place that decides, in SQL and in memory (ADR 0005, "Reading").
//!
//! In a thread with members, members read everything and nobody else anything. In an open thread an account reads what
//! it sent or was sent. Beyond that it reads what others sent who wrote to it there by themselves, or to somebody who
//! did, or whose mail came to it over more such steps; and the answers to them. Answers themselves don't count as
//! steps: an agent that answers whoever asks would let everybody in. So nothing that an account does itself gives it
//! anything to read.
//!
//! The steps are a set that only grows, so replicas that meet the messages in any order end with the same one.

use std::collections::{BTreeSet, HashSet};

use agentnet_proto::AccountId;
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder};

use crate::StoreError;
use crate::threads::Thread;

/// Most steps kept of one thread. Later ones don't count, which closes and never opens.
pub const MAX_ADDRESSED: usize = 512;
/// Most steps kept of one sender in a thread, so that nobody uses up the room of the others.
pub const MAX_ADDRESSED_BY_ONE: usize = 64;

/// With whose eyes a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// Sees everything: an operator, or anybody where nothing is closed.
    Everything,
    /// Sees all but threads with members that the account, if one is proved, isn't in.
    Open(Option<AccountId>),
    /// Sees what the account may.
    Own(AccountId),
}

/// What a reader sees of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// All of it.
    All,
    /// Nothing.
    Nothing,
    /// What `account` sent or was sent, what `senders` sent, and answers to them.
    Part {
        /// The reader.
        account: AccountId,
        /// Whose messages it may read, itself left out.
        senders: Vec<String>,
    },
}

/// An entry of `agent_threads.addressed`. `None` for what can't be a step: no account, or to oneself.
pub(crate) fn addressed(from: &str, to: &str, is_answer: bool) -> Option<String> {
    let is_account = |id: &str| AccountId::new(id).is_ok();
    (from != to && is_account(from) && is_account(to))
        .then(|| format!("{from}{}{to}", if is_answer { '~' } else { '>' }))
}

/// Whose messages `account` may read in an open thread besides its own mail, by the steps noted there.
pub fn readable_senders(addressed: &[String], account: &str) -> Vec<String> {
    let steps: Vec<(&str, &str)> = addressed.iter().filter_map(|step| step.split_once('>')).collect();
    let (mut seen, mut open) = (HashSet::from([account]), vec![account]);
    let mut senders = Vec::new();
    while let Some(reached) = open.pop() {
        for (from, _) in steps.iter().filter(|(_, to)| *to == reached) {
            if seen.insert(from) {
                senders.push((*from).to_owned());
                open.push(from);
            }
        }
    }
    senders.sort_unstable();
    senders
}

#[derive(FromRow)]
struct ThreadAccess {
    thread_id: String,
    access: String,
    addressed: Vec<String>,
    is_member: bool,
}

/// What the reader sees of a thread. Nothing of one that doesn't exist: there is no difference to be seen.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub async fn sight(db: impl PgExecutor<'_>, reader: &Reader, thread_id: &str) -> Result<Sight, StoreError> {
    if *reader == Reader::Everything {
        return Ok(Sight::All);
    }
    let seen = sights(db, reader, &[thread_id.to_owned()]).await?;
    Ok(seen.into_iter().next().map_or(Sight::Nothing, |(_, sight)| sight))
}

/// What the reader sees of each of these threads, those left out that don't exist.
///
/// # Errors
/// [`StoreError::Query`], [`StoreError::Unavailable`].
pub(crate) async fn sights(
    db: impl PgExecutor<'_>,
    reader: &Reader,
    thread_ids: &[String],
) -> Result<Vec<(String, Sight)>, StoreError> {
    let account = match reader {
        Reader::Everything => return Ok(thread_ids.iter().map(|id| (id.clone(), Sight::All)).collect()),
        Reader::Open(account) => account.as_ref(),
        Reader::Own(account) => Some(account),
    };
    let threads: Vec<ThreadAccess> = sqlx::query_as(
        "SELECT t.thread_id, t.access, t.addressed, EXISTS (SELECT FROM agent_thread_members m \
         WHERE m.thread_id = t.thread_id AND m.account_id = $2 AND m.state = 'joined') AS is_member \
         FROM agent_threads t WHERE t.thread_id = ANY($1)",
    )
    .bind(thread_ids)
    .bind(account.map(AccountId::as_str))
    .fetch_all(db)
    .await
    .map_err(StoreError::query("agent_threads.access"))?;
    let seen = |thread: &ThreadAccess| match (thread.access.as_str(), reader) {
        ("open", Reader::Own(account)) => Sight::Part {
            account: account.clone(),
            senders: readable_senders(&thread.addressed, account.as_str()),
        },
        ("open", _) => Sight::All,
        _ if thread.is_member => Sight::All,
        _ => Sight::Nothing,
    };
    Ok(threads.into_iter().map(|thread| (thread.thread_id.clone(), seen(&thread))).collect())
}

/// Narrows a query over `agent_messages` as `table` to what is in sight. [`Sight::Nothing`] selects nothing.
pub(crate) fn push_sight(sql: &mut QueryBuilder<Postgres>, table: &str, sight: &Sight) {
    let (account, senders) = match sight {
        Sight::All => return,
        Sight::Nothing => {
            sql.push(" AND false");
            return;
        }
        Sight::Part { account, senders } => (account.as_str(), senders),
    };
    sql.push(format_args!(" AND ({table}.from_account_id = ")).push_bind(account.to_owned());
    sql.push(format_args!(" OR {table}.to_account_id = ")).push_bind(account.to_owned());
    sql.push(format_args!(" OR {table}.from_account_id = ANY(")).push_bind(senders.clone());
    sql.push(format_args!(") OR ({table}.kind IN ('reply', 'error') AND {table}.to_account_id = ANY("));
    sql.push_bind(senders.clone());
    // What came to it as a holder of a capability. `has_message`: a row that only a receipt made proves nothing.
    sql.push(format_args!(
        ")) OR EXISTS (SELECT FROM agent_deliveries s WHERE s.message_id = {table}.message_id AND s.has_message AND ("
    ));
    sql.push("s.recipient = ").push_bind(account.to_owned());
    sql.push(" OR s.handler_account_id = ").push_bind(account.to_owned()).push(")))");
}

/// Leaves out rows of threads with members that `account` isn't in; `thread` is the column with the thread's id.
pub(crate) fn push_closed(sql: &mut QueryBuilder<Postgres>, thread: &str, account: Option<&AccountId>) {
    sql.push(format_args!(
        " AND NOT EXISTS (SELECT FROM agent_threads c WHERE c.thread_id = {thread} AND c.access = 'members' \
         AND NOT EXISTS (SELECT FROM agent_thread_members j WHERE j.thread_id = c.thread_id AND j.state = 'joined' \
         AND j.account_id = "
    ));
    sql.push_bind(account.map(ToString::to_string)).push("))");
}

impl Thread {
    /// Cuts the row to what a reader may know who isn't in all of it: those it wrote to or heard from, and no figures.
    /// Whoever was addressed by somebody, or knows everybody there, sees the whole row.
    pub fn cut_for(&mut self, reader: &Reader) {
        let Reader::Own(account) = reader else { return };
        let me = account.as_str();
        // Members see their threads whole, and others don't see them at all.
        if self.has_members
            || self.addressed.iter().any(|step| step.split_once('>').is_some_and(|(_, to)| to == me))
        {
            return;
        }
        let ends =
            |step: &str| step.split_once(['>', '~']).map(|(from, to)| [from.to_owned(), to.to_owned()]);
        let known: BTreeSet<String> = self
            .addressed
            .iter()
            .filter_map(|step| ends(step))
            .filter(|e| e.iter().any(|id| id == me))
            .flatten()
            .collect();
        let is_known = |id: &String| id == me || known.contains(id);
        if self.participants.iter().all(is_known) {
            return;
        }
        self.participants.retain(is_known);
        self.created_by_account_id = self.created_by_account_id.take().filter(is_known);
        (self.message_count, self.byte_count, self.approx_tokens) = (0, 0, 0);
        (self.latest_checkpoint_end, self.pending_raw_messages) = (0, 0);
        self.is_partial = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_what_others_do_lets_an_account_read() {
        // m writes to everybody and is answered.
        let intruded = steps(&["a>b", "b>a", "m>a", "m>b", "b~m"]);
        assert_eq!(readable_senders(&intruded, "m"), Vec::<String>::new());
        assert_eq!(readable_senders(&intruded, "a"), ["b", "m"]);
        // a brings c in; c reads what a and b wrote, they read c only once c writes.
        let invited = steps(&["a>b", "b>a", "a>c"]);
        assert_eq!(readable_senders(&invited, "c"), ["a", "b"]);
        assert_eq!(readable_senders(&invited, "b"), ["a"]);
        // Whoever took the thread's name first reads nothing of those who never wrote to them.
        assert_eq!(readable_senders(&steps(&["m>a", "a>b", "b>a"]), "m"), Vec::<String>::new());
    }

    #[test]
    fn only_accounts_make_steps() {
        assert_eq!(addressed("a", "b", false).as_deref(), Some("a>b"));
        assert_eq!(addressed("a", "b", true).as_deref(), Some("a~b"));
        for (from, to) in [("a", "a"), ("a>b", "c"), ("a", ""), ("a b", "c"), ("a", "b~c")] {
            assert_eq!(addressed(from, to, false), None);
        }
    }
}
