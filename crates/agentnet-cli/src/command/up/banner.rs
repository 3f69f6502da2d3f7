//! What a person reads when everything runs.

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
        format!("  {}  open: whoever has this URL may be anybody", dim("          mode")),
        format!("  {}  {}", dim("          data"), dir.path().display()),
        format!("  {}  {}", dim("          logs"), dir.path().join("logs").join(logs::FILE).display()),
        String::new(),
        "  In another terminal:".to_owned(),
    ];
    let mut commands = vec![("agentnet list", "who is online"), ("agentnet watch", "messages as they pass")];
    if args.demo {
        commands.push(("agentnet chat --to-username planner", "talk with an agent"));
        commands.push(("agentnet message-search --q harbour", "find what was said"));
    } else {
        commands.push(("agentnet chat --to-username NAME", "talk with an agent"));
    }
    commands.push(("agentnet threads", "what they talk about"));
    for (command, what) in commands {
        // Padded by hand: escape codes have no width.
        lines.push(format!(
            "    {}{}{}",
            bold(command),
            " ".repeat(37_usize.saturating_sub(command.len())),
            dim(what)
        ));
    }
    lines.push(String::new());
    lines.push(dim("  Ctrl-C stops everything; the data stays."));
    lines.push(String::new());
    ctx.out.line(lines.join("\n"))
}
