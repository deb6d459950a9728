//! Open elements of a page, and what macros and links show.

use std::collections::BTreeMap;

use super::render;

/// An open element.
pub(super) enum OpenElement {
    /// Its content flows into what is around it.
    Plain {
        /// Whether it stands apart from what is before and after it.
        block: bool,
    },
    Skipped,
    Heading(usize),
    Anchor(Option<String>),
    Code,
    Preformatted,
    Quote,
    /// The number of its first item, if they have numbers, and the items.
    List(Option<usize>, Vec<String>),
    Item,
    /// Whether it is done.
    Task(bool),
    TaskStatus,
    Table(Vec<Vec<String>>),
    Row(Vec<String>),
    /// How many columns wide.
    Cell(usize),
    Macro(ConfluenceMacro),
    /// Of a macro, by its name.
    Parameter(String),
    PlainBody,
    Link(ConfluenceLink),
}

impl OpenElement {
    pub fn has_buffer(&self) -> bool {
        !matches!(self, Self::Plain { .. } | Self::Skipped)
    }

    /// Whether each space counts.
    pub fn is_verbatim(&self) -> bool {
        matches!(self, Self::Preformatted | Self::PlainBody)
    }

    pub fn as_list(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Self::List(_, items) => Some(items),
            _ => None,
        }
    }

    pub fn as_task(&mut self) -> Option<&mut bool> {
        match self {
            Self::Task(done) => Some(done),
            _ => None,
        }
    }

    pub fn as_table(&mut self) -> Option<&mut Vec<Vec<String>>> {
        match self {
            Self::Table(rows) => Some(rows),
            _ => None,
        }
    }

    pub fn as_row(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Self::Row(cells) => Some(cells),
            _ => None,
        }
    }

    pub fn as_macro(&mut self) -> Option<&mut ConfluenceMacro> {
        match self {
            Self::Macro(found) => Some(found),
            _ => None,
        }
    }
}

/// What a link points to within Confluence.
#[derive(Default)]
pub(super) struct ConfluenceLink {
    pub name: Option<String>,
}

impl ConfluenceLink {
    /// Its own words, else the name of what it points to.
    pub fn link_text(self, words: &str) -> String {
        match words.trim() {
            "" => self.name.unwrap_or_default(),
            _ => words.to_owned(),
        }
    }
}

/// A macro with what it was given.
pub(super) struct ConfluenceMacro {
    name: String,
    pub parameters: BTreeMap<String, String>,
    pub plain_body: Option<String>,
}

/// What a macro shows.
pub(super) enum MacroOutput {
    Block(String),
    Inline(String),
}

impl ConfluenceMacro {
    pub fn new(name: Option<String>) -> Self {
        Self {
            name: name.unwrap_or_default().to_lowercase(),
            parameters: BTreeMap::new(),
            plain_body: None,
        }
    }

    fn parameter_value(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// What it shows around its rendered body.
    pub fn render_macro(self, body: &str) -> MacroOutput {
        let title = self.parameter_value("title");
        match self.name.as_str() {
            "code" | "noformat" => {
                let text = self.plain_body.as_deref().unwrap_or(body);
                MacroOutput::Block(with_title(
                    title,
                    &render::render_code_block(self.parameter_value("language"), text),
                ))
            }
            "status" => MacroOutput::Inline(title.to_owned()),
            "jira" => MacroOutput::Inline(self.parameter_value("key").to_owned()),
            "include" | "excerpt-include" => match self.included_page() {
                Some(page) => MacroOutput::Block(format!("See: {page}")),
                None => MacroOutput::Block(String::new()),
            },
            _ => match &self.plain_body {
                Some(text) => MacroOutput::Block(with_title(title, text.trim())),
                None if body.trim().is_empty() => MacroOutput::Inline(String::new()),
                None => MacroOutput::Block(with_title(title, body.trim())),
            },
        }
    }

    /// The page that it includes: its parameter has no name, or one that differs from version to version.
    fn included_page(&self) -> Option<&str> {
        let named = ["", "default-parameter", "pageTitle", "name"];
        let mut found = named.iter().map(|name| self.parameter_value(name));
        found.find(|page| !page.is_empty())
    }
}

/// A block under the title of its panel.
fn with_title(title: &str, body: &str) -> String {
    match (title, body.is_empty()) {
        ("", _) => body.to_owned(),
        (_, true) => title.to_owned(),
        _ => format!("**{title}**\n\n{body}"),
    }
}
