//! Tables as Markdown. A long table becomes several with the same header, so that a chunk cut from its middle still
//! names its columns.

/// Cells of a row with their columns from 0; empty cells may be left out.
pub(super) type TableRow = Vec<(u32, String)>;

/// Most bytes of a piece of a table, unless its header is long: less than a chunk by default (800 characters).
const PIECE: usize = 640;
/// A piece is at least this many times as long as its header, which bounds the cost of repeating it.
const HEADS_IN_PIECE: usize = 4;

/// Passes the table to `take` in pieces, each a complete Markdown table; the first row with text is the header. Columns
/// and rows without text are dropped. A table of one column is passed as lines.
///
/// A row costs time for its cells and for all columns; an error of `take` stops a table that is mostly gaps.
pub(super) fn write_pieces<E>(mut rows: Vec<TableRow>, mut take: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    for row in &mut rows {
        row.retain(|(_, text)| !text.trim().is_empty());
        // A stable sort: of two texts in one column, the first stays first.
        row.sort_by_key(|(column, _)| *column);
    }
    rows.retain(|row| !row.is_empty());
    let mut columns: Vec<u32> = rows.iter().flatten().map(|(column, _)| *column).collect();
    columns.sort_unstable();
    columns.dedup();
    match columns.len() {
        0 => Ok(()),
        1 => take(&column_to_lines(&rows)),
        _ => split_into_pieces(&rows, &columns, take),
    }
}

fn column_to_lines(rows: &[TableRow]) -> String {
    let lines: Vec<String> = rows.iter().flatten().map(|(_, text)| one_line(text)).collect();
    lines.join("\n")
}

fn split_into_pieces<E>(
    rows: &[TableRow],
    columns: &[u32],
    mut take: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let head = format!("{}|{}\n", format_row(&rows[0], columns), " --- |".repeat(columns.len()));
    let room = PIECE.max(HEADS_IN_PIECE * head.len());
    let mut piece = head.clone();
    for row in &rows[1..] {
        let line = format_row(row, columns);
        if piece.len() > head.len() && piece.len() + line.len() > room {
            take(piece.trim_end())?;
            piece.clone_from(&head);
        }
        piece.push_str(&line);
    }
    take(piece.trim_end())
}

/// Formats one row of a table; the cells of `row` are in the order of their columns.
fn format_row(row: &TableRow, columns: &[u32]) -> String {
    let mut line = String::from("|");
    let mut cells = row.iter().peekable();
    for column in columns {
        line.push(' ');
        let mut between = "";
        while let Some((_, text)) = cells.next_if(|(at, _)| at == column) {
            line.push_str(between);
            line.push_str(&one_line(text).replace('|', "\\|"));
            between = " ";
        }
        line.push_str(" |");
    }
    line.push('\n');
    line
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(rows: Vec<TableRow>) -> Vec<String> {
        let mut pieces = Vec::new();
        let taken: Result<(), std::convert::Infallible> = write_pieces(rows, |piece| {
            pieces.push(piece.to_owned());
            Ok(())
        });
        taken.unwrap();
        pieces
    }

    fn row(cells: &[&str]) -> TableRow {
        (0..).zip(cells.iter().map(|cell| (*cell).to_owned())).collect()
    }

    #[test]
    fn what_is_empty_goes_and_the_rest_stays_in_its_column() {
        let rows = vec![
            row(&["", "", ""]),
            row(&["Name", "", "Size", " "]),
            row(&["a|b", "", "1\n2"]),
            row(&["", "", "3"]),
        ];
        assert_eq!(
            pieces(rows),
            ["| Name | Size |\n| --- | --- |\n| a\\|b | 1 2 |\n|  | 3 |"]
        );
        assert_eq!(pieces(vec![row(&["a"]), row(&["", ""]), row(&["b"])]), ["a\nb"]);
        assert!(pieces(vec![row(&[" "])]).is_empty());
        let far = vec![vec![(0, "here".to_owned())], vec![(16_383, "there".to_owned())]];
        assert_eq!(pieces(far), ["| here |  |\n| --- | --- |\n|  | there |"]);
    }

    #[test]
    fn a_long_table_repeats_its_head() {
        let mut rows = vec![row(&["Number", "Word"])];
        rows.extend((0..100).map(|n| row(&[&n.to_string(), "a word of some length"])));
        let pieces = pieces(rows);
        assert!(pieces.len() > 4);
        for piece in &pieces {
            assert!(piece.starts_with("| Number | Word |\n| --- | --- |\n| "), "{piece}");
            assert!(piece.len() <= PIECE, "{}", piece.len());
        }
        let body: usize = pieces.iter().map(|piece| piece.lines().count() - 2).sum();
        assert_eq!(body, 100);
    }

    #[test]
    fn a_long_head_is_not_repeated_for_every_row() {
        let long = "x".repeat(2000);
        let mut rows = vec![row(&[&long, "b"])];
        rows.extend((0..50).map(|n| row(&[&n.to_string(), "some more words in this row"])));
        let total: usize = pieces(rows).iter().map(String::len).sum();
        assert!(total < 2 * (2000 + 50 * 40), "{total}");
    }

    #[test]
    fn cells_of_one_column_stay_in_their_order_and_gaps_can_be_stopped() {
        let out_of_order = vec![
            row(&["a", "b"]),
            vec![(1, "last".to_owned()), (0, "x".to_owned()), (0, "y".to_owned())],
        ];
        assert_eq!(pieces(out_of_order), ["| a | b |\n| --- | --- |\n| x y | last |"]);
        let diagonal = (0..2_000).map(|n| vec![(n, "x".to_owned())]).collect();
        let mut taken = 0;
        let stopped = write_pieces(diagonal, |_| {
            taken += 1;
            if taken < 3 { Ok(()) } else { Err("enough") }
        });
        assert_eq!((stopped, taken), (Err("enough"), 3));
    }
}
