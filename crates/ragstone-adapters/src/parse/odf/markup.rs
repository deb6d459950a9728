//! Reads elements and attributes, and finds the styles that hide the elements that use them.

use std::collections::HashSet;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::super::error::ParseProblem;

/// Names of the styles that hide the text, table or slide that uses them.
pub(super) fn unseen_styles(xml: &str) -> Result<HashSet<String>, ParseProblem> {
    let (mut names, mut style) = (HashSet::new(), String::new());
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(ParseProblem::damaged)? {
            Event::Start(start) | Event::Empty(start) => match local_name(&start) {
                "style" => style = read_attribute(&start, "style:name").unwrap_or_default(),
                "text-properties" if read_attribute(&start, "text:display").as_deref() == Some("none") => {
                    names.insert(style.clone());
                }
                "table-properties" if read_attribute(&start, "table:display").as_deref() == Some("false") => {
                    names.insert(style.clone());
                }
                "drawing-page-properties"
                    if read_attribute(&start, "presentation:visibility").as_deref() == Some("hidden") =>
                {
                    names.insert(style.clone());
                }
                "body" => return Ok(names),
                _ => {}
            },
            Event::Eof => return Ok(names),
            _ => {}
        }
    }
}

/// Name of the element without its namespace prefix.
pub(super) fn local_name<'a>(start: &'a BytesStart) -> &'a str {
    let name = start.name().into_inner();
    name.rsplit(':').next().unwrap_or(name)
}

/// Value of the attribute with this full name; `None` if it is absent or invalid.
pub(super) fn read_attribute(start: &BytesStart, name: &str) -> Option<String> {
    let found = start.try_get_attribute(name).ok()??;
    Some(quick_xml::escape::unescape(&found.value).ok()?.into_owned())
}

/// Number in an attribute; 0 if it is absent or not a number.
pub(super) fn read_number(start: &BytesStart, name: &str) -> u32 {
    read_attribute(start, name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
