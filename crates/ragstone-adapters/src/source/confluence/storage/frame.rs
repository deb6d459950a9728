//! Open elements of a page, and how macros and links are rendered.

use std::collections::BTreeMap;

use super::render;

/// An open element, with what was collected of it so far.
pub(super) enum OpenElement {
    /// Its content flows into the element around it.
    Plain {
        /// Whether it is a block, separated from the text before and after it.
        block: bool,
    },
    Skipped,
    Heading(usize),
    Anchor(Option<String>),
    Code,
    Preformatted,
    Quote,
    /// Number of the first item if the list is numbered, and the rendered items.
    List(Option<usize>, Vec<String>),
    Item,
    /// A task, and whether it is done.
    Task(bool),
    TaskStatus,
    Table(Vec<Vec<String>>),
    Row(Vec<String>),
    /// A cell, and how many columns it spans.
    Cell(usize),
    Macro(ConfluenceMacro),
    /// A parameter of a macro, by its name.
    Parameter(String),
    PlainBody,
    Link(ConfluenceLink),
}

impl OpenElement {
    pub fn has_buffer(&self) -> bool {
        !matches!(self, Self::Plain { .. } | Self::Skipped)
    }

    /// Whether white space in it is significant.
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
    /// Text of the link: its own words, otherwise the name of its target.
    pub fn link_text(self, words: &str) -> String {
        match words.trim() {
            "" => self.name.unwrap_or_default(),
            _ => words.to_owned(),
        }
    }
}

/// A macro with its parameters and its plain body.
pub(super) struct ConfluenceMacro {
    name: String,
    pub parameters: BTreeMap<String, String>,
    pub plain_body: Option<String>,
}

/// How a macro is rendered.
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

    /// Renders the macro around its rendered body.
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

    /// The page that the macro includes: that parameter's name is empty or depends on the Confluence version.
    fn included_page(&self) -> Option<&str> {
        let named = ["", "default-parameter", "pageTitle", "name"];
        let mut found = named.iter().map(|name| self.parameter_value(name));
        found.find(|page| !page.is_empty())
    }
}

/// A block below the title of its panel.
fn with_title(title: &str, body: &str) -> String {
    match (title, body.is_empty()) {
        ("", _) => body.to_owned(),
        (_, true) => title.to_owned(),
        _ => format!("**{title}**\n\n{body}"),
    }
}
