//! Where NATS is and how to log in, as one URL says it. Read here for agents and services alike.

use std::fmt;

use secrecy::SecretString;
use url::Url;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 4222;

/// One server address, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// Host name or IP address (IPv6 in brackets).
    pub host: String,
    /// TCP port, 4222 unless given.
    pub port: u16,
    /// Whether `tls://` was asked for.
    pub tls: bool,
}

impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Credentials taken out of the URL, so that printing settings can't show them.
#[derive(Debug, Clone, Default)]
pub enum NatsAuth {
    /// None.
    #[default]
    Open,
    /// A shared token.
    Token(SecretString),
    /// User name and password.
    UserPassword(String, SecretString),
    /// Seed of an nkey (`S...`): the server sends a nonce, the client signs it. No URL holds one.
    NkeySeed(SecretString),
}

/// Why a text is no NATS URL. It doesn't show the text, which may hold a token or password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NatsUrlError(&'static str);

/// The servers of one cluster, and how to log in there.
#[derive(Debug, Clone)]
pub struct NatsUrl {
    /// At least one.
    pub servers: Vec<NatsServer>,
    /// One login for all of them: the first that is given.
    pub auth: NatsAuth,
}

impl NatsUrl {
    /// What [`NatsUrl::parse`] takes, for messages to people.
    pub const SHAPE: &str = "nats://[token or user:password@]host[:port]";

    /// Reads [`SHAPE`](Self::SHAPE), or the same with `tls://` or without a scheme, several separated by commas.
    ///
    /// # Errors
    /// [`NatsUrlError`], which doesn't show the text.
    pub fn parse(text: &str) -> Result<Self, NatsUrlError> {
        let (mut servers, mut auth) = (Vec::new(), NatsAuth::Open);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (server, found) = parse_one(part).map_err(NatsUrlError)?;
            servers.push(server);
            if matches!(auth, NatsAuth::Open) {
                auth = found;
            }
        }
        if servers.is_empty() { Err(NatsUrlError("it names no server")) } else { Ok(Self { servers, auth }) }
    }
}

/// The servers without any credential, for logs and errors: `a.example:4222,b.example:4222`.
pub fn redacted(servers: &[NatsServer]) -> String {
    let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
    names.join(",")
}

fn parse_one(part: &str) -> Result<(NatsServer, NatsAuth), &'static str> {
    let full = if part.contains("://") { part.to_owned() } else { format!("nats://{part}") };
    let url = Url::parse(&full).map_err(|_| "it is not a URL")?;
    let tls = match url.scheme() {
        "nats" => false,
        "tls" => true,
        _ => return Err("its scheme is neither nats nor tls"),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?.to_owned();
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("it has a path, query or fragment");
    }
    let user = decode(url.username()).ok_or("its user part is not percent-encoded UTF-8")?;
    let auth = match (user.is_empty(), url.password()) {
        (true, None) => NatsAuth::Open,
        (false, None) => NatsAuth::Token(user.into()),
        (_, Some(password)) => {
            let password = decode(password).ok_or("its password is not percent-encoded UTF-8")?;
            NatsAuth::UserPassword(user, password.into())
        }
    };
    Ok((NatsServer { host, port: url.port().unwrap_or(DEFAULT_PORT), tls }, auth))
}

/// Undoes percent-encoding, which `Url` leaves in user names and passwords.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parse(text: &str) -> NatsUrl {
        NatsUrl::parse(text).unwrap()
    }

    #[test]
    fn token_and_password_leave_the_url() {
        let url = parse("nats://s3cr%40et@localhost:4333");
        assert!(matches!(&url.auth, NatsAuth::Token(token) if token.expose_secret() == "s3cr@et"));
        assert_eq!(redacted(&url.servers), "localhost:4333");
        assert!(!format!("{url:?}").contains("s3cr"));

        let url = parse("tls://bob:pa55@a.example,nats://b.example:4223");
        assert!(matches!(&url.auth, NatsAuth::UserPassword(user, password)
            if user == "bob" && password.expose_secret() == "pa55"));
        assert_eq!(redacted(&url.servers), "a.example:4222,b.example:4223");
        assert!(url.servers[0].tls && !url.servers[1].tls);
        assert!(!format!("{url:?}").contains("pa55"));
    }

    #[test]
    fn short_forms() {
        assert_eq!(redacted(&parse("localhost").servers), "localhost:4222");
        let url = parse("tok@[::1]:5000");
        assert_eq!(redacted(&url.servers), "[::1]:5000");
        assert!(matches!(url.auth, NatsAuth::Token(_)));
        assert!(matches!(parse("nats://h").auth, NatsAuth::Open));
    }

    #[test]
    fn bad_urls_are_refused_without_showing_them() {
        for bad in
            ["http://tok3n@host", "nats://tok3n@", "nats://tok3n@h:99999", "nats://tok3n@h/path", " , ", "::"]
        {
            let error = NatsUrl::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("tok3n"), "{error}");
        }
        assert!(NatsUrl::parse("nats://%ff@h").is_err() && NatsUrl::parse("nats://u:%zz@h").is_err());
    }
}
