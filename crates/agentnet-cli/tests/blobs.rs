//! `agentnet blob` and `agentnet send --file`, on a network of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{fs, sync::mpsc};

use agentnet::{
    AgentNode,
    proto::{BlobRef, rpc},
};
use serde_json::Value;
use support::{Ran, SOON, agents::shared};

fn run(args: &[&str]) -> Ran {
    shared().place.run(args)
}

#[test]
fn files_go_in_and_come_out() {
    let owner = AgentNode::builder("blob_owner").nats_url(&shared().url);
    let owner = shared().runtime.block_on(owner.start()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    let text = "line\n".repeat(200_000);
    fs::write(&file, &text).unwrap();
    let (file, place) =
        (file.to_str().unwrap(), |name: &str| dir.path().join(name).to_str().unwrap().to_owned());
    let as_owner = ["--account", "@blob_owner"];
    let with = |args: &[&'static str]| [args, &as_owner[..]].concat();

    // Nothing proves on an open network who asks.
    run(&["blob", "put", file]).exits(2).warns("error: account_id is required").warns("--account");
    let put = run(&["blob", "put", file, "--json", "--account", "@blob_owner"]).exits(0).json();
    assert_eq!(
        (put["filename"].as_str(), put["mime_type"].as_str()),
        (Some("notes.txt"), Some("text/plain"))
    );
    assert_eq!(
        (put["size_bytes"].as_u64(), put["account_id"].as_str()),
        (Some(1_000_000), Some(owner.account_id()))
    );
    let id = put["blob_id"].as_str().unwrap();
    run(&["blob", "put", file, "--account", "@blob_owner"])
        .exits(0)
        .says(id)
        .says("notes.txt, text/plain, 1000000 bytes");
    run(&["blob", "put", file, "--name", "../x", "--account", "@blob_owner"])
        .exits(2)
        .warns("error: blob_bad_name:");
    run(&["blob", "put", &place("none"), "--account", "@blob_owner"]).exits(2).warns("can't be opened");
    let piped = [
        "blob",
        "put",
        "-",
        "--name",
        "in.bin",
        "--content-type",
        "a/b",
        "--json",
        "--account",
        "@blob_owner",
    ];
    let piped = shared().place.run_with_input(&piped, Some("from a pipe")).exits(0).json();
    assert_eq!((piped["size_bytes"].as_u64(), piped["mime_type"].as_str()), (Some(11), Some("a/b")));

    // Gone on with where another process stopped.
    let begun = rpc::BlobBeginRequest {
        account_id: Some(owner.account_id().to_owned()),
        filename: "resumed".to_owned(),
        ..Default::default()
    };
    let begun = shared().runtime.block_on(owner.registry().blob_begin(&begun)).unwrap();
    let resume = ["blob", "put", "-", "--json", "--account", "@blob_owner", "--resume", &begun.upload_id];
    let resumed = shared().place.run_with_input(&resume, Some("all of it")).exits(0).json();
    assert_eq!((resumed["filename"].as_str(), resumed["size_bytes"].as_u64()), (Some("resumed"), Some(9)));
    run(&["blob", "delete", resumed["blob_id"].as_str().unwrap(), "--account", "@blob_owner"]).exits(0);
    let unknown = ["blob", "put", "-", "--account", "@blob_owner", "--resume", "upload_none"];
    shared().place.run_with_input(&unknown, Some("x")).exits(2).warns("error: blob_upload_unknown");

    run(&["blob", "head", id]).exits(0).says("notes.txt").says(put["sha256"].as_str().unwrap());
    let listed = run(&with(&["blob", "list", "--json", "--limit", "1"])).exits(0).json();
    assert_eq!(listed["blobs"][0]["filename"], "in.bin");
    run(&with(&["blob", "list", "--limit", "1"]))
        .exits(0)
        .says("in.bin")
        .says("1000020 of")
        .says("more: --cursor");

    let out = place("out.txt");
    run(&["blob", "get", id, "-o", &out]).exits(0).says(&out);
    assert_eq!(fs::read_to_string(&out).unwrap(), text);
    run(&["blob", "get", id, "-o", &out]).exits(2).warns("exists");
    let range = ["blob", "get", id, "-o", &out, "--force", "--offset", "999995", "--length", "4"];
    run(&range).exits(0);
    assert_eq!(fs::read_to_string(&out).unwrap(), "line");
    fs::create_dir(place("in")).unwrap();
    run(&["blob", "get", id, "-o", &place("in"), "--json"]).exits(0);
    assert_eq!(fs::read_to_string(dir.path().join("in/notes.txt")).unwrap(), text);
    assert_eq!(
        run(&["blob", "get", piped["blob_id"].as_str().unwrap(), "-o", "-"]).exits(0).stdout,
        "from a pipe"
    );
    run(&["blob", "get", id, "-o", "-", "--offset", "2000000"]).exits(2).warns("error: blob_bad_range:");
    run(&["blob", "delete", id, "--account", "@blob_owner"]).exits(0).says("deleted");
    let again = run(&["blob", "delete", id, "--json", "--account", "@blob_owner"]).exits(0).json();
    assert_eq!(again["blobs"][0]["deleted"], false);
    run(&["blob", "head", id]).exits(2).warns("error: blob_gone:");
}

#[test]
fn a_file_is_sent_as_a_reference() {
    let (told, heard) = mpsc::channel();
    let reader = AgentNode::builder("blob_reader").nats_url(&shared().url).on_message(move |message| {
        let told = told.clone();
        async move {
            let _ = told.send(message.payload().get().to_owned());
            Ok(())
        }
    });
    let reader = shared().runtime.block_on(reader.start()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    fs::write(&file, "{}").unwrap();
    let file = file.to_str().unwrap();
    run(&["send", "--to-username", "blob_reader", "--file", file]).exits(0).says("message");
    let payload: Value = serde_json::from_str(&heard.recv_timeout(SOON).unwrap()).unwrap();
    let reference = BlobRef::of(&payload).unwrap();
    assert_eq!((reference.filename.as_str(), reference.mime_type.as_str()), ("a.json", "application/json"));
    let got = shared().runtime.block_on(reader.get_blob(&reference.blob_id).bytes()).unwrap();
    assert_eq!(got, "{}");
    run(&["send", "--to-username", "blob_reader", "--file", file, "{}"])
        .exits(2)
        .warns("cannot be used with");
    run(&["send", "--to-username", "blob_reader"]).exits(2).warns("required");
}
