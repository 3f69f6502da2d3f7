//! `tls://` with an authority of one's own, for services and for agents.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{fs, path::Path, time::Duration};

use agentnet::{
    ErrorKind,
    connect::{NatsSettings, NatsTls, connect},
};
use agentnet_local::testing::TestNats;
use agentnet_service::config::{Env, NatsConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const SOON: Duration = Duration::from_secs(10);

/// An authority, and certificates of it for the server and for a client.
fn certificates(dir: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(dir.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    for (name, host) in [("server", "127.0.0.1"), ("client", "client.example")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = |name: &str| dir.path().join(name);
    let shown = |name: &str| path(name).display().to_string();
    let nats = TestNats::start_with(|options| {
        options.extra_config = format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n",
            shown("server.pem"),
            shown("server.key"),
            shown("ca.pem")
        );
    });
    let url = nats.url().replace("nats://", "tls://");
    // A service, by its environment.
    let (ca, cert, key) = (shown("ca.pem"), shown("client.pem"), shown("client.key"));
    let all = [
        ("NATS_URL", url.as_str()),
        ("AGENTNET_NATS_CONNECT_SECONDS", "1"),
        ("AGENTNET_NATS_CA", &ca),
        ("AGENTNET_NATS_CERT", &cert),
        ("AGENTNET_NATS_KEY", &key),
    ];
    let config =
        |pairs: &[(&str, &str)]| NatsConfig::from_env(&Env::from_pairs(pairs.iter().copied())).unwrap();
    let service = agentnet_service::nats::connect(&config(&all), "test").await.unwrap();
    service.round_trip(SOON).await.unwrap();
    for (missing, pairs) in [("the authority", &all[..2]), ("the own certificate", &all[..3])] {
        assert!(agentnet_service::nats::connect(&config(pairs), "test").await.is_err(), "without {missing}");
    }
    // An agent.
    let mut settings = NatsSettings::from_url(&url).unwrap();
    settings.connect_timeout = Duration::from_secs(1);
    settings.tls =
        NatsTls { ca: Some(path("ca.pem")), client: Some((path("client.pem"), path("client.key"))) };
    let agent = connect(&settings).await.unwrap();
    agent.round_trip(SOON).await.unwrap();
    settings.tls.ca = None;
    assert_eq!(connect(&settings).await.unwrap_err().kind(), ErrorKind::NatsUnavailable);
    settings.tls = NatsTls { ca: Some(path("ca.pem")), client: None };
    assert_eq!(connect(&settings).await.unwrap_err().kind(), ErrorKind::NatsUnavailable);
    agent.close(SOON).await.unwrap();
}
