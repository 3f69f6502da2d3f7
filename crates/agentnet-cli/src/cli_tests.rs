use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("agentnet").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

/// Every flag of the original's command line (docs/MIGRATION.md), as a user of it would type them.
#[test]
fn every_flag_of_the_original_parses() {
    for line in [
        "list --timeout 2.0",
        "search --query x --capability c --limit 20 --online-only --timeout 2",
        "profile --account-id acct_1 --timeout 2",
        "profile --username x",
        "metrics --timeout 2",
        "threads --participant-account acct_1 --query x --limit 20 --soft-limit-tokens 1 --hard-limit-tokens 2 --timeout 2",
        "threads --participant-username x",
        "thread-status --thread-id t --soft-limit-tokens 1 --hard-limit-tokens 2 --timeout 2",
        "thread-messages --thread-id t --limit 50 --cursor c --timeout 2",
        "message-search --thread-id t --from-account-id a --to-account-id b --kind direct --from-ts 2026-01-01 \
         --to-ts 2026-02-01 --limit 50 --cursor c --timeout 2",
        "send --to-account a --thread-id t --parent-message-id p --idempotency-key k --retry-attempts 2 \
         --receipt-timeout 1.5 --no-ack {}",
        "send --to-username a {}",
        "send --to-capability a {}",
        "request --to-account a --timeout 5 --thread-id t --parent-message-id p --idempotency-key k {}",
        "watch --subject account.*.inbox --max-messages 0 --include-payload",
        "chat --to-username a --timeout 60 --thread-id t --parent-message-id p --raw",
    ] {
        let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(cli.command.is_some());
        // Each command had --nats-url of its own.
        let cli = parse(&format!("{line} --nats-url nats://t@h:1"))
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(cli.global.nats_url.as_deref(), Some("nats://t@h:1"));
        assert!(parse(&format!("--json {line} --color never -v")).unwrap().global.json);
    }
}

#[test]
fn defaults_are_the_originals() {
    let Some(Command::Send(send)) = parse("send --to-username a {}").unwrap().command else { panic!() };
    assert_eq!((send.retry_attempts, send.receipt_timeout.as_millis(), send.no_ack), (2, 1500, false));
    let Some(Command::Request(request)) = parse("request --to-username a {}").unwrap().command else {
        panic!()
    };
    assert_eq!(request.timeout.as_secs(), 5);
    let Some(Command::Chat(chat)) = parse("chat --to-username a").unwrap().command else { panic!() };
    assert_eq!(chat.timeout.as_secs(), 60);
    let Some(Command::Watch(watch)) = parse("watch").unwrap().command else { panic!() };
    assert_eq!((watch.subject, watch.max_messages), (vec!["account.*.inbox".to_owned()], 0));
    let Some(Command::ThreadMessages(page)) = parse("thread-messages --thread-id t").unwrap().command else {
        panic!()
    };
    assert_eq!((page.limit, page.rpc.timeout.as_secs()), (50, 2));
    let Some(Command::Search(search)) = parse("search").unwrap().command else { panic!() };
    assert_eq!((search.limit, search.query.as_str()), (20, ""));
}

#[test]
fn our_additions_parse() {
    for line in [
        "search --q x --status online",
        "list --capability c --status online --limit 5 --cursor c",
        "message-search --q words",
        "threads --cursor c",
        "watch --receipts",
        "watch --all",
        "watch --subject a.b --subject c.d",
        "send --to-username a --ttl 86400 -",
        "up --demo --open --data-dir d --nats-port 4333 --pg-port 5433 --ready-file f",
        "thread create --title t --public @bob acct_1 --account ann",
        "thread invite t @bob",
        "thread join t --account ann",
        "thread leave t",
        "thread eject t @bob",
        "thread members t",
        "operator grant @bob",
        "operator revoke acct_1",
        "profile set --account ann --display-name Ann --bio text --visibility private --metadata {}",
        "enrol --uses 3 --hours 2 --note n",
        "enrol --account @bob",
        "capability restrict c",
        "capability open c",
        "capability grant c @bob",
        "capability revoke c @bob",
        "capability list",
        "operator list",
        "user create ann --display-name Ann --operator --password-file f",
        "user list --limit 5 --cursor bob",
        "user password ann --password-file -",
        "user password --old",
        "user disable ann",
        "user enable ann",
        "api-key create ci --account ann --scope read --scope send --expires 2027-01-01",
        "api-key list --account ann",
        "api-key revoke 01k",
        "suspend @bob",
        "resume @bob",
        "completions bash",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn usage_errors_are_exit_code_2() {
    for line in [
        "send {}",
        "send --to-username a --to-account b {}",
        "send --to-username a",
        "send --to-username a --receipt-timeout 0 {}",
        "send --to-username a --ttl 2592001 {}",
        "request --to-username a --timeout never {}",
        "chat",
        "profile",
        "profile --username a --account-id b",
        "thread-status",
        "thread-messages",
        "threads --participant-account a --participant-username b",
        "watch --all --receipts",
        "up --nats-port 0",
        "up --nats-port 65536",
        "completions cmd",
        "user create ann --password secret",
        "api-key create ci --scope all",
        "nope",
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line} parses"));
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    for line in ["--help", "--version", "send --help"] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
    }
}

#[test]
fn the_help_never_shows_a_url_of_the_environment() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("AGENTNET_NATS_URL"));
    assert!(!help.contains("nats://agentnet_secret_token"));
}
