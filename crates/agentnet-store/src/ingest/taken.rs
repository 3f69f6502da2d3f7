//! Which parts of the stream a batch consists of: what the gap alarm goes by.

use agentnet_proto::Timestamp;
use sqlx::PgConnection;

use super::item::Verdict;
use crate::{StoreError, progress::multirange};

/// Where the items of a batch come from.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Name of the stream.
    pub stream: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// This persister: two that run at once need two names.
    pub replica: &'a str,
    /// The items' places, in their order; `None` for what didn't come through the stream.
    pub seqs: &'a [Option<u64>],
}

/// What a batch has committed.
#[derive(Debug)]
pub(super) struct Noted<'a> {
    pub(super) stream: &'a str,
    pub(super) created_at: Timestamp,
    pub(super) replica: &'a str,
    pub(super) seqs: String,
}

impl<'a> Taken<'a> {
    /// What the verdicts say is in the database.
    pub(super) fn noted(&self, verdicts: &[Verdict]) -> Option<Noted<'a>> {
        let written = |verdict: &Verdict| !matches!(verdict, Verdict::Unresolved | Verdict::Vanished);
        let seqs: Vec<u64> = self
            .seqs
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| written(verdict))
            .filter_map(|(seq, _)| *seq)
            .collect();
        (!seqs.is_empty()).then(|| Noted {
            stream: self.stream,
            created_at: self.created_at,
            replica: self.replica,
            seqs: multirange(seqs),
        })
    }
}

impl Noted<'_> {
    /// For a batch that writes no deliveries.
    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO agent_stream_commits AS c (stream, created_at, replica, seqs) \
             VALUES ($1, $2, $3, $4::text::int8multirange) \
             ON CONFLICT (stream, created_at, replica) DO UPDATE SET seqs = c.seqs + excluded.seqs",
        )
        .bind(self.stream)
        .bind(self.created_at.to_offset())
        .bind(self.replica)
        .bind(&self.seqs)
        .execute(conn)
        .await
        .map(drop)
        .map_err(StoreError::query("agent_stream_commits.note"))
    }
}
