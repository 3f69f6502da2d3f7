//! Which part of a file is wanted (RFC 9110, section 14).

/// What to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    Whole,
    /// From the first to behind the last byte.
    Part(u64, u64),
    /// What isn't there.
    Nowhere,
}

/// Reads `Range`. What isn't understood, several ranges included, means everything, as the standard allows.
pub(super) fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = range.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::Whole };
    let number = |text: &str| -> Option<u64> {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first.is_empty(), number(first), last.is_empty(), number(last)) {
        (true, _, _, Some(suffix)) if suffix == 0 || size == 0 => Wanted::Nowhere,
        (true, _, _, Some(suffix)) => Wanted::Part(size.saturating_sub(suffix), size),
        (false, Some(first), true, _) if first < size => Wanted::Part(first, size),
        (false, Some(first), _, Some(last)) if last < first => Wanted::Whole,
        (false, Some(first), false, Some(last)) if first < size => {
            Wanted::Part(first, size.min(last.saturating_add(1)))
        }
        (false, Some(_), true, _) | (false, Some(_), false, Some(_)) => Wanted::Nowhere,
        _ => Wanted::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_standard_has_them() {
        let of = |text| wanted(Some(text), 10);
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(of("bytes=0-4"), Wanted::Part(0, 5));
        assert_eq!(of("bytes=4-"), Wanted::Part(4, 10));
        assert_eq!(of("bytes=-3"), Wanted::Part(7, 10));
        assert_eq!(of("bytes=-30"), Wanted::Part(0, 10));
        assert_eq!(of("bytes=9-99999999999999999999999"), Wanted::Part(9, 10));
        for nowhere in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(of(nowhere), Wanted::Nowhere, "{nowhere}");
        }
        for whole in
            ["bytes=", "bytes=-", "bytes=4-2", "bytes=0-1,4-5", "lines=0-1", "bytes=+1-2", "bytes=a-"]
        {
            assert_eq!(of(whole), Wanted::Whole, "{whole}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nowhere);
    }
}
