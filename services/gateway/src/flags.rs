//! What the command line may say: `--tls-cert FILE` and `--tls-key FILE`, before the environment. The command `health` is the
//! chassis' own.

use agentnet_service::config::Env;

/// Flags, and the variables that they stand for.
const FLAGS: [(&str, &str); 2] = [("--tls-cert", "GATEWAY_TLS_CERT"), ("--tls-key", "GATEWAY_TLS_KEY")];

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Reads arguments: none, `--flag value` and `--flag=value`. Those that begin with no known flag are left to the chassis.
    ///
    /// # Errors
    /// What is wrong with a known flag, for people.
    pub fn of(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut found = Vec::new();
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let Some((name, variable)) = FLAGS.into_iter().find(|(flag, _)| *flag == name) else {
                if found.is_empty() {
                    return Ok(Self::default());
                }
                return Err(format!("{arg} is no argument; it takes --tls-cert and --tls-key, or `health`"));
            };
            let value = value.or_else(|| args.next()).filter(|value| !value.is_empty());
            found.push((variable, value.ok_or_else(|| format!("{name} wants a PEM file"))?));
        }
        Ok(Self(found))
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The environment with what was said in front.
    pub fn over(self, env: Env) -> Env {
        Env::new(move |name| {
            let said = self.0.iter().rev().find(|(variable, _)| *variable == name);
            said.map(|(_, value)| value.clone()).or_else(|| env.get(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Result<Flags, String> {
        Flags::of(args.iter().map(|&arg| arg.to_owned()))
    }

    #[test]
    fn flags_stand_before_the_environment() {
        let flags = of(&["--tls-cert", "a.pem", "--tls-key=b.pem"]).unwrap();
        let env = flags.over(Env::from_pairs([("GATEWAY_TLS_CERT", "x"), ("NATS_URL", "y")]));
        assert_eq!(env.get("GATEWAY_TLS_CERT").as_deref(), Some("a.pem"));
        assert_eq!(env.get("GATEWAY_TLS_KEY").as_deref(), Some("b.pem"));
        assert_eq!(env.get("NATS_URL").as_deref(), Some("y"));
        assert!(of(&[]).unwrap().is_empty());
        assert!(of(&["health"]).unwrap().is_empty());
        assert!(of(&["--tls-cert"]).is_err());
        assert!(of(&["--tls-cert", "a.pem", "health"]).is_err());
    }
}
