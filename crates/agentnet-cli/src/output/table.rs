//! Tables: as wide as the terminal, one line a row when piped.

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Row, Table as Comfy, presets};

/// Blanks between two columns.
const GAP: u16 = 2;
/// Columns of the terminal that each column of the table should have at least.
const LEAST: u16 = 8;

/// Rows under a heading.
pub struct Table {
    table: Comfy,
    width: Option<u16>,
    whole: Vec<usize>,
}

impl Table {
    /// A table of those columns. `width` is the terminal's; `None` for a pipe, which gets whole lines.
    pub fn new(columns: &[&str], width: Option<u16>) -> Self {
        let mut table = bare(width);
        table.set_header(columns.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        Self { table, width, whole: Vec::new() }
    }

    /// Columns that aren't broken into lines, so that what is in them can be copied, as far as the terminal is wide
    /// enough for them, the first being the most important.
    #[must_use]
    pub fn whole(mut self, columns: &[usize]) -> Self {
        self.whole = columns.to_vec();
        self
    }

    /// A table without heading, for names and values of one thing.
    pub fn facts(width: Option<u16>) -> Self {
        Self { table: bare(width), width, whole: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl Into<Row>) {
        self.table.add_row(cells);
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl ToString) {
        self.table.add_row(vec![Cell::new(name).add_attribute(Attribute::Dim), Cell::new(value)]);
    }

    /// The finished table, without blanks at the ends of lines.
    pub fn render(mut self) -> String {
        self.keep_whole();
        for column in self.table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        self.table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    fn keep_whole(&mut self) {
        let Some(width) = self.width else { return };
        let widths = self.table.column_max_content_widths();
        let columns = u16::try_from(widths.len()).unwrap_or(u16::MAX);
        let mut left = width.saturating_sub(columns.saturating_mul(GAP));
        let mut others = columns;
        for index in &self.whole {
            let (Some(wide), Some(column)) = (widths.get(*index), self.table.column_mut(*index)) else {
                continue;
            };
            others = others.saturating_sub(1);
            if left.saturating_sub(*wide) < others.saturating_mul(LEAST) {
                return;
            }
            left -= wide;
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

fn bare(width: Option<u16>) -> Comfy {
    let mut table = Comfy::new();
    table.load_style(presets::NOTHING);
    // Blanks outside of the escape codes can be trimmed.
    table.style_text_only();
    // Escape codes are stripped later when nobody wants them.
    table.enforce_styling();
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// A right-aligned cell.
pub fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(comfy_table::CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn plain(table: Table) -> String {
        anstream::adapter::strip_str(&table.render()).to_string()
    }

    #[test]
    fn fits_the_terminal_and_never_wraps_a_pipe() {
        let long = "word ".repeat(40);
        let mut narrow = Table::new(&["Name", "Text"], Some(40));
        narrow.row(vec!["天気", long.as_str()]);
        let narrow = plain(narrow);
        assert!(narrow.lines().count() > 3);
        assert!(narrow.lines().all(|line| line.width() <= 40 && line.trim_end() == line), "{narrow}");
        let id = "thread_cli_01m7yt9nwgfb3knw54fkydag42";
        let mut whole = Table::new(&["Thread", "Text"], Some(80)).whole(&[0]);
        whole.row(vec![id, long.as_str()]);
        let whole = plain(whole);
        assert!(whole.contains(id) && whole.lines().all(|line| line.width() <= 80), "{whole}");
        let mut piped = Table::new(&["Name", "Text"], None);
        piped.row(vec!["x", long.as_str()]);
        assert_eq!(plain(piped).lines().count(), 2);
    }
}
