//! Comma-separated values (RFC 4180), and variants separated by semicolons, tabs or bars, as a table.

use super::ParseLimits;
use super::blocks::BlockWriter;
use super::error::ParseProblem;
use super::sink::{DocumentOutline, PageSink};
use super::table::TableRow;
use super::text;

/// Possible field separators; the one that occurs most often in the first line is used.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// Writes the table to the sink as one page without a number.
pub(super) fn parse_csv(
    bytes: &[u8],
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    let text = text::decode_text(bytes, None)?;
    let mut blocks = BlockWriter::new(sink, limits);
    blocks.write_table(parse_rows(&text))?;
    blocks.finish(None)
}

fn parse_rows(text: &str) -> Vec<TableRow> {
    let separator = detect_separator(text);
    let (mut rows, mut row, mut field) = (Vec::new(), TableRow::new(), String::new());
    let (mut column, mut quoted) = (0, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            _ if quoted => field.push(c),
            '\r' if characters.peek() == Some(&'\n') => {}
            _ if c == separator => {
                push_field(&mut row, column, &mut field);
                column += 1;
            }
            '\n' | '\r' => {
                push_field(&mut row, column, &mut field);
                rows.push(std::mem::take(&mut row));
                column = 0;
            }
            _ => field.push(c),
        }
    }
    push_field(&mut row, column, &mut field);
    rows.push(row);
    rows
}

/// Puts a field into its column. Empty fields are left out, because a table may be mostly gaps.
fn push_field(row: &mut TableRow, column: u32, field: &mut String) {
    if !field.is_empty() {
        row.push((column, std::mem::take(field)));
    }
}

fn detect_separator(text: &str) -> char {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    let count = |separator: &char| first.matches(*separator).count();
    // `max_by_key` returns the last of equal items; reversed, the more usual separator wins a tie.
    SEPARATORS.into_iter().rev().max_by_key(count).unwrap_or(',')
}

#[cfg(test)]
mod tests {
    use super::super::sink::DocumentCollector;
    use super::*;

    fn check(csv: &str, expected: &str) {
        let mut gathered = DocumentCollector::new(10_000);
        let outline = parse_csv(csv.as_bytes(), &ParseLimits::default(), &mut gathered).unwrap();
        assert_eq!(gathered.finish("text/csv", outline).text.trim_end(), expected);
    }

    #[test]
    fn fields_are_found() {
        let table = "| a | b |\n| --- | --- |\n| 1 | 2 |";
        check("a,b\r\n1,2\r\n", table);
        check("a;b\n1;2", table);
        check("a\tb\n\n1\t2\n", table);
        check("\"a\",\"b\"\n\"1\",\"2\"", table);
        check(
            "n,t\n1,\"x, \"\"y\"\"\nz\"\n",
            "| n | t |\n| --- | --- |\n| 1 | x, \"y\" z |",
        );
        check(
            "a,b\n1,\"never closed\n2,3",
            "| a | b |\n| --- | --- |\n| 1 | never closed 2,3 |",
        );
    }

    #[test]
    fn empty_cells_are_no_text() {
        let mut gathered = DocumentCollector::new(10);
        let parsed = parse_csv(b",,\n,\n", &ParseLimits::default(), &mut gathered);
        assert_eq!(parsed.map_err(|problem| problem.code()), Err("no_text"));
    }
}
