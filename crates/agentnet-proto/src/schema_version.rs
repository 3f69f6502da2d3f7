//! Versions of the envelope's schema.

use crate::error::ErrorCode;

/// What this implementation writes.
pub const CURRENT: &str = "1.2";
/// What a message without a version has.
pub const DEFAULT: &str = "1.0";

/// Checks that a message of this version can be read: any minor of major 1. An empty version counts as 1.0.
///
/// # Errors
/// [`ErrorCode::SchemaVersionInvalid`] for what isn't a version, [`ErrorCode::UnsupportedSchemaVersion`] for another
/// major.
pub fn check(version: &str) -> Result<(), ErrorCode> {
    let version = if version.is_empty() { DEFAULT } else { version };
    // Only the major counts, as in the original: "1", "1.7" and "1.x" are all readable.
    let major = version.split('.').next().unwrap_or_default().trim();
    match major.parse::<i64>() {
        Ok(1) => Ok(()),
        Ok(_) => Err(ErrorCode::UnsupportedSchemaVersion),
        Err(_) => Err(ErrorCode::SchemaVersionInvalid),
    }
}

/// Whether a peer of this version knows what 1.2 added: confirmations of receipts, the redelivery subject.
pub fn is_at_least_1_2(version: &str) -> bool {
    let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    major == 1 && minor >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors() {
        for good in ["", "1", "1.0", "1.1", "1.2", "1.99", "1.x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check("2.0"), Err(ErrorCode::UnsupportedSchemaVersion));
        assert_eq!(check("0.9"), Err(ErrorCode::UnsupportedSchemaVersion));
        assert_eq!(check("-1"), Err(ErrorCode::UnsupportedSchemaVersion));
        for bad in ["x", "v1", ".1", "one.two"] {
            assert_eq!(check(bad), Err(ErrorCode::SchemaVersionInvalid), "{bad}");
        }
    }

    #[test]
    fn minors() {
        assert!(is_at_least_1_2("1.2") && is_at_least_1_2("1.10"));
        assert!(!is_at_least_1_2("1.1") && !is_at_least_1_2("1") && !is_at_least_1_2("2.0"));
    }
}
