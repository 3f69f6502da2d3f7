//! Whether to come with a key or with what the URL holds.

use agentnet_proto::Security;

use super::{NatsAuth, NatsSettings, context};

/// Whether an agent enters the network of `settings` with its key, as secure mode wants it, instead of a token: what it was
/// told (`AGENTNET_SECURITY` among it); else, on the network of this user's `agentnet up`, its mode; else whenever the URL
/// holds no credentials. `lookup` is the environment.
///
/// Only this decides; nothing a server says turns a key into a token.
pub fn enters_with_key(
    told: Option<Security>,
    settings: &NatsSettings,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> bool {
    if let Some(told) = told {
        return told == Security::Secure;
    }
    match ours(settings, lookup).and_then(|up| up.mode.parse::<Security>().ok()) {
        Some(mode) => mode == Security::Secure,
        None => matches!(settings.auth, NatsAuth::Open),
    }
}

/// The token that lets this user's new agents into the network of `settings`: their own `agentnet up`'s.
pub(crate) fn own_enrolment_token(
    settings: &NatsSettings,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    ours(settings, lookup)?.enrolment_token
}

/// This user's `agentnet up`, if it is the network of `settings`.
fn ours(settings: &NatsSettings, lookup: &dyn Fn(&str) -> Option<String>) -> Option<context::Context> {
    context::running(lookup)
        .filter(|up| NatsSettings::from_url(&up.nats_url).is_ok_and(|up| up.servers == settings.servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_wins_then_the_running_network_then_the_url() {
        let settings = |url: &str| NatsSettings::from_url(url).unwrap();
        let nowhere = |_: &str| Some("/nowhere/context.json".to_owned());
        let (token, plain) = (settings("nats://t@h:1"), settings("nats://h:1"));
        assert!(!enters_with_key(None, &token, &nowhere));
        assert!(enters_with_key(None, &plain, &nowhere));
        assert!(enters_with_key(Some(Security::Secure), &token, &nowhere));
        assert!(!enters_with_key(Some(Security::Open), &plain, &nowhere));
        assert!(!enters_with_key(Some(Security::Signed), &plain, &nowhere));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("context.json");
        let up = context::Context {
            nats_url: "nats://h:1".to_owned(),
            mode: "open".to_owned(),
            identity: None,
            enrolment_token: Some("t0ken".to_owned()),
            data_dir: dir.path().to_owned(),
            pid: std::process::id(),
            started_at: "2026-11-21T10:00:00Z".to_owned(),
            process_started: None,
            before: None,
        };
        context::write(&file, &up).unwrap();
        let here = |name: &str| (name == context::PATH_VARIABLE).then(|| file.to_string_lossy().into_owned());
        assert!(!enters_with_key(None, &plain, &here));
        let elsewhere = settings("nats://elsewhere:1");
        assert!(enters_with_key(None, &elsewhere, &here));
        assert_eq!(own_enrolment_token(&plain, &here).as_deref(), Some("t0ken"));
        assert_eq!(own_enrolment_token(&elsewhere, &here), None);
    }
}
