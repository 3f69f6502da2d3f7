//! What operators see of deliveries and do about them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::{Ran, SOON, agents::shared, wait_for};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

#[test]
fn a_message_nobody_took_is_seen_and_given_up_and_tried_again() {
    let absent = ["send", "--json", "--receipt-timeout", "0.3", "--to-account", "acct_nobody_there"];
    let sent = run(&[&absent[..], &["--ttl", "3", "{}"]].concat()).exits(0).json();
    let id = sent["message_id"].as_str().unwrap().to_owned();
    let row = run(&["deliveries", "--json", "--message-id", &id]).exits(0).json()["deliveries"][0].clone();
    assert_eq!((row["recipient"].as_str(), row["attempts"].as_i64()), (Some("acct_nobody_there"), Some(0)));
    run(&["deliveries", "--to-account", "acct_nobody_there"]).exits(0).says(&id);
    run(&["why", &id]).exits(0).says("stored").says("acct_nobody_there");
    wait_for(SOON, "the message to expire", || {
        run(&["deliveries", "--json", "--message-id", &id, "--state", "expired"]).exits(0).json()["deliveries"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    run(&["why", &id]).exits(0).says("expired");
    // Expired is not dead.
    run(&["dead-letters"]).exits(0).says("No dead letters");
    run(&["redrive", "--all"]).exits(0).says("Nothing was given up");
    run(&["redrive", "--message-id", &id]).exits(0).says(&id).says("1 tried again");
    let path = run(&["why", "--json", &id]).exits(0).json();
    assert_eq!(path["deliveries"][0]["state"], "pending");
    let told: Vec<&str> =
        path["events"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(told, ["expired", "redriven"]);
}

#[test]
fn what_was_handled_shows_its_session() {
    let sent = run(&["send", "--json", "--to-username", "echo_bot", "{\"text\":\"hi\"}"]).exits(0).json();
    let id = sent["message_id"].as_str().unwrap();
    wait_for(SOON, "the message to be processed", || {
        run(&["deliveries", "--json", "--message-id", id, "--state", "processed"]).json()["deliveries"][0]["owner_session"]
            .is_string()
    });
    run(&["deliveries", "--to-username", "echo_bot", "--state", "processed"]).exits(0).says("echo_bot");
    run(&["why", id]).exits(0).says("accepted").says("processed").says("registry_");
}

#[test]
fn unsigned_history_is_not_proved_and_says_so() {
    let sent = run(&["send", "--json", "--to-username", "echo_bot", "{\"text\":\"hi\"}"]).exits(0).json();
    let (id, thread) = (sent["message_id"].as_str().unwrap(), sent["thread_id"].as_str().unwrap());
    let file = shared().place.file("evidence.json");
    let file = file.to_str().unwrap();
    let checked = run(&["verify", "--json", id, "--export", file]).exits(2).json();
    assert_eq!(
        (checked["proved"].as_u64(), checked["messages"][0]["fault"].as_str()),
        (Some(0), Some("auth_missing"))
    );
    run(&["verify", thread]).exits(2).says("auth_missing").says(id);
    run(&["verify", "--from", file]).exits(2).says("auth_missing");
    run(&["verify", "no_such_message"]).exits(2).warns("not_found");
    run(&["verify", "--from", "/nowhere"]).exits(2).warns("evidence_file");
    run(&["revoke", "--username", "echo_bot"]).exits(2).warns("must be signed");
}

#[test]
fn mistakes_say_what_to_do() {
    run(&["why", "no_such_message"]).exits(2).warns("not_found");
    run(&["redrive"]).exits(2).warns("--message-id");
    run(&["deliveries", "--state", "lost"]).exits(2).warns("pending");
    run(&["dead-letters", "--to-username", "nobody"]).exits(2).warns("not_found");
}
