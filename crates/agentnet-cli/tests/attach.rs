//! `agentnet attach`: commands talk to a network that runs elsewhere.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::fs;

use agentnet_local::testing::TestNats;
use serde_json::json;
use support::Place;

/// A key as NATS writes it.
fn seed() -> String {
    let place = Place::new();
    place.run(&["identity", "create", "k"]).exits(0);
    let export = ["identity", "export", "k", "--format", "nkey-seed", "--yes"];
    place.run(&export).exits(0).stdout.trim().to_owned()
}

fn fails(place: &Place, args: &[&str], code: &str) {
    let failed = place.run(&[args, &["--json"]].concat()).exits(2).json();
    assert_eq!(failed["error"], code, "{failed}");
}

#[test]
fn a_network_elsewhere_is_named_once() {
    let place = Place::new();
    let nats = TestNats::start();
    let (first, second) = (seed(), seed());
    let text = place.file("operator.json");
    let invitation = json!({
        "nats_url": nats.url(), "mode": "secure", "enrolment_token": "let-me-in",
        "identity": {"name": "compose-operator", "seed": first},
    });
    fs::write(&text, invitation.to_string()).unwrap();
    let file = text.to_str().unwrap();
    place.run(&["attach", file]).exits(0);
    // Again, too.
    let done = place.run(&["attach", file]).exits(0);
    assert!(done.stdout.contains("compose-operator"), "{}", done.stdout);
    for secret in [first.as_str(), "let-me-in"] {
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret));
    }
    let kept = place.run(&["identity", "show", "compose-operator", "--json"]).exits(0);
    assert!(kept.stdout.contains("compose-operator"));
    // Commands go there, and say why they did: nobody answers on that server.
    let asked = place.run(&["list", "-v"]).exits(2);
    assert!(asked.stderr.contains("agentnet attach"), "{}", asked.stderr);
    // Another network's operator of the same name is another identity.
    let other = json!({
        "nats_url": nats.url(), "mode": "secure", "identity": {"name": "compose-operator", "seed": second},
    });
    fs::write(&text, other.to_string()).unwrap();
    fails(&place, &["attach", file], "identity_exists");
    place.run(&["attach", file, "--name", "second"]).exits(0);
    place.run(&["detach"]).exits(0);
    fails(&place, &["detach"], "not_attached");
}

#[test]
fn what_is_no_invitation_is_refused() {
    let place = Place::new();
    let text = place.file("x.json");
    let file = text.to_str().unwrap();
    for bad in [
        "",
        "nonsense",
        "{}",
        r#"{"nats_url":"nats://x","mode":"ajar"}"#,
        r#"{"nats_url":"nats://x","mode":"secure","identity":{"name":"x","seed":"SU-nonsense"}}"#,
    ] {
        fs::write(&text, bad).unwrap();
        fails(&place, &["attach", file], "attach_unreadable");
    }
    fs::write(&text, r#"{"nats_url":"http://x","mode":"open"}"#).unwrap();
    fails(&place, &["attach", file], "nats_url_invalid");
    fails(&place, &["attach", "/nowhere/at-all"], "attach_unreadable");
    assert!(!place.file("context.json").exists());
}
