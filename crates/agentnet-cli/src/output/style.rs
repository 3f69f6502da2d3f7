//! Colours, by what they mean. They are taken out again for pipes, `NO_COLOR` and `--color never`.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// Less important: times, ids.
pub const DIM: Style = Style::new().dimmed();
/// Headings, names of commands.
pub const BOLD: Style = Style::new().bold();
/// Went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Needs attention.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// Failed.
pub const BAD: Style = AnsiColor::Red.on_default();
/// The thread.
pub const THREAD: Style = AnsiColor::BrightBlack.on_default();

/// Colours that tell people apart; none of them means something else.
const PEOPLE: [AnsiColor; 8] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
    AnsiColor::BrightGreen,
    AnsiColor::BrightYellow,
];

/// The colour of a name, always the same for the same name.
pub fn person(name: &str) -> Style {
    // FNV-1a: needs to be steady between runs, and nothing else.
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // The low bits of the last letters alone are too much alike for names that end alike.
    let index = usize::try_from(hash >> 20).unwrap_or(0) % PEOPLE.len();
    PEOPLE.get(index).copied().unwrap_or(AnsiColor::Cyan).on_default().bold()
}

/// `text` in `style`.
pub fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Applies `--color` to everything printed from now on.
pub fn choose(choice: clap::ColorChoice) {
    let choice = match choice {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Whether standard output gets colours.
pub fn is_on() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}
