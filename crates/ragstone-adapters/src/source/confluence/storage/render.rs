//! Renders parts of a page as Markdown.

/// Appends flowing text: white space is collapsed and starts no line, and a `#` or `<!` that Markdown would read as a
/// heading or comment is escaped.
pub(super) fn push_flowing_text(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_whitespace() {
            if !out.is_empty() && !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
            continue;
        }
        let begins_line = out.is_empty() || out.ends_with('\n');
        if begins_line && character == '#' || out.ends_with('<') && character == '!' {
            out.push('\\');
        }
        out.push(character);
    }
}

/// Ends a block: the following text starts after an empty line.
pub(super) fn break_block(out: &mut String) {
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push_str("\n\n");
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn render_anchor(target: Option<&str>, words: &str) -> String {
    let goes = |target: &&str| {
        ["http://", "https://", "mailto:"]
            .iter()
            .any(|scheme| target.starts_with(scheme))
    };
    let text = one_line(words);
    match target.filter(goes) {
        Some(target) if text.is_empty() => target.to_owned(),
        Some(target) if target != text && !target.contains(['(', ')', ' ']) => format!("[{text}]({target})"),
        _ => words.to_owned(),
    }
}

pub(super) fn render_code(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text if text.contains('`') => format!("`` {text} ``"),
        text => format!("`{text}`"),
    }
}

/// A code block, in a fence longer than any inside.
pub(super) fn render_code_block(language: &str, text: &str) -> String {
    let text = text.trim_matches('\n').trim_end();
    if text.trim().is_empty() {
        return String::new();
    }
    let within = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(within + 1));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+#-_.".contains(c);
    let language = match language.chars().all(is_plain) && !matches!(language, "none" | "text" | "plain") {
        true => language,
        false => "",
    };
    format!("{fence}{language}\n{text}\n{fence}")
}

pub(super) fn render_quote(text: &str) -> String {
    let lines: Vec<String> = text.trim().lines().map(|line| format!("> {line}")).collect();
    lines.join("\n")
}

/// A list; further lines of an item are indented below its first line.
pub(super) fn render_list(first: Option<usize>, items: &[String]) -> String {
    let mut out = String::new();
    for (n, item) in items.iter().enumerate() {
        let mark = match first {
            Some(first) => format!("{}. ", first.saturating_add(n)),
            None => "- ".to_owned(),
        };
        let item = match item.contains("```") {
            true => item.trim().to_owned(),
            false => item.trim().replace("\n\n", "\n"),
        };
        let indent = " ".repeat(mark.len());
        for (n, line) in item.lines().enumerate() {
            if n == 0 {
                out.push_str(&mark);
            } else if !line.is_empty() {
                out.push_str(&indent);
            }
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The text of a cell, on one line.
pub(super) fn render_cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

/// A table with its first row as header. A table of one column becomes lines.
pub(super) fn render_table(mut rows: Vec<Vec<String>>) -> String {
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if columns <= 1 {
        let cells: Vec<String> = rows.into_iter().flatten().collect();
        return cells.join("\n\n").replace("\\|", "|");
    }
    let mut out = String::new();
    for (n, mut row) in rows.into_iter().enumerate() {
        row.resize(columns, String::new());
        out.push_str(&format!("| {} |\n", row.join(" | ")));
        if n == 0 {
            out.push_str(&format!("|{}\n", " --- |".repeat(columns)));
        }
    }
    out
}
