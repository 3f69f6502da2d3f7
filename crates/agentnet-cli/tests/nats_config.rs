//! `agentnet nats-config`, and what compose makes of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use agentnet_local::testing::TestNats;
use support::{AGENTNET, Place};

const SEEDS: [&str; 6] =
    ["nats-registry", "nats-persister", "nats-gateway", "nats-system", "nats-issuer", "nats-xkey"];

#[test]
fn keys_are_made_once_and_the_configuration_holds_none() {
    let place = Place::new();
    let dir = place.file("keys");
    let args = ["nats-config", "--dir", dir.to_str().unwrap(), "--seen-as", "/run/secrets"];
    let first = place.run(&args).exits(0);
    let seeds = SEEDS.map(|name| {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
    });
    let config = fs::read_to_string(dir.join("nats-secure.conf")).unwrap();
    let environment = fs::read_to_string(dir.join("services.env")).unwrap();
    for seed in &seeds {
        for text in [&config, &environment, &first.stdout, &first.stderr] {
            assert!(seed.starts_with('S') && !text.contains(seed));
        }
    }
    assert!(environment.contains("AGENTNET_GATEWAY_KEYS=U"), "{environment}");
    let secret = fs::read_to_string(dir.join("token-secret")).unwrap();
    assert!(secret.trim().len() >= 32 && !environment.contains(secret.trim()));
    assert!(environment.contains("AGENTNET_NKEY_SEED_FILE=/run/secrets/nats-registry"), "{environment}");
    assert_eq!(place.run(&args).exits(0).stdout, first.stdout, "made once");
    // A server takes it.
    let nats = TestNats::start_with(|options| {
        options.token = None;
        options.extra_config = config;
    });
    assert!(nats.is_running());
    fs::write(dir.join("nats-xkey"), "SXnonsense").unwrap();
    place.run(&args).exits(2).warns("keys");
}

#[test]
fn compose_gets_its_secrets_from_one_command() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::create_dir(place.file("docker")).unwrap();
    for file in ["docker/init", ".env.example"] {
        fs::copy(root.join(file), place.file(file)).unwrap();
    }
    let run = || {
        let done = Command::new(place.file("docker/init")).env("AGENTNET", AGENTNET).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read_to_string(place.file(".env")).unwrap()
    };
    let made = run();
    assert_eq!(run(), made, "what is there stays");
    let value = |name: &str| {
        made.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap_or_default().to_owned()
    };
    assert!(value("POSTGRES_PASSWORD").len() == 48 && value("AGENTNET_DEPLOYMENT").len() == 26, "{made}");
    assert!(value("AGENTNET_GATEWAY_KEYS").starts_with('U'), "{made}");
    assert_eq!(fs::metadata(place.file(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(place.file("docker/secrets")).unwrap().permissions().mode() & 0o777, 0o700);
    // Everything that compose mounts is there.
    let compose = fs::read_to_string(root.join("docker/docker-compose.yml")).unwrap();
    let mut mounted = 0;
    for name in compose.split("./secrets/").skip(1) {
        let name: String =
            name.chars().take_while(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
        assert!(place.file("docker/secrets").join(&name).exists(), "{name}");
        mounted += 1;
    }
    assert_eq!(mounted, 9);
    assert!(!compose.contains("agentnet_secret_token"), "no default token");
}

#[test]
fn the_server_takes_the_configuration_of_compose() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = place.file("nats.conf");
    fs::copy(root.join("docker/nats.conf"), &config).unwrap();
    let binary = agentnet_local::Search::from_env().nats().unwrap();
    let check = || Command::new(&binary.path).arg("-t").arg("-c").arg(&config).output().unwrap();
    // Never without the services' keys.
    assert!(!check().status.success());
    let dir = place.file("keys");
    place.run(&["nats-config", "--dir", dir.to_str().unwrap(), "--seen-as", "/run/secrets"]).exits(0);
    fs::copy(dir.join("nats-secure.conf"), place.file("nats-secure.conf")).unwrap();
    let checked = check();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
