//! Keys of accounts in a network that asks for them: replaced, taken out of use, and what they signed checked.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::Value;
use support::Place;

#[test]
fn a_key_is_replaced_also_after_an_interruption_and_revoked() {
    let place = Place::new();
    let _up = place.up(&[]);
    let send = |code: i32| {
        let message = ["--as", "weather", "send", "--json", "--receipt-timeout", "0.2", "--to-account"];
        place.run(&[&message[..], &["acct_01j00000000000000000000000", "{}"]].concat()).exits(code)
    };
    let first = send(0).json();
    let account = || -> Value {
        place.run(&["profile", "--username", "weather", "--json"]).exits(0).json()["profile"].clone()
    };
    let id = account()["account_id"].as_str().unwrap().to_owned();
    let key = || -> Value { place.run(&["identity", "show", "weather", "--json"]).exits(0).json() };

    // Replaced in the file, and then nothing more: as after a crash.
    let old = key()["public_key"].clone();
    place.run(&["identity", "rotate", "weather"]).exits(0);
    assert_ne!(key()["public_key"], old);
    let wanted = key()["public_key"].clone();
    place.run(&["identity", "rotate", "weather", "--network"]).exits(0).warns("completing");
    // No further key was made, and the old one is gone.
    assert_eq!((&key()["public_key"], &key()["retired"]), (&wanted, &serde_json::json!([])));
    send(0);
    // All at once.
    place.run(&["identity", "rotate", "weather", "--network"]).exits(0);
    assert_ne!(key()["public_key"], wanted);
    let last = send(0).json();
    assert_eq!(account()["account_id"].as_str(), Some(id.as_str()));

    // What the ended keys signed is proved all the same.
    for sent in [&first, &last] {
        let message = sent["message_id"].as_str().unwrap();
        let checked = place.run(&["verify", message, "--json"]).exits(0).json();
        assert_eq!((checked["proved"].as_u64(), checked["unproved"].as_u64()), (Some(1), Some(0)));
    }

    place.run(&["--as", "weather", "revoke", "--username", "weather"]).exits(0).says(&id);
    send(2);
}
