//! Versions as `--version` prints them.

use std::fmt;

/// A version number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number; for Postgres what its data files depend on.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number, 0 for Postgres.
    pub patch: u32,
}

impl Version {
    pub(super) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the first dotted number of a line like `nats-server: v2.15.1` or
    /// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; betas (`18beta1`) count as their release.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let digit = line.find(|c: char| c.is_ascii_digit())?;
        let mut numbers = line[digit..].split(|c: char| !c.is_ascii_digit() && c != '.').next()?.split('.');
        let mut next = || numbers.next().map_or(Some(0), |number| number.parse().ok());
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_servers_print() {
        let parse = |line| Version::parse(line).unwrap();
        assert_eq!(parse("nats-server: v2.15.1"), Version::new(2, 15, 1));
        assert_eq!(parse("nats-server: v2.12.0-RC.1"), Version::new(2, 12, 0));
        assert_eq!(parse("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Version::new(15, 18, 0));
        assert_eq!(parse("postgres (PostgreSQL) 18beta1"), Version::new(18, 0, 0));
        assert_eq!(Version::parse("no number"), None);
        assert_eq!(Version::parse("v99999999999"), None);
        assert!(parse("v2.9.10") < Version::new(2, 12, 0));
    }
}
