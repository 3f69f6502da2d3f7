//! `datetime.fromisoformat` of CPython 3.11, step for step: a timestamp that the original accepts or refuses
//! must be accepted or refused here too, oddities included (`08:00:00:5` is half a second past eight).

use time::{Date, Duration, Month, Time};

use super::Timestamp;
use crate::pystr;

const DAY_MICROS: i64 = 86_400_000_000;

/// Reads `text`; the rule is on [`Timestamp::parse`].
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = pystr::strip(text).replace('Z', "+00:00");
    if text.chars().take(7).count() < 7 {
        return None;
    }
    let bytes = Bytes(text.as_bytes());
    let separator = find_separator(bytes)?;
    let date = parse_date(bytes, separator)?;
    let mut clock = Clock::default();
    let mut offset = 0;
    if bytes.len() > separator {
        let time = separator + utf8_width(bytes.at(separator));
        (clock, offset) = parse_time(Bytes(bytes.0.get(time..)?))?;
    }
    let time = Time::from_hms_micro(
        u8::try_from(clock.hour).ok()?,
        u8::try_from(clock.minute).ok()?,
        u8::try_from(clock.second).ok()?,
        clock.micros,
    )
    .ok()?;
    let local = Timestamp(date.with_time(time).assume_utc());
    local.shifted(Duration::microseconds(-offset))
}

/// A NUL-terminated view: reading past the end gives 0, which no rule accepts as content.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn len(self) -> usize {
        self.0.len()
    }

    fn at(self, index: usize) -> u8 {
        self.0.get(index).copied().unwrap_or(0)
    }

    fn digits(self, from: usize, count: usize) -> Option<u32> {
        (from..from + count).try_fold(0, |value, index| {
            let byte = self.at(index);
            byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0'))
        })
    }

    fn split_at(self, index: usize) -> (Bytes<'a>, Bytes<'a>) {
        let (left, right) = self.0.split_at(index.min(self.0.len()));
        (Bytes(left), Bytes(right))
    }
}

#[derive(Default)]
struct Clock {
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
}

/// Where the date ends. `YYYY-Www-` followed by a digit pair is read as a date with a dash as separator.
fn find_separator(text: Bytes<'_>) -> Option<usize> {
    if text.len() == 7 {
        return Some(7);
    }
    match (text.at(4), text.at(5)) {
        (b'-', b'W') if text.len() > 8 && text.at(8) == b'-' => match text.len() {
            9 => None,
            10 => Some(10),
            _ if text.at(10).is_ascii_digit() => Some(8),
            _ => Some(10),
        },
        (b'-', b'W') => Some(8),
        (b'-', _) => Some(10),
        (b'W', _) => {
            let end = (7..text.len()).find(|&i| !text.at(i).is_ascii_digit()).unwrap_or(text.len());
            Some(match end {
                ..9 => end,
                _ if end % 2 == 0 => 7,
                _ => 8,
            })
        }
        _ => Some(8),
    }
}

fn parse_date(text: Bytes<'_>, end: usize) -> Option<Date> {
    let year = i32::try_from(text.digits(0, 4)?).ok()?;
    let dashed = text.at(4) == b'-';
    let mut pos = 4 + usize::from(dashed);
    if text.at(pos) == b'W' {
        let week = text.digits(pos + 1, 2)?;
        pos += 3;
        let mut day = 1;
        if pos < end {
            if dashed && text.at(pos) != b'-' {
                return None;
            }
            day = text.digits(pos + usize::from(dashed), 1)?;
        }
        return week_date(year, week, day);
    }
    let month = text.digits(pos, 2)?;
    if dashed && text.at(pos + 2) != b'-' {
        return None;
    }
    let day = text.digits(pos + 2 + usize::from(dashed), 2)?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok().filter(|_| year >= 1)
}

fn week_date(year: i32, week: u32, day: u32) -> Option<Date> {
    let weeks = u32::from(time::util::weeks_in_year(year));
    if year < 1 || !(1..=weeks).contains(&week) || !(1..=7).contains(&day) {
        return None;
    }
    // 4 January is always in week 1.
    let fourth = Date::from_calendar_date(year, Month::January, 4).ok()?;
    let to_monday = i64::from(fourth.weekday().number_days_from_monday());
    fourth.checked_add(Duration::days(i64::from((week - 1) * 7 + day - 1) - to_monday))
}

/// The time of day and the offset from UTC in microseconds.
fn parse_time(text: Bytes<'_>) -> Option<(Clock, i64)> {
    let zone = text.0.iter().position(|byte| matches!(byte, b'+' | b'-')).unwrap_or(text.len());
    let (clock, rest) = parse_clock(text, zone)?;
    let (_, tail) = text.split_at(zone);
    if tail.len() == 0 {
        return (!rest).then_some((clock, 0));
    }
    let (_, amount) = tail.split_at(1);
    let (by, rest) = parse_clock(amount, amount.len())?;
    if rest {
        return None;
    }
    let seconds = i64::from(by.hour * 3600 + by.minute * 60 + by.second);
    // CPython takes an offset of zero seconds for UTC and forgets its fraction.
    let micros = if seconds == 0 { 0 } else { seconds * 1_000_000 + i64::from(by.micros) };
    if micros >= DAY_MICROS {
        return None;
    }
    Some((clock, if tail.at(0) == b'-' { -micros } else { micros }))
}

/// `HH[:?MM[:?SS[{.,}f+]]]` up to `end`; the flag says that something is left over.
fn parse_clock(text: Bytes<'_>, end: usize) -> Option<(Clock, bool)> {
    let mut parts = [0; 3];
    let mut pos = 0;
    let mut colons = false;
    for (index, part) in parts.iter_mut().enumerate() {
        *part = text.digits(pos, 2)?;
        let next = text.at(pos + 2);
        pos += 3;
        if index == 0 {
            colons = next == b':';
        }
        if pos >= end {
            let [hour, minute, second] = parts;
            return Some((Clock { hour, minute, second, micros: 0 }, next != 0));
        }
        match next {
            b':' if colons => {}
            b'.' | b',' => break,
            _ if !colons => pos -= 1,
            _ => return None,
        }
    }
    let width = (end - pos).min(6);
    let mut micros = text.digits(pos, width)?;
    for _ in width..6 {
        micros *= 10;
    }
    pos += width;
    while text.at(pos).is_ascii_digit() {
        pos += 1;
    }
    let [hour, minute, second] = parts;
    Some((Clock { hour, minute, second, micros }, text.at(pos) != 0))
}

fn utf8_width(first: u8) -> usize {
    match first {
        ..0x80 => 1,
        0xe0..=0xef => 3,
        0xf0.. => 4,
        _ => 2,
    }
}
