//! Tables as Markdown. A long one becomes several, each under the same head, so that a chunk cut from its middle still
//! says what its columns are.

/// Cells of a row with their columns from 0; empty ones need not be named.
pub(super) type Row = Vec<(u32, String)>;

/// Bytes of a piece of a table, unless its head is long: less than a chunk as shipped (800 characters).
const PIECE: usize = 640;
/// A piece is at least this many times as long as its head, which bounds what repeating it adds.
const HEADS_IN_PIECE: usize = 4;

/// The table in pieces, each a whole Markdown table; the first row with text is the head. Columns and rows without
/// text go. What has one column is no table, and comes as lines.
pub(super) fn pieces(mut rows: Vec<Row>) -> Vec<String> {
    for row in &mut rows {
        row.retain(|(_, text)| !text.trim().is_empty());
    }
    rows.retain(|row| !row.is_empty());
    let mut columns: Vec<u32> = rows.iter().flatten().map(|(column, _)| *column).collect();
    columns.sort_unstable();
    columns.dedup();
    match columns.len() {
        0 => Vec::new(),
        1 => vec![lines(&rows)],
        _ => split(&rows, &columns),
    }
}

fn lines(rows: &[Row]) -> String {
    let lines: Vec<String> = rows.iter().flatten().map(|(_, text)| one_line(text)).collect();
    lines.join("\n")
}

fn split(rows: &[Row], columns: &[u32]) -> Vec<String> {
    let head = format!("{}|{}\n", line(&rows[0], columns), " --- |".repeat(columns.len()));
    let room = PIECE.max(HEADS_IN_PIECE * head.len());
    let mut pieces = vec![head.clone()];
    for row in &rows[1..] {
        let line = line(row, columns);
        let last = pieces.last_mut().expect("there is one from the start");
        if last.len() > head.len() && last.len() + line.len() > room {
            pieces.push(head.clone() + &line);
        } else {
            last.push_str(&line);
        }
    }
    for piece in &mut pieces {
        piece.truncate(piece.trim_end().len());
    }
    pieces
}

fn line(row: &Row, columns: &[u32]) -> String {
    let mut line = String::from("|");
    for column in columns {
        line.push(' ');
        let texts = row.iter().filter(|(at, _)| at == column);
        for (n, (_, text)) in texts.enumerate() {
            line.push_str(if n == 0 { "" } else { " " });
            line.push_str(&one_line(text).replace('|', "\\|"));
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

    fn row(cells: &[&str]) -> Row {
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
            assert!(
                piece.starts_with("| Number | Word |\n| --- | --- |\n| "),
                "{piece}"
            );
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
}
