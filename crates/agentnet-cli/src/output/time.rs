//! Times for people: how long ago, or the clock in UTC. Filters (`--from-ts`) take UTC too, so what is shown can be
//! typed back.

use agentnet_proto::Timestamp;

use super::escape::clean;

/// `12 s ago`; the text itself when it isn't a time.
pub fn ago(text: &str, now: Timestamp) -> String {
    let Some(then) = Timestamp::parse(text) else { return clean(text).into_owned() };
    let seconds = now.duration_since(then) / 1000;
    match seconds {
        // Clocks of two machines differ a little.
        ..=0 => "now".to_owned(),
        1..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// `2026-11-21 09:48:43`, UTC; the text itself when it isn't a time.
pub fn date_time(text: &str) -> String {
    match Timestamp::parse(text) {
        Some(at) => at.to_string().get(..19).unwrap_or_default().replace('T', " "),
        None => clean(text).into_owned(),
    }
}

/// The clock alone if it was today, else with the date; UTC.
pub fn when(text: &str, now: Timestamp) -> String {
    let full = date_time(text);
    match full.strip_prefix(now.to_string().get(..10).unwrap_or_default()) {
        Some(clock) if Timestamp::parse(text).is_some() => clock.trim_start().to_owned(),
        _ => full,
    }
}

/// `09:48:43`, UTC; the text itself when it isn't a time.
pub fn clock(text: &str) -> String {
    match Timestamp::parse(text) {
        Some(at) => at.to_string().get(11..19).unwrap_or_default().to_owned(),
        None => clean(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let now = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
        let of = |text: &str| ago(text, now);
        assert_eq!(of("2026-11-21T10:00:00.5Z"), "now");
        assert_eq!(of("2026-11-21T09:59:48Z"), "12 s ago");
        assert_eq!(of("2026-11-21T09:30:00Z"), "30 min ago");
        assert_eq!(of("2026-11-20T10:00:00Z"), "24 h ago");
        assert_eq!(of("2026-11-01T10:00:00Z"), "20 days ago");
        assert_eq!(of("yesterday\x1b"), "yesterday\\x1b");
        assert_eq!(date_time("2026-11-21T09:48:43.123456Z"), "2026-11-21 09:48:43");
        assert_eq!(when("2026-11-21T09:48:43.1Z", now), "09:48:43");
        assert_eq!(when("2026-11-20T09:48:43.1Z", now), "2026-11-20 09:48:43");
        assert_eq!(when("2026-11-21 or so", now), "2026-11-21 or so");
        assert_eq!(clock("2026-11-21T11:48:43+02:00"), "09:48:43");
    }
}
