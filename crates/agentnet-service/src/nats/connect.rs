//! The first connection, and the options under which later ones are made.

use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, ServerAddr};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::events::{self, Events};
use super::{Nats, NatsError, NatsErrorKind};
use crate::config::{NatsAuth, NatsConfig};

/// Pause before the second attempt; it doubles up to [`NatsConfig::reconnect_max`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Connects within [`NatsConfig::connect_deadline`], retrying until then, and names the connection `name`.
/// Refused credentials fail at once. Once connected, the client reconnects for ever and keeps subscriptions.
pub async fn connect(config: &NatsConfig, name: &str) -> Result<Nats, NatsError> {
    let target = config.redacted();
    let servers = addresses(config)
        .map_err(|source| NatsError::new(NatsErrorKind::Unavailable, &target, None, source.into()))?;
    let deadline = Instant::now() + config.connect_deadline;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (events, state) = events::channel(&target);
        let options = options(config, name, events);
        let cause: Box<dyn std::error::Error + Send + Sync> =
            match timeout_at(deadline, options.connect(servers.as_slice())).await {
                Ok(Ok(client)) => {
                    tracing::info!(nats = target, name, "connected to NATS");
                    let config = std::sync::Arc::new(config.clone());
                    return Ok(Nats { client, state, target: target.into(), config });
                }
                Ok(Err(error)) if refused(&error) => {
                    return Err(NatsError::new(NatsErrorKind::Refused, &target, None, error.into()));
                }
                Ok(Err(error)) => error.into(),
                Err(_) => "the connection attempt took too long".into(),
            };
        let next = Instant::now() + pause(attempt, config.reconnect_max);
        if next >= deadline {
            let waited = Some(config.connect_deadline);
            return Err(NatsError::new(NatsErrorKind::Unavailable, &target, waited, cause));
        }
        if attempt == 1 {
            let deadline_s = config.connect_deadline.as_secs_f64();
            tracing::warn!(nats = target, cause = %cause, deadline_s, "NATS not reachable yet; trying on");
        } else {
            tracing::debug!(nats = target, attempt, cause = %cause, "NATS not reachable yet");
        }
        sleep_until(next).await;
    }
}

fn refused(error: &async_nats::ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}

fn addresses(config: &NatsConfig) -> Result<Vec<ServerAddr>, std::io::Error> {
    let scheme = |tls| if tls { "tls" } else { "nats" };
    config.servers.iter().map(|server| format!("{}://{server}", scheme(server.tls)).parse()).collect()
}

fn options(config: &NatsConfig, name: &str, events: Events) -> ConnectOptions {
    let longest = config.reconnect_max;
    let options = ConnectOptions::new()
        .name(name)
        .max_reconnects(None)
        .connection_timeout(config.connect_deadline.min(Duration::from_secs(5)))
        .ping_interval(config.ping_interval)
        .subscription_capacity(config.subscription_capacity)
        .client_capacity(config.send_capacity)
        .reconnect_delay_callback(move |attempt| pause(attempt.saturating_sub(1), longest))
        .event_callback(move |event| {
            events.observe(&event);
            std::future::ready(())
        });
    let options = match &config.inbox_prefix {
        Some(prefix) => options.custom_inbox_prefix(prefix),
        None => options,
    };
    let options = match &config.tls.ca {
        Some(ca) => options.add_root_certificates(ca.clone()),
        None => options,
    };
    let options = match &config.tls.client {
        Some((cert, key)) => options.add_client_certificate(cert.clone(), key.clone()),
        None => options,
    };
    match &config.auth {
        NatsAuth::Open => options,
        NatsAuth::Token(token) => options.token(token.expose_secret().to_owned()),
        NatsAuth::UserPassword(user, password) => {
            options.user_and_password(user.clone(), password.expose_secret().to_owned())
        }
        NatsAuth::NkeySeed(seed) => options.nkey(seed.expose_secret().to_owned()),
    }
}

/// Doubling pause with half of it random, so that the clients of a restarted server don't return as one.
fn pause(attempt: usize, longest: Duration) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(20);
    let whole = FIRST_PAUSE.saturating_mul(1 << doublings).min(longest);
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap() {
        let cap = Duration::from_secs(2);
        assert_eq!(pause(0, cap), Duration::ZERO);
        assert!(pause(1, cap) <= FIRST_PAUSE);
        for attempt in [10, 64, usize::MAX] {
            let pause = pause(attempt, cap);
            assert!(pause <= cap && pause >= cap / 2, "{pause:?}");
        }
    }
}
