//! The network's name, read the same way by every service.

use agentnet_proto::Security;
use agentnet_proto::signature::Deployment;

use super::{ConfigError, Env};

/// `AGENTNET_DEPLOYMENT`, `agentnet` unless set. In secure mode it must be set: two networks of one name would take each
/// other's signatures.
///
/// # Errors
/// A text that can't name a network; none in secure mode.
pub fn deployment(env: &Env, security: Security) -> Result<Deployment, ConfigError> {
    let expected = "1 to 64 letters, digits, `_`, `-` and `.`, chosen once for the network and never changed";
    let value = match security {
        Security::Secure => env.required("AGENTNET_DEPLOYMENT", expected)?,
        Security::Open | Security::Signed => {
            env.string("AGENTNET_DEPLOYMENT", Deployment::default().as_str())
        }
    };
    value.parse().map_err(|_| ConfigError::Invalid {
        variable: "AGENTNET_DEPLOYMENT".to_owned(),
        value,
        expected: expected.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secure_network_has_a_name_of_its_own() {
        let read = |value: Option<&str>, security| {
            let pairs: Vec<_> = value.map(|value| ("AGENTNET_DEPLOYMENT", value)).into_iter().collect();
            deployment(&Env::from_pairs(pairs), security)
        };
        assert_eq!(read(None, Security::Signed).unwrap().as_str(), "agentnet");
        assert_eq!(read(Some("prod-1"), Security::Secure).unwrap().as_str(), "prod-1");
        for (value, security) in [(None, Security::Secure), (Some("a b"), Security::Open)] {
            assert_eq!(read(value, security).unwrap_err().variable(), "AGENTNET_DEPLOYMENT");
        }
    }
}
