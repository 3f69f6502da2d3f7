//! `.env.example` says what the programs do.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

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
    }
}
