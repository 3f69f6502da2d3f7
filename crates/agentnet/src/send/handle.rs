//! A message under way.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Delivery, MemberDelivery, Stage, publish::Patience};
use crate::{
    deadline::after,
    error::{Error, ErrorKind},
    node::Inner,
    outbox::{Goal, MemberProgress, Progress, Track, Verdict},
};

/// After the time to live: how long the network's own word (`expired`, `dead`) is waited for, so that the error names
/// its code.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long a handler may take after the time to live of a message that was accepted in time.
const HANDLER_GRACE: Duration = Duration::from_secs(30);

/// A message under way: sent once, sent again by the node until it is stored, whether or not anybody waits.
///
/// Dropping the handle gives up nothing but the news about the message.
#[derive(Debug)]
pub struct DeliveryHandle {
    pub(crate) node: Arc<Inner>,
    pub(crate) track: Arc<Track>,
    pub(crate) message_id: String,
    pub(crate) thread_id: String,
    pub(crate) started: Instant,
    pub(crate) expires: Instant,
    pub(crate) give_up: Instant,
    pub(crate) patience: Patience,
}

enum Decision {
    WaitUntil(Instant),
    Enough,
    Fail(Error),
}

impl DeliveryHandle {
    /// The message.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Its thread.
    pub fn thread_id(&self) -> &str {
        &self.thread_id
    }

    /// What is known at this moment.
    pub fn delivery(&self) -> Delivery {
        self.snapshot(&self.track.progress())
    }

    /// Waits as a plain send does: until the message is stored, and accepted unless the recipient is absent.
    ///
    /// # Errors
    /// As [`SendMessage`](super::SendMessage).
    pub async fn delivered(&self) -> Result<Delivery, Error> {
        self.wait(Goal::Delivered).await
    }

    /// Waits until the message has reached `stage`, at most its time to live (and 30 s for a handler at work).
    ///
    /// # Errors
    /// As [`SendMessage`](super::SendMessage).
    pub async fn until(&self, stage: Stage) -> Result<Delivery, Error> {
        self.wait(Goal::Stage(stage)).await
    }

    pub(crate) async fn wait(&self, goal: Goal) -> Result<Delivery, Error> {
        loop {
            let changed = self.track.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let progress = self.track.progress().clone();
            let verdict = progress.verdict(goal);
            let decision = match verdict {
                Verdict::Reached => Decision::Enough,
                Verdict::Refused(refusal) => {
                    Decision::Fail(Error::of_code(&refusal.code, &refusal.detail).message(&self.message_id))
                }
                Verdict::Stored => self.decide_stored(&progress, goal, Instant::now()),
                Verdict::Waiting => self.decide_waiting(&progress, Instant::now()),
            };
            match decision {
                Decision::Enough if goal == Goal::Delivered && self.track.is_group() => {
                    self.hear_members().await;
                    return Ok(self.delivery());
                }
                Decision::Enough => return Ok(self.snapshot(&progress)),
                Decision::Fail(error) => return Err(error),
                Decision::WaitUntil(deadline) => {
                    let _ = timeout_at(deadline, changed).await;
                }
            }
        }
    }

    /// Stored, but not further: for a plain send that is enough once the recipient had its time.
    fn decide_stored(&self, progress: &Progress, goal: Goal, now: Instant) -> Decision {
        if self.node.is_closed() && goal != Goal::Delivered {
            return Decision::Fail(Error::closed().message(&self.message_id));
        }
        if goal == Goal::Delivered {
            let window = if self.track.is_group() { Duration::ZERO } else { self.patience.receipt_timeout };
            let absent = after(self.started, window);
            if absent <= now && progress.refusal.is_none() && !self.track.is_group() {
                self.node.metrics.receipt_timeouts.up();
            }
            return if absent <= now { Decision::Enough } else { Decision::WaitUntil(absent) };
        }
        let grace = if progress.accepted { HANDLER_GRACE } else { LAST_WORD };
        let end = self.expires + grace;
        if now < end {
            return Decision::WaitUntil(end);
        }
        let error = match &progress.refusal {
            _ if progress.accepted => Error::new(
                ErrorKind::Timeout,
                "the recipient accepted the message and didn't say in time that it was processed; it may still be at work",
            ),
            Some(refusal) => Error::of_code(&refusal.code, &refusal.detail),
            None => Error::new(
                ErrorKind::Expired,
                "no recipient accepted the message within its time to live; give it a longer ttl, or check the recipient",
            ),
        };
        Decision::Fail(error.message(&self.message_id))
    }

    /// Not stored: sent again until the attempts are used up. Only attempts over a standing connection count.
    fn decide_waiting(&self, progress: &Progress, now: Instant) -> Decision {
        if self.node.is_closed() {
            return Decision::Fail(Error::closed().message(&self.message_id));
        }
        let used_up = progress.attempts > self.patience.retry_attempts;
        let end =
            if used_up { after(progress.last_attempt, self.patience.receipt_timeout) } else { self.give_up };
        let end = end.min(self.give_up);
        if now < end && !progress.given_up {
            return Decision::WaitUntil(end);
        }
        self.node.outbox.reported(&self.message_id);
        let error = if progress.attempts == 0 {
            self.node.connection.unavailable()
        } else {
            let attempts = progress.attempts;
            Error::new(
                ErrorKind::Unconfirmed,
                format!(
                    "the network didn't confirm in {attempts} attempts that it stored the message; it may still arrive. \
                     Check that the persister runs, and send it again under the same message_id if it must arrive"
                ),
            )
        };
        Decision::Fail(error.message(&self.message_id))
    }

    fn snapshot(&self, progress: &Progress) -> Delivery {
        Delivery {
            message_id: self.message_id.clone(),
            thread_id: self.thread_id.clone(),
            stage: progress.stage(),
            stored: progress.stored,
            refusal: progress.refusal.clone(),
            members: progress.members.iter().map(|(id, member)| member_of(id, member)).collect(),
        }
    }
}

fn member_of(account_id: &str, member: &MemberProgress) -> MemberDelivery {
    MemberDelivery {
        account_id: account_id.to_owned(),
        stage: match member {
            MemberProgress { processed: true, .. } => Some(Stage::Processed),
            MemberProgress { accepted: true, .. } => Some(Stage::Accepted),
            _ => None,
        },
        refusal: member.refusal.clone(),
        online: member.online,
    }
}

impl Drop for DeliveryHandle {
    fn drop(&mut self) {
        self.node.outbox.unwatch(&self.message_id);
    }
}
