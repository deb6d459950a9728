//! The algorithm as it is usually written, with strings and no thought for speed or ranges. It passes the oracle
//! cases, so that it can judge the fast one on texts and settings that the oracle does not have.

use crate::split::{KeepSeparator, SplitSettings, code_points};

pub(in crate::split) fn split(text: &str, settings: &SplitSettings) -> Vec<String> {
    let separators: Vec<&str> = match settings.separators.as_slice() {
        [] => vec!["\n\n", "\n", " ", ""],
        given => given.iter().map(String::as_str).collect(),
    };
    split_by(text, &separators, settings)
}

fn split_by(text: &str, separators: &[&str], settings: &SplitSettings) -> Vec<String> {
    let found = separators
        .iter()
        .position(|separator| separator.is_empty() || text.contains(separator));
    let separator = separators[found.unwrap_or(separators.len() - 1)];
    let deeper = match found {
        Some(index) if !separator.is_empty() => &separators[index + 1..],
        _ => &[],
    };
    let glue = if settings.keep_separator == KeepSeparator::None {
        separator
    } else {
        ""
    };
    let (mut chunks, mut good) = (Vec::new(), Vec::new());
    for piece in cut(text, separator, settings.keep_separator) {
        if piece.chars().count() < settings.chunk_size {
            good.push(piece);
            continue;
        }
        chunks.extend(merge(&std::mem::take(&mut good), glue, settings));
        if deeper.is_empty() {
            chunks.push(piece);
        } else {
            chunks.extend(split_by(&piece, deeper, settings));
        }
    }
    chunks.extend(merge(&good, glue, settings));
    chunks
}

fn cut(text: &str, separator: &str, keep: KeepSeparator) -> Vec<String> {
    let parts: Vec<&str> = text.split(separator).collect();
    let last = parts.len() - 1;
    let pieces = parts.iter().enumerate().map(|(index, part)| match keep {
        _ if separator.is_empty() => (*part).to_owned(),
        KeepSeparator::Start if index > 0 => format!("{separator}{part}"),
        KeepSeparator::End if index < last => format!("{part}{separator}"),
        _ => (*part).to_owned(),
    });
    pieces.filter(|piece| !piece.is_empty()).collect()
}

fn merge(pieces: &[String], glue: &str, settings: &SplitSettings) -> Vec<String> {
    let length = |pieces: &[String]| pieces.join(glue).chars().count();
    let (mut chunks, mut start) = (Vec::new(), 0);
    for next in 0..pieces.len() {
        if length(&pieces[start..=next]) > settings.chunk_size && start < next {
            chunks.push(pieces[start..next].join(glue));
            while length(&pieces[start..next]) > settings.chunk_overlap
                || (start < next && length(&pieces[start..=next]) > settings.chunk_size)
            {
                start += 1;
            }
        }
    }
    chunks.push(pieces[start..].join(glue));
    if settings.strip {
        chunks = chunks
            .iter()
            .map(|chunk| chunk.trim_matches(code_points::is_space).to_owned())
            .collect();
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}
