//! Lengths and white space as Python defines them: a length is a number of Unicode code points.
//!
//! Long stretches of most texts are ASCII, where a length is simply a difference of byte positions.

use std::ops::Range;

/// Number of code points in `range`.
pub(super) fn count_code_points(text: &str, range: Range<usize>) -> usize {
    let part = &text[range];
    if part.is_ascii() {
        part.len()
    } else {
        part.chars().count()
    }
}

/// The position `points` code points after `from`, or `end` if it comes first.
pub(super) fn step_forward(text: &str, from: usize, points: usize, end: usize) -> usize {
    let near = from.saturating_add(points).min(end);
    if points == 0 || text.as_bytes()[from..near].is_ascii() {
        return near;
    }
    let mut rest = text[from..end].chars();
    rest.nth(points - 1);
    end - rest.as_str().len()
}

/// The position `points` code points before `from`, or `start` if it comes first.
pub(super) fn step_back(text: &str, from: usize, points: usize, start: usize) -> usize {
    let near = from.saturating_sub(points).max(start);
    if points == 0 || text.as_bytes()[near..from].is_ascii() {
        return near;
    }
    let mut rest = text[start..from].chars();
    rest.nth_back(points - 1);
    start + rest.as_str().len()
}

/// `range` without the white space at its ends, as `str.strip()` removes it; empty if it is only white space.
pub(super) fn strip_range(text: &str, range: Range<usize>) -> Range<usize> {
    let without_end = text[range.clone()].trim_end_matches(is_space);
    let stripped = without_end.trim_start_matches(is_space);
    let end = range.start + without_end.len();
    end - stripped.len()..end
}

/// `str.isspace()` of Python: Unicode's white space and the four information separators.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let text = "aé漢😀b";
        let bounds: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for (points, &at) in bounds.iter().enumerate() {
            assert_eq!(step_forward(text, 0, points, text.len()), at);
            assert_eq!(count_code_points(text, 0..at), points);
            assert_eq!(
                step_back(text, text.len(), points, 0),
                bounds[bounds.len() - 1 - points]
            );
        }
        assert_eq!(step_forward(text, 0, usize::MAX, text.len()), text.len());
        assert_eq!(step_back(text, text.len(), usize::MAX, 1), 1);
    }

    #[test]
    fn white_space_is_that_of_python() {
        let spaces: Vec<u32> = (0..=0x10_ffff)
            .filter_map(char::from_u32)
            .filter(|&c| is_space(c))
            .map(u32::from)
            .collect();
        let mut expected: Vec<u32> = (0x9..=0xd).chain(0x1c..=0x20).chain([0x85, 0xa0, 0x1680]).collect();
        expected.extend((0x2000..=0x200a).chain([0x2028, 0x2029, 0x202f, 0x205f, 0x3000]));
        assert_eq!(spaces, expected);
    }

    #[test]
    fn stripping() {
        let text = "\u{1f} a b\u{a0}\u{3000}\n";
        assert_eq!(&text[strip_range(text, 0..text.len())], "a b");
        assert!(strip_range("\u{1c} \n", 0..3).is_empty());
    }
}
