//! Going on with two agents whose gateway is gone, from what stands in the thread.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agentnet_proto::{
    ErrorCode, Timestamp,
    envelope::kind,
    rpc::{MessageRow, ThreadMessagesRequest},
};
use tokio::time::sleep;

use super::{
    super::record::{self, Record, Session},
    EXIT, Stopped, Turn, beat, broken_off, go_on,
};
use crate::{app::App, http::Problem, seats::Seat};

/// Pages of the thread that are looked through: as many as the most turns take.
const MAX_PAGES: usize = 12;
/// Pause between two looks at a question that is not answered yet.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How two agents stand.
enum Standing {
    /// They don't talk: nobody asked them, or it is over.
    Quiet,
    /// What one said wasn't passed on.
    Answered(Box<Turn>),
    /// One was asked, and hasn't answered.
    Asked(Option<Timestamp>),
}

/// Goes on, if there is anything to go on with. Whether the two are done.
///
/// # Errors
/// What the network says; it stands in the thread then that they are done.
pub(in super::super) async fn resume(app: App, seat: Arc<Seat>, session: Session) -> Result<bool, Problem> {
    let going_on = async {
        let mut looked_after = None;
        loop {
            match standing(&seat, &session).await? {
                Standing::Quiet => return Ok(true),
                Standing::Answered(turn) => {
                    tracing::info!(
                        session = session.session_id,
                        "two agents whose gateway is gone are taken over"
                    );
                    let _beat = looked_after.take().unwrap_or_else(|| beat(&app, &seat, &session));
                    return match go_on(&app, &seat, &session, *turn).await {
                        Ok(stopped) => Ok(stopped == Stopped::Over),
                        Err(problem) => Err(broken_off(&app, &seat, &session, problem).await),
                    };
                }
                Standing::Asked(since) => {
                    looked_after.get_or_insert_with(|| beat(&app, &seat, &session));
                    let end = since.map(|since| since.saturating_add(app.config.sessions.answer_within));
                    if end.is_none_or(|end| end <= app.config.clock.now()) {
                        let late =
                            Problem::new(ErrorCode::Timeout, "an agent of the session didn't answer in time");
                        return Err(broken_off(&app, &seat, &session, late).await);
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    };
    match app.closing.run_until_cancelled(going_on).await {
        None => Ok(false),
        Some(ended) => ended,
    }
}

/// How the two stand, by the thread.
async fn standing(seat: &Seat, session: &Session) -> Result<Standing, Problem> {
    let mut rows = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let request = ThreadMessagesRequest {
            thread_id: session.session_id.clone(),
            limit: Some(200),
            cursor: cursor.take(),
        };
        let page = seat.node.registry().thread_messages(&request).await?;
        for row in page.messages {
            let is_owner = row.from_account_id.as_deref() == Some(seat.account.as_str());
            if row.kind == record::KIND && is_owner {
                match row.payload.parse() {
                    // Whatever came before it is over.
                    Ok(Record::Paused { .. } | Record::Active { .. }) => return Ok(of(session, &rows, seat)),
                    Ok(Record::Ended { .. }) => return Ok(Standing::Quiet),
                    Err(_) => continue,
                }
            }
            let begins = is_owner && row.kind == kind::REQUEST && row.parent_message_id.is_none();
            rows.push(row);
            if begins {
                return Ok(of(session, &rows, seat));
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(of(session, &rows, seat))
}

/// Follows the talk from what a person said: question, answer, that answer as a question, and so on.
fn of(session: &Session, rows: &[MessageRow], seat: &Seat) -> Standing {
    let is_question = |row: &&MessageRow| {
        row.kind == kind::REQUEST && row.from_account_id.as_deref() == Some(seat.account.as_str())
    };
    let follows: HashMap<&str, &MessageRow> =
        rows.iter().filter_map(|row| Some((row.parent_message_id.as_deref()?, row))).collect();
    let Some(mut question) = rows.iter().filter(is_question).find(|row| row.parent_message_id.is_none())
    else {
        return Standing::Quiet;
    };
    let mut spoken = 0;
    while spoken <= session.max_turns {
        let Some(answer) = follows.get(question.message_id.as_str()) else {
            return Standing::Asked(Timestamp::parse(&question.sent_at));
        };
        let speaker = answer.from_account_id.as_deref().and_then(|id| session.agent(id));
        let Some((_, speaker)) = speaker.filter(|_| answer.kind != kind::ERROR) else {
            return Standing::Quiet;
        };
        spoken += 1;
        let text = answer.payload.as_text().unwrap_or_else(|| answer.payload.get().to_owned());
        if text.contains(EXIT) {
            return Standing::Quiet;
        }
        match follows.get(answer.message_id.as_str()) {
            Some(next) => question = next,
            None => {
                let (message_id, speaker) = (answer.message_id.clone(), speaker.clone());
                return Standing::Answered(Box::new(Turn { message_id, text, speaker, spoken }));
            }
        }
    }
    Standing::Quiet
}
