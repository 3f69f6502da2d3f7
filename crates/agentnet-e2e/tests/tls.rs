//! `tls://` to NATS and `sslmode` to Postgres, with an authority of one's own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    time::Duration,
};

use agentnet::{
    ErrorKind,
    connect::{NatsSettings, NatsTls, connect},
};
use agentnet_local::{PgOptions, PostgresServer, testing::TestNats};
use agentnet_service::config::{Env, NatsConfig};
use agentnet_store::{Store, StoreConfig};
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

/// What a service's pool says about its connection: whether it is encrypted.
async fn is_encrypted(url: String) -> Result<bool, String> {
    let config = StoreConfig::new(url.into(), "tls");
    // The options of the URL are those of every connection: of the migrations, too.
    Store::migrate(&config).await.map_err(|error| error.to_string())?;
    let store = Store::connect(&config).await.map_err(|error| error.to_string())?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let answer = sqlx::query_scalar(sql).fetch_one(store.pool()).await.map_err(|error| error.to_string());
    store.close().await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_postgres_are_encrypted_and_its_certificate_checked_as_the_url_says() {
    let dir = tempfile::Builder::new().prefix("agentnet-tls-").tempdir().unwrap();
    // Postgres runs as another user when the tests run as root, and must be able to get in.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let (of_network, of_another) = (dir.path().join("ours"), dir.path().join("another"));
    for place in [&of_network, &of_another] {
        fs::create_dir(place).unwrap();
        certificates(place);
    }
    let options = |name: &str| PgOptions {
        shared_buffers: "16MB".to_owned(),
        ..PgOptions::new(dir.path().join(name), "pw".into())
    };
    let start = async |options: PgOptions| {
        let started = tokio::task::spawn_blocking(move || PostgresServer::start(options)).await.unwrap();
        started.unwrap()
    };
    // One that speaks in clear only: the server's directory is made, too.
    let server = start(options("pg")).await;
    server.create_database("tls").await.unwrap();
    let url = |server: &PostgresServer, query: &str| format!("{}?{query}", server.url("tls"));
    assert_eq!(is_encrypted(url(&server, "sslmode=disable")).await, Ok(false));
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = is_encrypted(url(&server, &format!("sslmode={mode}"))).await;
        assert!(refused.is_err(), "{mode} goes on in clear: {refused:?}");
    }
    drop(server);
    // The same with a certificate. The key must belong to the server's user, as its data do.
    let data = dir.path().join("pg/data");
    let owner = fs::metadata(&data).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::copy(of_network.join(name), data.join(name)).unwrap();
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        chown(data.join(name), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let settings = [("ssl", "on"), ("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")];
    let settings: BTreeMap<_, _> = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let server = start(PgOptions { settings, ..options("pg") }).await;
    let root = |place: &Path| place.join("ca.pem").display().to_string();
    let (ours, another) = (root(&of_network), root(&of_another));
    for mode in ["verify-full", "verify-ca"] {
        let checked = url(&server, &format!("sslmode={mode}&sslrootcert={ours}"));
        assert_eq!(is_encrypted(checked.clone()).await, Ok(true), "{mode}");
        let foreign = is_encrypted(url(&server, &format!("sslmode={mode}&sslrootcert={another}"))).await;
        assert!(foreign.is_err(), "{mode} takes the certificate of another authority: {foreign:?}");
        // Without one of its own it is the public authorities that count.
        let unknown = is_encrypted(url(&server, &format!("sslmode={mode}"))).await;
        assert!(unknown.is_err(), "{mode} takes a certificate of nobody: {unknown:?}");
        // The certificate is for 127.0.0.1.
        let elsewhere = is_encrypted(checked.replace("127.0.0.1", "localhost")).await;
        assert_eq!(elsewhere.is_ok(), mode == "verify-ca", "{mode}: {elsewhere:?}");
    }
    assert_eq!(is_encrypted(url(&server, "sslmode=require")).await, Ok(true));
    assert_eq!(is_encrypted(url(&server, "sslmode=disable")).await, Ok(false), "the server takes both");
}
