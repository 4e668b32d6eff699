//! Aligned columns. Pure.

use ramboot_wire::plain;

/// One column: its head, and whether its cells are numbers.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Over it.
    pub head: &'static str,
    /// To the right edge, as numbers are compared.
    pub right: bool,
}

impl Column {
    /// Words.
    #[must_use]
    pub const fn left(head: &'static str) -> Self {
        Self { head, right: false }
    }

    /// Numbers.
    #[must_use]
    pub const fn right(head: &'static str) -> Self {
        Self { head, right: true }
    }
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A cell for each column.
    Cells(Vec<String>),
    /// Cells of the first columns, and then a sentence across the others.
    Sentence(Vec<String>, String),
}

impl Row {
    fn cells(&self) -> &[String] {
        match self {
            Self::Cells(cells) | Self::Sentence(cells, _) => cells,
        }
    }
}

/// The rows under their heads; a column in which nothing stands is left out.
///
/// A note may hold what makes a terminal do things: control characters become question marks.
#[must_use]
pub fn render(columns: &[Column], rows: &[Row]) -> String {
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| {
            let cells = rows.iter().filter_map(|row| row.cells().get(i));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            match widest {
                0 => 0,
                widest => widest.max(columns[i].head.len()),
            }
        })
        .collect();
    let heads = columns.iter().map(|column| column.head.to_owned());
    let heads = Row::Cells(heads.collect());
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for ((cell, column), &width) in row.cells().iter().zip(columns).zip(&widths) {
            let cell = safe(cell);
            match (width, column.right) {
                (0, _) => {}
                (_, true) => line += &format!("{cell:>width$}  "),
                (_, false) => line += &format!("{cell:width$}  "),
            }
        }
        if let Row::Sentence(_, sentence) = row {
            line += &safe(sentence);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Bytes as people compare them: `139.1 MB`.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Text from outside on one line.
fn safe(text: &str) -> String {
    plain::line(text, plain::MAX_SENTENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column {
            head: "NAME",
            right: false,
        },
        Column {
            head: "SIZE",
            right: true,
        },
        Column {
            head: "BOARDS",
            right: false,
        },
        Column {
            head: "NOTE",
            right: false,
        },
    ];

    fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_as_wide_as_they_must_and_empty_ones_are_left_out() {
        let rows = [
            Row::Cells(cells(["a", "9.0 MB", "", "first\x1b[2J\ntry"])),
            Row::Cells(cells(["übung", "120.5 MB", "", ""])),
            Row::Sentence(cells(["b"]), "damaged: x is missing".to_owned()),
        ];
        let want = "NAME       SIZE  NOTE\n\
                    a        9.0 MB  first [2J try\n\
                    übung  120.5 MB\n\
                    b      damaged: x is missing\n";
        assert_eq!(render(&COLUMNS, &rows), want);
        assert_eq!(render(&COLUMNS, &[]), "\n");
    }

    #[test]
    fn sizes_are_in_megabytes() {
        for (bytes, want) in [
            (0, "0.0 MB"),
            (49_999, "0.0 MB"),
            (50_000, "0.1 MB"),
            (205_586_432, "205.6 MB"),
            (u64::MAX, "18446744073709.5 MB"),
        ] {
            assert_eq!(megabytes(bytes), want);
        }
    }
}
