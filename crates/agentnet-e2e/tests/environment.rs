//! `.env.example` says what the programs do.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use agentnet_gateway::Gateway;
use agentnet_local::testing::logged;
use agentnet_persister::Persister;
use agentnet_registry::Registry;
use agentnet_service::{
    config::Env,
    service::{FullConfig, Service},
};

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://u:p@h/d");

/// Names and values of the lines that show a default.
fn shown() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.env.example")).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .filter(|(name, value)| !name.starts_with(' ') && !value.is_empty() && *name != DATABASE.0)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn read<S: Service>(pairs: &[(String, String)]) -> String
where
    S::Config: std::fmt::Debug,
{
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let env = Env::from_pairs(pairs.iter().cloned().chain([own(DATABASE)]));
    format!("{:#?}", FullConfig::read::<S>(&env).unwrap())
}

#[test]
fn the_examples_defaults_are_the_programs() {
    let shown = shown();
    assert!(shown.len() > 40, "{shown:?}");
    // One at a time, so that a wrong one is named.
    for pair in &shown {
        let pair = std::slice::from_ref(pair);
        assert_eq!(read::<Registry>(pair), read::<Registry>(&[]), "{pair:?}");
        assert_eq!(read::<Persister>(pair), read::<Persister>(&[]), "{pair:?}");
        assert_eq!(read::<Gateway>(pair), read::<Gateway>(&[]), "{pair:?}");
    }
}

/// Variables of old deployments, one deprecation line each where one is set, of the program that had it.
#[test]
fn what_has_no_effect_any_more_says_so_once() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.env.example")).unwrap();
    let (_, section) = text.split_once("Accepted for old deployments, without effect").unwrap();
    let names: Vec<&str> =
        section.lines().filter_map(|line| Some(line.strip_prefix('#')?.split_once('=')?.0)).collect();
    assert_eq!(names.len(), 12, "{names:?}");
    for name in names {
        let pair = [(name.to_owned(), "1".to_owned())];
        let registry = logged(|| read::<Registry>(&pair)).1;
        let persister = logged(|| read::<Persister>(&pair)).1;
        let said = |lines: &[String]| lines.iter().filter(|line| line.contains(name)).count();
        // The persister has taken over the writing; agents have kept their own.
        let expected = match name {
            "AGENTNET_BLOB_DIR" => (0, 0),
            _ if name.starts_with("DB_WRITE_") => (1, 1),
            _ => (1, 0),
        };
        assert_eq!((said(&registry), said(&persister)), expected, "{name}: {registry:?} {persister:?}");
        let is_clear = |line: &String| line.contains(&format!("{name} is deprecated and has no effect: "));
        assert!(registry.iter().chain(&persister).all(is_clear), "{registry:?} {persister:?}");
    }
    assert_eq!(logged(|| (read::<Registry>(&[]), read::<Persister>(&[]))).1, Vec::<String>::new());
}
