//! Instants on the wire: UTC, microseconds, years 1 to 9999.

mod iso;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use time::macros::datetime;
use time::{OffsetDateTime, UtcOffset};

/// An instant in UTC with microsecond precision, what Postgres keeps and the original's Python clock gives.
///
/// Always within [`Timestamp::MIN`] and [`Timestamp::MAX`], so that its text form can always be read back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

/// The text is not a timestamp; see [`Timestamp::parse`] for what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 timestamp of the years 1 to 9999")]
pub struct TimestampError;

impl Timestamp {
    /// The earliest instant, `0001-01-01T00:00:00Z`.
    pub const MIN: Self = Self(datetime!(0001-01-01 00:00:00 UTC));
    /// The latest instant, `9999-12-31T23:59:59.999999Z`.
    pub const MAX: Self = Self(datetime!(9999-12-31 23:59:59.999999 UTC));
    /// `1970-01-01T00:00:00Z`.
    pub const UNIX_EPOCH: Self = Self(OffsetDateTime::UNIX_EPOCH);

    /// Reads what the original reads: `datetime.fromisoformat(text.strip().replace("Z", "+00:00"))` of
    /// CPython 3.11, naive meaning UTC. `None` also for an instant outside [`Self::MIN`]..=[`Self::MAX`].
    ///
    /// That is wider than RFC 3339: date only, basic and week formats, any separator character, a comma
    /// before the fraction, digits after the sixth ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        iso::parse(text)
    }

    /// Converts to UTC and drops what is below a microsecond; saturates at [`Self::MIN`] and [`Self::MAX`].
    #[must_use]
    pub fn from_offset(instant: OffsetDateTime) -> Self {
        match instant.checked_to_offset(UtcOffset::UTC) {
            Some(utc) => Self(truncate(utc).clamp(Self::MIN.0, Self::MAX.0)),
            // Only the outermost days of the calendar leave the range on conversion.
            None if instant.year() > 0 => Self::MAX,
            None => Self::MIN,
        }
    }

    /// The same instant as a `time` value in UTC.
    #[must_use]
    pub const fn to_offset(self) -> OffsetDateTime {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0.unix_timestamp() * 1000 + self.0.millisecond() as i64
    }

    /// The instant that many milliseconds after the Unix epoch; `None` outside the years 1 to 9999.
    #[must_use]
    pub fn from_unix_millis(millis: i64) -> Option<Self> {
        Self::UNIX_EPOCH.shifted(time::Duration::milliseconds(millis))
    }

    /// Adds; `None` past [`Self::MAX`]. Nanoseconds are dropped.
    #[must_use]
    pub fn checked_add(self, by: Duration) -> Option<Self> {
        self.shifted(time::Duration::try_from(by).ok()?)
    }

    /// Adds, stopping at [`Self::MAX`].
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        self.checked_add(by).unwrap_or(Self::MAX)
    }

    /// Subtracts, stopping at [`Self::MIN`].
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        time::Duration::try_from(by).ok().and_then(|by| self.shifted(-by)).unwrap_or(Self::MIN)
    }

    /// Moves by a signed number of milliseconds, stopping at [`Self::MIN`] and [`Self::MAX`].
    #[must_use]
    pub fn saturating_add_millis(self, millis: i64) -> Self {
        let end = if millis < 0 { Self::MIN } else { Self::MAX };
        self.shifted(time::Duration::milliseconds(millis)).unwrap_or(end)
    }

    /// Signed milliseconds from `earlier` to `self`, rounded towards zero; negative when `earlier` is later.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> i64 {
        // 9999 years are 3.2e14 ms, far inside an i64.
        i64::try_from((self.0 - earlier.0).whole_milliseconds()).unwrap_or(i64::MAX)
    }

    fn shifted(self, by: time::Duration) -> Option<Self> {
        let moved = truncate(self.0.checked_add(by)?);
        (Self::MIN.0..=Self::MAX.0).contains(&moved).then_some(Self(moved))
    }
}

fn truncate(instant: OffsetDateTime) -> OffsetDateTime {
    instant.truncate_to_microsecond()
}

/// `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`, the fraction left out when it is zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second, micros) = self.0.to_hms_micro();
        // Digit by digit: every message and receipt carries some, and `write!` takes several times as long.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[..4], year.unsigned_abs());
        put(&mut text[5..7], u8::from(month).into());
        put(&mut text[8..10], day.into());
        put(&mut text[11..13], hour.into());
        put(&mut text[14..16], minute.into());
        put(&mut text[17..19], second.into());
        put(&mut text[20..26], micros);
        let len = if micros == 0 {
            text[19] = b'Z';
            20
        } else {
            text.len()
        };
        f.write_str(std::str::from_utf8(&text[..len]).map_err(|_| fmt::Error)?)
    }
}

/// Writes the number's last digits, with zeros in front.
fn put(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text).ok_or(TimestampError)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(instant: OffsetDateTime) -> Self {
        Self::from_offset(instant)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an ISO 8601 timestamp")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
