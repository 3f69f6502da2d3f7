//! The security mode, read the same way by every service.

use agentnet_proto::Security;

use super::{ConfigError, Env};

/// `AGENTNET_SECURITY`, which wins; else `DEV_AUTH=true` means [`Security::Signed`]; else [`Security::Open`].
///
/// # Errors
/// Another word, and `AGENTNET_SECURITY=open` together with `DEV_AUTH=true`: one of them can't be meant.
pub fn security(env: &Env) -> Result<Security, ConfigError> {
    let dev_auth = env.flag("DEV_AUTH", false)?;
    let default = if dev_auth { Security::Signed } else { Security::Open };
    match env.choice("AGENTNET_SECURITY", default, &Security::WORDS)? {
        Security::Open if dev_auth => Err(ConfigError::Invalid {
            variable: "DEV_AUTH".to_owned(),
            value: "true".to_owned(),
            expected: "false or unset with AGENTNET_SECURITY=open; signatures need AGENTNET_SECURITY=signed"
                .to_owned(),
        }),
        security => Ok(security),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Security, ConfigError> {
        security(&Env::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn the_explicit_setting_wins_and_contradictions_are_refused() {
        assert_eq!(read(&[]), Ok(Security::Open));
        assert_eq!(read(&[("DEV_AUTH", "yes")]), Ok(Security::Signed));
        assert_eq!(read(&[("AGENTNET_SECURITY", "Signed"), ("DEV_AUTH", "0")]), Ok(Security::Signed));
        assert_eq!(read(&[("AGENTNET_SECURITY", "secure"), ("DEV_AUTH", "1")]), Ok(Security::Secure));
        let refused = read(&[("AGENTNET_SECURITY", "open"), ("DEV_AUTH", "1")]).unwrap_err();
        assert_eq!(refused.variable(), "DEV_AUTH");
        assert_eq!(read(&[("AGENTNET_SECURITY", "none")]).unwrap_err().variable(), "AGENTNET_SECURITY");
    }
}
