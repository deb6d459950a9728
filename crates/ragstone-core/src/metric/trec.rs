//! TREC's text formats: a run has `query Q0 document rank score tag` per line, judgments have `query 0 document gain`.
//! BEIR's judgments, `query document gain` after a header line, are accepted too.
//!
//! Columns are split at tabs if that gives the expected number, so that ids may contain spaces, else at any white
//! space.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::ranking::{RelevanceJudgments, ScoredDocuments};

/// Error in a run or judgments file; lines count from 1.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TrecError {
    /// A line with a wrong number of columns.
    #[error("line {line} has {columns} columns, expected {expected}")]
    Columns {
        /// Line number of the error.
        line: usize,
        /// Number of columns in the line.
        columns: usize,
        /// The numbers of columns that the format allows.
        expected: &'static str,
    },
    /// A score or gain that is not a finite number.
    #[error("line {line}: {value:?} is not a number")]
    Number {
        /// Line number of the error.
        line: usize,
        /// The text that should be a number.
        value: String,
    },
    /// A document that already occurred for this query.
    #[error("line {line}: document {document:?} occurs twice for query {query:?}")]
    Repeated {
        /// Line number of the second occurrence.
        line: usize,
        /// Id of the query.
        query: String,
        /// Id of the document.
        document: String,
    },
}

/// Columns of a line of a run; the tag may be missing.
const RUN_COLUMNS: RangeInclusive<usize> = 5..=6;
/// Columns of a judgment: three in BEIR's format, four in TREC's.
const JUDGMENT_COLUMNS: RangeInclusive<usize> = 3..=4;

/// Parses a run. The rank column is ignored, as in trec_eval: scores decide. A sixth column may be missing.
///
/// # Errors
/// [`TrecError`] names the first invalid line.
pub fn parse_run(text: &str) -> Result<HashMap<String, ScoredDocuments>, TrecError> {
    let mut scores: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for (line, columns) in parse_lines(text, RUN_COLUMNS) {
        let ([query, _, document, _, score] | [query, _, document, _, score, _]) = columns[..] else {
            return Err(TrecError::Columns {
                line,
                columns: columns.len(),
                expected: "5 or 6",
            });
        };
        let value = score.parse::<f64>().ok().filter(|value| value.is_finite());
        let value = value.ok_or_else(|| TrecError::Number {
            line,
            value: score.to_owned(),
        })?;
        insert_unique(&mut scores, line, (query, document), value)?;
    }
    Ok(scores
        .into_iter()
        .map(|(query, found)| (query, found.into_iter().collect()))
        .collect())
}

/// Parses judgments in TREC's or BEIR's format.
///
/// # Errors
/// [`TrecError`] names the first invalid line.
pub fn parse_qrels(text: &str) -> Result<HashMap<String, RelevanceJudgments>, TrecError> {
    let mut judgments = HashMap::new();
    for (line, columns) in parse_lines(text, JUDGMENT_COLUMNS) {
        let ([query, _, document, gain] | [query, document, gain]) = columns[..] else {
            return Err(TrecError::Columns {
                line,
                columns: columns.len(),
                expected: "4 (TREC) or 3 (BEIR)",
            });
        };
        if line == 1 && columns.len() == 3 && gain == "score" {
            continue;
        }
        let gain = gain.parse().map_err(|_| TrecError::Number {
            line,
            value: gain.to_owned(),
        })?;
        insert_unique(&mut judgments, line, (query, document), gain)?;
    }
    Ok(judgments)
}

fn parse_lines(text: &str, expected: RangeInclusive<usize>) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let columns = text.lines().map(move |line| split_columns(line, &expected));
    (1..).zip(columns).filter(|(_, columns)| !columns.is_empty())
}

fn split_columns<'a>(line: &'a str, expected: &RangeInclusive<usize>) -> Vec<&'a str> {
    let by_tabs = line.split('\t').map(str::trim).filter(|column| !column.is_empty());
    let by_tabs: Vec<&str> = by_tabs.collect();
    // Some files align their columns with tabs and spaces together.
    match line.contains('\t') && expected.contains(&by_tabs.len()) {
        true => by_tabs,
        false => line.split_whitespace().collect(),
    }
}

fn insert_unique<T>(
    table: &mut HashMap<String, HashMap<String, T>>,
    line: usize,
    (query, document): (&str, &str),
    value: T,
) -> Result<(), TrecError> {
    match table.entry(query.to_owned()).or_default().entry(document.to_owned()) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
        Entry::Occupied(_) => Err(TrecError::Repeated {
            line,
            query: query.to_owned(),
            document: document.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_by_query() {
        let run = parse_run("q1 Q0 a 1 2.5 tag\n\nq2\tQ0\tb\t1\t-1e3\r\nq1 Q0 b 2 2 tag\n").unwrap();
        assert_eq!(run["q2"], [("b".to_owned(), -1000.0)]);
        assert_eq!(run["q1"].len(), 2);
        assert!(parse_run("").unwrap().is_empty());
    }

    #[test]
    fn judgments_are_read_in_both_forms() {
        let trec = parse_qrels("q1 0 a 2\nq1 0 b -1\n").unwrap();
        let beir = parse_qrels("query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t-1\n").unwrap();
        assert_eq!(trec, beir);
        assert_eq!((trec["q1"]["a"], trec["q1"]["b"]), (2, -1));
    }

    #[test]
    fn ids_may_hold_spaces_between_tabs() {
        let run = parse_run("a question\tQ0\tAnnual report.pdf\t1\t2.5\tmy tag\r\nq2 Q0 b 1 1 tag\n").unwrap();
        assert_eq!(run["a question"], [("Annual report.pdf".to_owned(), 2.5)]);
        assert_eq!(run["q2"], [("b".to_owned(), 1.0)]);
        let trec = parse_qrels("a question\t0\tAnnual report.pdf\t2\n").unwrap();
        let beir = parse_qrels("query-id\tcorpus-id\tscore\na question\tAnnual report.pdf\t2\n").unwrap();
        assert_eq!((trec["a question"]["Annual report.pdf"], &beir), (2, &trec));
        // Without the expected number of tabs, columns are split at any white space; spaces around tabs are trimmed.
        let mixed = parse_qrels("q1 0\ta 2\nq1\t\t0\tb \t1\n").unwrap();
        assert_eq!((mixed["q1"]["a"], mixed["q1"]["b"]), (2, 1));
        // Without tabs a space separates columns, so the line has one too many.
        assert!(matches!(
            parse_qrels("a question 0 b 1"),
            Err(TrecError::Columns { columns: 5, .. })
        ));
    }

    #[test]
    fn wrong_lines_are_named() {
        assert_eq!(
            parse_run("q Q0 a 1").unwrap_err().to_string(),
            "line 1 has 4 columns, expected 5 or 6"
        );
        assert_eq!(
            parse_run("\nq Q0 a 1 NaN t").unwrap_err().to_string(),
            "line 2: \"NaN\" is not a number"
        );
        assert_eq!(
            parse_qrels("q 0 a x").unwrap_err(),
            TrecError::Number {
                line: 1,
                value: "x".to_owned()
            }
        );
        let twice = parse_run("q Q0 a 1 2 t\nq Q0 a 2 1 t").unwrap_err();
        assert_eq!(twice.to_string(), "line 2: document \"a\" occurs twice for query \"q\"");
    }
}
