//! Events as lines for people.

use agentnet::proto::{Envelope, Receipt, ReceiptStatus, StoredNotice, StreamFrame, envelope::kind};
use unicode_width::UnicodeWidthStr as _;

use super::event::Event;
use crate::output::{
    escape::{clean, clean_block},
    names::Names,
    style::{BAD, DIM, GOOD, THREAD, WARN, paint, person},
    text, time,
};

/// Columns a preview gets at least, though the line then wraps.
const LEAST_PREVIEW: usize = 20;
/// Longest preview where there is no terminal.
const PIPE_PREVIEW: usize = 240;
/// Columns of a terminal on which whole thread ids leave room for a preview.
const WIDE: u16 = 130;
/// Columns of a thread id on a narrower one, where it can be recognised if not copied.
const THREAD_COLUMNS: usize = 16;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Columns of the terminal; `None` for a pipe.
    pub width: Option<u16>,
    /// Whether whole payloads follow their lines.
    pub payloads: bool,
}

/// The event as a line, or a few when it brings its payload. Everything in it is safe to print.
pub fn line(event: &Event, names: &Names, look: Look, observed_at: &str) -> String {
    match event {
        Event::Message { envelope, redelivered } => message(envelope, *redelivered, names, look),
        Event::Receipt(receipt) => self::receipt(receipt, names),
        Event::Stored { account, notice } => stored(account, notice, names),
        Event::Frame { account, frame } => self::frame(account, frame, names, observed_at),
        Event::Other { body } => {
            let body = text::shorten(&clean(body), PIPE_PREVIEW);
            format!("{} {}", paint(DIM, time::clock(observed_at)), paint(DIM, body))
        }
    }
}

fn message(envelope: &Envelope, redelivered: bool, names: &Names, look: Look) -> String {
    let at = time::clock(&envelope.sent_at);
    let from = name(envelope.from_account_id.as_deref(), &envelope.from_agent, names);
    let to = name(envelope.to_account_id.as_deref(), &envelope.to_agent, names);
    let mut label = match envelope.kind.as_str() {
        kind::DIRECT => String::new(),
        other => format!("{} ", clean(other)),
    };
    if redelivered {
        label.push_str("again ");
    }
    let style = if envelope.kind == kind::ERROR { BAD } else { WARN };
    let mut thread = clean(&envelope.thread_id_or_default()).into_owned();
    if look.width.is_some_and(|width| width < WIDE) {
        thread = text::shorten(&thread, THREAD_COLUMNS);
    }
    let taken = at.width() + from.width() + to.width() + label.width() + thread.width() + 8;
    let room =
        look.width.map_or(PIPE_PREVIEW, |width| usize::from(width).saturating_sub(taken).max(LEAST_PREVIEW));
    let mut line = format!(
        "{} {} {} {}  {}{}  {}",
        paint(DIM, at),
        paint(person(&from), &from),
        paint(DIM, "→"),
        paint(person(&to), &to),
        paint(style, label),
        text::shorten(&text::preview(&envelope.payload), room),
        paint(THREAD, thread),
    );
    if look.payloads {
        for row in clean_block(envelope.payload.get()).lines() {
            line.push_str("\n    ");
            line.push_str(row);
        }
    }
    line
}

fn frame(account: &str, frame: &StreamFrame, names: &Names, observed_at: &str) -> String {
    let from = frame.from_account_id().map_or_else(|| "somebody".to_owned(), |id| names.of(id));
    let to = names.of(account);
    let said = |text: &str| paint(DIM, clean(text));
    let what = match frame {
        StreamFrame::Delta(delta) => {
            let text: String = std::iter::once(&delta.delta).chain(&delta.more).map(String::as_str).collect();
            clean(&text).into_owned()
        }
        StreamFrame::Start(start) => match start.seq {
            Some(seq) => said(&format!("has said {seq} pieces")),
            None => said("begins"),
        },
        StreamFrame::End(end) => said(&format!("ends after {} pieces", end.seq)),
        StreamFrame::Error(error) => paint(BAD, clean(&format!("breaks off: {}", error.error))),
        StreamFrame::Resume(resume) => said(&format!("reads from piece {} on", resume.seq)),
        StreamFrame::Cancel(_) => said("cancels"),
    };
    format!(
        "{} {} {} {}  {what}  {}",
        paint(DIM, time::clock(observed_at)),
        paint(person(&from), &from),
        paint(DIM, "⇢"),
        paint(person(&to), &to),
        paint(THREAD, short_id(frame.stream_id())),
    )
}

fn receipt(receipt: &Receipt, names: &Names) -> String {
    let who = receipt.from_account_id.as_deref().map_or_else(|| "somebody".to_owned(), |id| names.of(id));
    let sender = receipt.to_account_id.as_deref().map(|id| names.of(id)).unwrap_or_default();
    let (style, mark) = match receipt.status {
        ReceiptStatus::Accepted | ReceiptStatus::Processed => (GOOD, "✓"),
        ReceiptStatus::Rejected => (BAD, "✗"),
        ReceiptStatus::Other(_) => (WARN, "?"),
    };
    let why = match (&receipt.code, &receipt.detail) {
        (Some(code), Some(detail)) => format!(" {}: {}", clean(code), clean(detail)),
        (Some(code), None) => format!(" {}", clean(code)),
        _ => String::new(),
    };
    let of = if sender.is_empty() { String::new() } else { format!(" of {sender}") };
    let id = short_id(&receipt.message_id);
    format!(
        "{} {} {}{}",
        paint(DIM, time::clock(&receipt.event_at)),
        paint(style, format_args!("{mark} {who} {}", clean(receipt.status.as_str()))),
        paint(DIM, format_args!("message {id}{of}")),
        paint(style, why),
    )
}

fn stored(account: &str, notice: &StoredNotice, names: &Names) -> String {
    let mut parts = Vec::new();
    if !notice.message_ids.is_empty() {
        let ids: Vec<String> = notice.message_ids.iter().take(3).map(|id| short_id(id)).collect();
        let more = if notice.message_ids.len() > 3 { ", …" } else { "" };
        parts.push(format!(
            "{} {} ({}{more})",
            notice.message_ids.len(),
            plural(&notice.message_ids),
            ids.join(", ")
        ));
    }
    if !notice.receipts.is_empty() {
        parts.push(format!("{} of its receipts", notice.receipts.len()));
    }
    let mut line = String::new();
    if !parts.is_empty() || notice.failed.is_empty() {
        let what = if parts.is_empty() { "nothing".to_owned() } else { parts.join(" and ") };
        line = format!(
            "{} {} {}",
            paint(DIM, time::clock(&notice.event_at)),
            paint(GOOD, "✓ stored"),
            paint(DIM, format_args!("{what} of {}", names.of(account))),
        );
    }
    for failed in &notice.failed {
        if !line.is_empty() {
            line.push('\n');
        }
        let recipient =
            failed.recipient.as_deref().map(|id| format!(" for {}", names.of(id))).unwrap_or_default();
        line.push_str(&format!(
            "{} {} {}",
            paint(DIM, time::clock(&notice.event_at)),
            paint(BAD, format_args!("✗ {} {}", clean(&failed.state), clean(&failed.code))),
            paint(
                DIM,
                format_args!("message {} of {}{recipient}", short_id(&failed.message_id), names.of(account))
            ),
        ));
    }
    line
}

fn plural(ids: &[String]) -> &'static str {
    if ids.len() == 1 { "message" } else { "messages" }
}

/// The account's name, else the label the message itself carries.
fn name(account: Option<&str>, label: &str, names: &Names) -> String {
    match account {
        Some(id) => {
            names.find(id).unwrap_or_else(|| clean(if label.is_empty() { id } else { label }).into_owned())
        }
        None => clean(label).into_owned(),
    }
}

/// Enough of an id to recognise it.
fn short_id(id: &str) -> String {
    text::shorten(&clean(id), 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(event: &Event, width: Option<u16>, payloads: bool) -> String {
        let text = line(event, &Names::default(), Look { width, payloads }, "2026-11-21T10:00:00Z");
        anstream::adapter::strip_str(&text).to_string()
    }

    fn message(from: &str, payload: &str) -> Event {
        let body = format!(
            r#"{{"message_id":"m1","from_agent":{},"to_agent":"acct_b","payload":{payload},"thread_id":"thread_1",
            "sent_at":"2026-11-21T10:00:00Z","kind":"request","schema_version":"1.1"}}"#,
            serde_json::to_string(from).unwrap()
        );
        Event::read("account.b.inbox", body.as_bytes())
    }

    #[test]
    fn a_message_fits_the_terminal() {
        let event = message("planner", &format!(r#"{{"text":"{}"}}"#, "word ".repeat(100)));
        for width in [80, 120, 200] {
            let text = plain(&event, Some(width), false);
            assert!(text.width() <= usize::from(width), "{} > {width}: {text}", text.width());
            assert!(text.starts_with("10:00:00 planner → acct_b  request word word"), "{text}");
            assert!(text.ends_with("…  thread_1"), "{text}");
        }
    }

    #[test]
    fn nothing_of_the_network_reaches_the_terminal_as_a_command() {
        let event = message("evil\u{1b}[2J\u{9b}", r#"{"text":"\u001b]0;x\u0007"}"#);
        for payloads in [false, true] {
            let text = line(&event, &Names::default(), Look { width: None, payloads }, "");
            let plain = anstream::adapter::strip_str(&text).to_string();
            assert!(plain.contains("evil\\x1b[2J\\x9b") && plain.contains("\\x1b]0;x\\x07"), "{plain}");
            assert!(!plain.chars().any(|c| c.is_control() && c != '\n'));
        }
        let receipt =
            br#"{"message_id":"\u001b[1mm","status":"\u001b[2J","event_at":"\u009b","code":"\u0007x"}"#;
        let text = plain(&Event::read("account.a.receipts", receipt), None, false);
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn streams_read_well_and_safely() {
        let frame =
            br#"{"type":"stream_delta","stream_id":"0123456789","delta":"hel","more":["lo\u001b[2J"],"seq":4,
            "from_account_id":"acct_a"}"#;
        let event = Event::read("account.acct_b.stream.0123456789", frame);
        assert_eq!(plain(&event, None, false), "10:00:00 acct_a ⇢ acct_b  hello\\x1b[2J  01234567…");
        let end = br#"{"type":"stream_end","stream_id":"s","seq":2,"from_account_id":"acct_a"}"#;
        let event = Event::read("account.acct_b.stream.s", end);
        assert_eq!(plain(&event, None, false), "10:00:00 acct_a ⇢ acct_b  ends after 2 pieces  s");
    }

    #[test]
    fn receipts_and_confirmations_read_well() {
        let receipt = br#"{"message_id":"0123456789abcdef","status":"rejected","event_at":"2026-11-21T10:00:00Z",
            "from_account_id":"acct_b","to_account_id":"acct_a","code":"busy","detail":"agent backlog is full"}"#;
        assert_eq!(
            plain(&Event::read("account.acct_a.receipts", receipt), None, false),
            "10:00:00 ✗ acct_b rejected message 01234567… of acct_a busy: agent backlog is full"
        );
        let stored = br#"{"status":"stored","message_ids":["m1"],"event_at":"2026-11-21T10:00:00Z"}"#;
        assert_eq!(
            plain(&Event::read("account.acct_a.stored", stored), None, false),
            "10:00:00 ✓ stored 1 message (m1) of acct_a"
        );
    }
}
