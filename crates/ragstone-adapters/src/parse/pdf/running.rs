//! Running heads and feet: lines that pages repeat at their edges, and that no question asks for.
//!
//! If they were kept, they would become chunks of a few words that match every question about the book's title, and
//! they would split sentences that continue on the next page.
//!
//! Invariant: a line is dropped only if the same words are at the same height of other pages nearby, set off from the
//! body and not larger than it; a page never loses all of its text. Only a few pages are held at a time.

use std::collections::{BTreeSet, VecDeque};

use super::line::{PARAGRAPH_ADVANCE, PdfLine};

/// Pages on either side that a page is compared with; heads of left and right pages differ.
const NEIGHBOUR_PAGES: usize = 4;
/// Number of these pages that must repeat a line.
const MIN_REPEATS: usize = 2;
/// Rows at the top and at the bottom that may be a running head or foot.
const EDGE_ROWS: usize = 3;
/// Baselines within this distance, in points, are at the same height.
const SAME_HEIGHT: f32 = 2.0;
/// Letters this many times the page's usual size are a heading's, even where slides repeat it.
const LARGER: f32 = 1.12;

/// Holds pages back until their neighbours are known.
#[derive(Default)]
pub(super) struct PageWindow {
    held: VecDeque<WindowPage>,
    /// Index in `held` of the first page that was not returned yet.
    next: usize,
}

impl PageWindow {
    /// Adds the next page; returns the page whose neighbours are now all known, without its repeated lines.
    pub(super) fn push(&mut self, number: u32, lines: Vec<PdfLine>) -> Option<(u32, Vec<PdfLine>)> {
        self.held.push_back(WindowPage::new(number, lines));
        (self.held.len() > self.next + NEIGHBOUR_PAGES).then(|| self.pop())?
    }

    /// Returns the next page when no more will be added.
    pub(super) fn pop(&mut self) -> Option<(u32, Vec<PdfLine>)> {
        let page = self.held.get(self.next)?;
        let repeated = page.repeated_lines(|row| self.is_repeated(page, row));
        let page = self.held.get_mut(self.next)?;
        let number = page.number;
        let mut index = 0;
        let mut lines = std::mem::take(&mut page.lines);
        if repeated.len() < lines.len() {
            lines.retain(|_| {
                index += 1;
                !repeated.contains(&(index - 1))
            });
        }
        self.next += 1;
        if self.next > NEIGHBOUR_PAGES {
            self.held.pop_front();
            self.next -= 1;
        }
        Some((number, lines))
    }

    fn is_repeated(&self, page: &WindowPage, row: &PageRow) -> bool {
        let others = self.held.iter().filter(|other| other.number != page.number);
        others
            .filter(|other| {
                other
                    .edge_rows()
                    .any(|there| row.matches_row(page.number, there, other.number))
            })
            .count()
            >= MIN_REPEATS
    }
}

struct WindowPage {
    number: u32,
    lines: Vec<PdfLine>,
    /// Rows from top to bottom.
    rows: Vec<PageRow>,
    /// Lines in another direction, such as a note in the margin.
    asides: Vec<PageRow>,
    /// Distance to the next row above which a paragraph ends.
    wide_advance: f32,
    /// Letter size that most rows do not exceed.
    usual_size: f32,
}

/// Lines at one height, for example the left and the right part of a head.
struct PageRow {
    y: f32,
    size: f32,
    /// Words without their numbers, sorted, because the cut of a head into lines depends on the page.
    words: Vec<String>,
    /// The first number of a row that has no letters.
    page_number: Option<i64>,
    lines: Vec<usize>,
}

impl WindowPage {
    fn new(number: u32, lines: Vec<PdfLine>) -> Self {
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by(|a, b| lines[*b].y.total_cmp(&lines[*a].y));
        let (mut rows, mut asides) = (Vec::<PageRow>::new(), Vec::new());
        for index in order {
            let line = &lines[index];
            match rows.last_mut() {
                _ if line.aside => asides.push(PageRow::new(line, index)),
                Some(row) if row.y - line.y <= SAME_HEIGHT => row.push(line, index),
                _ => rows.push(PageRow::new(line, index)),
            }
        }
        Self {
            number,
            wide_advance: PARAGRAPH_ADVANCE * median(rows.windows(2).map(|pair| pair[0].y - pair[1].y)),
            usual_size: median(rows.iter().map(|row| row.size)),
            lines,
            rows,
            asides,
        }
    }

    fn edge_rows(&self) -> impl Iterator<Item = &PageRow> {
        let lower = self.rows.len().saturating_sub(EDGE_ROWS).max(EDGE_ROWS);
        let upper = self.rows.iter().take(EDGE_ROWS);
        upper.chain(self.rows.iter().skip(lower)).chain(&self.asides)
    }

    /// Indexes of the lines that are running heads or feet.
    fn repeated_lines(&self, is_repeated: impl Fn(&PageRow) -> bool) -> BTreeSet<usize> {
        let is_repeated = |row: &PageRow| row.size <= LARGER * self.usual_size && is_repeated(row);
        let asides = self.asides.iter().filter(|row| is_repeated(row));
        let mut found: BTreeSet<usize> = asides.flat_map(|row| row.lines.clone()).collect();
        let outermost: [Vec<&PageRow>; 2] = [
            self.rows.iter().take(EDGE_ROWS + 1).collect(),
            self.rows.iter().rev().take(EDGE_ROWS + 1).collect(),
        ];
        for rows in outermost {
            let running = rows.iter().take(EDGE_ROWS).take_while(|row| is_repeated(row)).count();
            let set_off = |count: &usize| {
                let pair = rows.get(count - 1).zip(rows.get(*count));
                pair.is_some_and(|(last, next)| (last.y - next.y).abs() > self.wide_advance)
            };
            let count = (1..=running).rev().find(set_off).unwrap_or(0);
            found.extend(rows[..count].iter().flat_map(|row| row.lines.iter().copied()));
        }
        found
    }
}

impl PageRow {
    fn new(line: &PdfLine, index: usize) -> Self {
        let mut row = Self {
            y: line.y,
            size: 0.0,
            words: Vec::new(),
            page_number: None,
            lines: Vec::new(),
        };
        row.push(line, index);
        row
    }

    fn push(&mut self, line: &PdfLine, index: usize) {
        self.size = self.size.max(line.size);
        self.words.extend(line.text.split_whitespace().map(without_numbers));
        self.words.sort_unstable();
        self.lines.push(index);
        self.page_number = match self.words.iter().any(|word| word.contains(char::is_alphabetic)) {
            true => None,
            false => self.page_number.or_else(|| first_number(&line.text)),
        };
    }

    /// Whether `there`, on page `other`, is the same head or foot as this row on page `own`. Rows of numbers alone
    /// match only if the numbers count the pages.
    fn matches_row(&self, own: u32, there: &PageRow, other: u32) -> bool {
        let counts = match (self.page_number, there.page_number) {
            (Some(here), Some(there)) => here - i64::from(own) == there - i64::from(other),
            (None, None) => self.words.iter().any(|word| word.contains(char::is_alphabetic)),
            _ => false,
        };
        counts && (self.y - there.y).abs() <= SAME_HEIGHT && self.words == there.words
    }
}

/// The word in lower case, with each number replaced by `#`.
fn without_numbers(word: &str) -> String {
    let mut out = String::new();
    for character in word.chars().flat_map(char::to_lowercase) {
        match character.is_numeric() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(character),
        }
    }
    out
}

fn first_number(text: &str) -> Option<i64> {
    let digits = |character: char| character.is_ascii_digit();
    let from = &text[text.find(digits)?..];
    let end = from.find(|character| !digits(character)).unwrap_or(from.len());
    from[..end].parse().ok()
}

/// Median of the values; infinite if there are none.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    if values.is_empty() {
        return f32::INFINITY;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(y: f32, size: f32, text: &str) -> PdfLine {
        PdfLine {
            text: text.to_owned(),
            y,
            size,
            aside: false,
            bold: false,
        }
    }

    /// A body of ten lines between `head` at `at` and `foot`.
    fn page(number: u32, at: f32, head: &PdfLine, foot: &str) -> Vec<PdfLine> {
        let body = (0..10).map(|row| {
            let y = 700.0 - 12.0 * row as f32;
            line(y, 10.0, &format!("words of page {number} in row {row} of it"))
        });
        let mut lines = vec![line(at, head.size, &head.text.replace('N', &number.to_string()))];
        lines.extend(body);
        lines.push(line(40.0, 8.0, &foot.replace('N', &number.to_string())));
        lines
    }

    /// First and last line of each page.
    fn edges(pages: impl Iterator<Item = Vec<PdfLine>>) -> Vec<(String, String)> {
        let mut window = PageWindow::default();
        let mut out = Vec::new();
        for (index, lines) in pages.enumerate() {
            out.extend(window.push(index as u32 + 1, lines));
        }
        out.extend(std::iter::from_fn(|| window.pop()));
        let numbers: Vec<u32> = out.iter().map(|(number, _)| *number).collect();
        assert_eq!(
            numbers,
            (1..=out.len() as u32).collect::<Vec<_>>(),
            "every page, in order"
        );
        let text = |line: Option<&PdfLine>| line.map_or(String::new(), |line| line.text.clone());
        out.iter()
            .map(|(_, lines)| (text(lines.first()), text(lines.last())))
            .collect()
    }

    fn check(at: f32, size: f32, head: &str, foot: &str, head_goes: bool, foot_goes: bool) {
        let head = line(at, size, head);
        let found = edges((1..=12).map(|number| page(number, at, &head, foot)));
        assert_eq!(found.len(), 12);
        for (first, last) in found {
            assert_eq!(first.starts_with("words of"), head_goes, "{first}");
            assert_eq!(last.starts_with("words of"), foot_goes, "{last}");
        }
    }

    #[test]
    fn what_pages_repeat_at_their_edges_goes() {
        check(740.0, 10.0, "The Handbook, page N", "N", true, true);
        check(740.0, 10.0, "N / 12", "Printed in 2024, N of 12", true, true);
    }

    #[test]
    fn headings_table_heads_and_numbers_that_do_not_count_stay() {
        check(740.0, 20.0, "Results (N of 3)", "7", false, false);
        check(712.0, 10.0, "name place number", "N", false, true);
    }

    #[test]
    fn heads_of_left_and_right_pages_go_and_single_ones_stay() {
        let heads = ["Part one", "Chapter two"];
        let found = edges((0..8).map(|index| page(index, 740.0, &line(740.0, 10.0, heads[index as usize % 2]), "-")));
        assert!(
            found.iter().all(|(first, _)| first.starts_with("words of")),
            "{found:?}"
        );
        let found = edges((0..8).map(|index| {
            let word = ["a", "b", "c", "d", "e", "f", "g", "h"][index as usize];
            page(index, 740.0, &line(740.0, 10.0, &format!("Of {word}{word}")), "-")
        }));
        assert!(found.iter().all(|(first, _)| first.starts_with("Of ")), "{found:?}");
    }

    #[test]
    fn a_page_of_nothing_but_its_head_keeps_it() {
        let found = edges((0..6).map(|_| vec![line(740.0, 10.0, "The Handbook")]));
        assert!(found.iter().all(|(first, _)| first == "The Handbook"), "{found:?}");
    }
}
