//! `agentnet nats-config`, and what compose makes of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

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

/// What compose's one-shot service does, with directories in place of its volumes.
fn init(place: &Place, mode: &str, args: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/init.sh");
    let uid = nix::unistd::getuid().to_string();
    let mut command = Command::new(script);
    command.args(args).env("AGENTNET", AGENTNET).env("SERVICE_UID", uid).env("AGENTNET_SECURITY", mode);
    command.env("KEYS", place.file("keys")).env("OUT", place.file("out")).output().unwrap()
}

fn made(place: &Place, mode: &str) {
    let done = init(place, mode, &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn compose_gets_its_secrets_from_its_init() {
    let place = Place::new();
    let read = |name: &str| fs::read_to_string(place.file(name)).unwrap_or_default();
    made(&place, "secure");
    let before =
        ["registry", "persister", "gateway"].map(|service| read(&format!("out/{service}/service.env")));
    made(&place, "secure");
    let after =
        ["registry", "persister", "gateway"].map(|service| read(&format!("out/{service}/service.env")));
    assert_eq!(before, after, "what is there stays");
    // Each has what it needs, for its eyes only, and nothing of the others.
    for (service, keys) in [
        (
            "registry",
            &["nats-registry", "nats-issuer", "nats-xkey", "nats-system", "enrolment-token", "token-secret"]
                [..],
        ),
        ("persister", &["nats-persister"]),
        ("gateway", &["nats-gateway"]),
    ] {
        let mut there: Vec<_> = fs::read_dir(place.file("out").join(service))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let mut expected: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        expected.push("service.env".to_owned());
        expected.sort();
        assert_eq!(there, expected, "{service}");
        for name in there {
            let mode =
                fs::metadata(place.file("out").join(service).join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o400, "{service}/{name}");
        }
    }
    let [registry, persister, gateway] = after;
    let password = read("keys/postgres-password");
    assert!(password.len() == 48 && registry.contains(&password) && persister.contains(&password));
    assert!(!gateway.contains("DATABASE_URL"), "the gateway has no database: {gateway}");
    assert!(
        registry.contains("AGENTNET_OPERATOR_KEYS=") && registry.contains("AGENTNET_GATEWAY_KEYS=U"),
        "{registry}"
    );
    for named in registry.lines().filter_map(|line| line.split_once("_FILE=/run/agentnet/")) {
        assert!(!read(&format!("out/registry/{}", named.1)).is_empty(), "{named:?}");
    }
    // The operator's text is what `agentnet attach` takes.
    let text = init(&place, "secure", &["operator"]);
    let attached =
        place.run_with_input(&["attach", "-"], Some(&String::from_utf8_lossy(&text.stdout))).exits(0);
    let name = format!("{}-operator", read("keys/deployment").trim());
    assert!(attached.stdout.contains(&name), "{}", attached.stdout);
    let shown = place.run(&["identity", "show", &name, "--json"]).exits(0).json();
    assert!(registry.contains(shown["public_key"].as_str().unwrap()));
    // Every volume that compose hands on is one that the script fills.
    let compose = fs::read_to_string(place_of("docker/docker-compose.yml")).unwrap();
    for line in compose.lines().filter_map(|line| line.trim().strip_prefix("- keys-")) {
        let (name, at) = line.split_once(':').unwrap();
        assert!(
            place.file("out").join(name).is_dir() || at.starts_with("/etc") || at.starts_with("/run"),
            "{line}"
        );
    }
    assert!(!compose.contains("agentnet_secret_token"), "no default token");
}

#[test]
fn compose_runs_in_open_mode_when_told_to() {
    let place = Place::new();
    made(&place, "secure");
    made(&place, "open");
    let warned = String::from_utf8_lossy(&init(&place, "open", &[]).stderr).into_owned();
    assert!(warned.contains("WARNING") && warned.contains("open"), "{warned}");
    let text = String::from_utf8(init(&place, "open", &["operator"]).stdout).unwrap();
    assert!(text.contains("nats://agentnet_secret_token@localhost:4222"), "{text}");
    place.run_with_input(&["attach", "-"], Some(&text)).exits(0);
    let registry = fs::read_to_string(place.file("out/registry/service.env")).unwrap();
    assert!(registry.contains("NATS_URL=nats://agentnet_secret_token@nats:4222"), "{registry}");
    assert!(!place.file("out/registry/nats-registry").exists(), "keys of the secure mode are taken back");
    assert_eq!(init(&place, "ajar", &[]).status.code(), Some(64));
}

fn place_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

#[test]
fn the_server_takes_the_configuration_of_compose() {
    let place = Place::new();
    for name in ["nats.conf", "nats-cluster.conf"] {
        fs::copy(place_of("docker").join(name), place.file(name)).unwrap();
    }
    // As compose mounts them.
    fs::rename(place.file("nats.conf"), place.file("agentnet.conf")).unwrap();
    let binary = agentnet_local::Search::from_env().nats().unwrap();
    let check = |name: &str| {
        let mut command = Command::new(&binary.path);
        command.arg("-t").arg("-c").arg(place.file(name)).env("SERVER_NAME", "nats").output().unwrap()
    };
    // Never without the services' keys.
    assert!(!check("agentnet.conf").status.success());
    for mode in ["secure", "open"] {
        made(&place, mode);
        fs::create_dir_all(place.file("access")).unwrap();
        for name in ["access.conf", "cluster.conf"] {
            fs::write(place.file("access").join(name), fs::read(place.file("out/nats").join(name)).unwrap())
                .unwrap();
        }
        for name in ["agentnet.conf", "nats-cluster.conf"] {
            let checked = check(name);
            assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
