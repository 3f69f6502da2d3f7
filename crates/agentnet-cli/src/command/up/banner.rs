//! What a person reads when everything runs.

use agentnet::proto::Security;
use agentnet_local::DataDir;

use super::{Args, logs, ready::Ready, stack::Stack};
use crate::{
    command::Context,
    failure::Failure,
    output::style::{BOLD, DIM, GOOD, paint},
};

/// Prints what runs, the one URL that agents need, and what to type next. For programs: the content of the ready
/// file.
///
/// # Errors
/// When standard output can't be written.
pub fn print(ctx: &Context, args: &Args, dir: &DataDir, stack: &Stack) -> Result<(), Failure> {
    if ctx.out.is_json() {
        return ctx.out.json_line(&Ready::of(stack));
    }
    let bold = |text: &str| paint(BOLD, text);
    let dim = |text: &str| paint(DIM, text);
    let mut lines = vec![
        String::new(),
        format!("{} {}", paint(GOOD, "●"), bold("AgentNet is up")),
        String::new(),
        format!("  {}  {}", dim("agents join at"), stack.told.nats_url),
        format!("  {}  {}", dim("      HTTP API"), gateway(stack)),
        format!("  {}  {}", dim("          mode"), mode(stack)),
        format!("  {}  {}", dim("          data"), dir.path().display()),
        format!("  {}  {}", dim("          logs"), dir.path().join("logs").join(logs::FILE).display()),
        String::new(),
        "  In another terminal:".to_owned(),
    ];
    let mut commands = vec![("list", "who is online"), ("watch", "messages as they pass")];
    if args.demo {
        commands.push(("chat --to-username planner", "talk with an agent"));
        commands.push(("message-search --q harbour", "find what was said"));
    } else {
        commands.push(("chat --to-username NAME", "talk with an agent"));
    }
    commands.push(("threads", "what they talk about"));
    let program = program(&crate::command::environment);
    for (command, what) in commands {
        // Padded by hand: escape codes have no width.
        lines.push(format!(
            "    {}{}{}",
            bold(&format!("{program} {command}")),
            " ".repeat(28_usize.saturating_sub(command.len())),
            dim(what)
        ));
    }
    lines.push(String::new());
    lines.push(dim("  Ctrl-C stops everything; the data stays."));
    lines.push(String::new());
    ctx.out.line(lines.join("\n"))
}

fn gateway(stack: &Stack) -> String {
    let url = stack.told.gateway.get().map_or("", |found| found.url.as_str());
    format!("{url} (pages at {url}/docs)")
}

fn mode(stack: &Stack) -> String {
    match (stack.told.security, &stack.told.secure) {
        (Security::Secure, Some(secure)) => {
            format!("secure: every agent has a key of its own; you are {}, an operator", secure.who.name)
        }
        (Security::Signed, _) => "signed: whoever has this URL gets in, and signs what it says".to_owned(),
        _ => "open: whoever has this URL may be anybody".to_owned(),
    }
}

/// How this program was called, so that what to type next can be copied: Cargo tells what it runs where it is.
fn program(lookup: &dyn Fn(&str) -> Option<String>) -> &'static str {
    match lookup("CARGO_MANIFEST_DIR") {
        None => "agentnet",
        Some(_) if cfg!(debug_assertions) => "cargo run --",
        Some(_) => "cargo run --release --",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_cargo_the_commands_can_be_copied_too() {
        assert_eq!(program(&|_| None), "agentnet");
        let under_cargo = program(&|name| (name == "CARGO_MANIFEST_DIR").then(String::new));
        assert!(under_cargo.starts_with("cargo run"));
    }
}
