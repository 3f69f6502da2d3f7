//! People and machines that come in over HTTP: passwords, access tokens, and the session keys that logins bind (ADR 0008).
//!
//! | module | what it does |
//! |---|---|
//! | `password` | hashes and verifies passwords, a few at a time |
//! | `throttle` | slows down logins that fail |
//! | `tokens` | the keys that sign access tokens, sealed in Postgres |
//! | `session` | logins, the keys they bind, and what others are told of them |
//! | `gateways` | accounts of the gateways that the configuration names |

pub(crate) mod gateways;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod throttle;
pub(crate) mod tokens;

use agentnet_proto::SecretText;
use agentnet_proto::ids::IdGen;

pub use self::gateways::GatewayError;
pub use self::password::PasswordCost;
pub(crate) use self::password::Passwords;
pub(crate) use self::tokens::{Issuer, Tokens};
use crate::config::Config;

/// What logging in takes.
#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) passwords: Passwords,
    pub(crate) tokens: Tokens,
}

impl Users {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            passwords: Passwords::new(config.password_cost),
            tokens: Tokens::new(config.token_secret.as_ref(), config.token_key_life),
        }
    }
}

/// A secret of 244 random bits, beginning with what it is.
pub(crate) fn secret(prefix: &str, ids: &dyn IdGen) -> SecretText {
    SecretText::new(format!("{prefix}{}{}", ids.nonce(), ids.nonce()))
}

/// What an account is called to those who log in: the kind of account says more than its role.
pub(crate) fn role_name(role: &str, kind: &str) -> String {
    match (role, kind) {
        ("operator", _) => "operator",
        (_, "human") => "user",
        _ => "agent",
    }
    .to_owned()
}
