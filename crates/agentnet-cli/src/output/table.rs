//! Tables: as wide as the terminal, one line a row when piped.

use comfy_table::{Attribute, Cell, ContentArrangement, Row, Table as Comfy, presets};

/// Rows under a heading.
pub struct Table(Comfy);

impl Table {
    /// A table of those columns. `width` is the terminal's; `None` for a pipe, which gets whole lines.
    pub fn new(columns: &[&str], width: Option<u16>) -> Self {
        let mut table = bare(width);
        table.set_header(columns.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        Self(table)
    }

    /// A table without heading, for names and values of one thing.
    pub fn facts(width: Option<u16>) -> Self {
        Self(bare(width))
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl Into<Row>) {
        self.0.add_row(cells);
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl ToString) {
        self.0.add_row(vec![Cell::new(name).add_attribute(Attribute::Dim), Cell::new(value)]);
    }

    /// The finished table, without blanks at the ends of lines.
    pub fn render(mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.0.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
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
        let mut piped = Table::new(&["Name", "Text"], None);
        piped.row(vec!["x", long.as_str()]);
        assert_eq!(plain(piped).lines().count(), 2);
    }
}
