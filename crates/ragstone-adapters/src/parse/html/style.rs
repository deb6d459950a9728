//! The part of CSS that decides whether text is visible.

use dom_query::NodeRef;

/// A font size below this, in points or pixels, is invisible.
const SMALLEST: f32 = 1.0;
/// Content this far to the left or above, in pixels, is invisible; the usual tricks use 999 and more.
const FAR_OFF: f32 = -900.0;
/// A colour channel (0 to 255) from this value on looks white.
const NEAR_WHITE: u8 = 242;

/// What a block of declarations says about visibility.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct StyleVisibility {
    /// `display: none` and equivalent declarations.
    pub not_shown: bool,
    /// A font size too small to see.
    pub tiny: bool,
    /// Positioned outside of the visible page.
    pub off_page: bool,
    /// Fully transparent (`opacity: 0`).
    pub transparent: bool,
}

impl StyleVisibility {
    /// Reads a block of declarations.
    pub(super) fn from_declarations(block: &str) -> Self {
        let mut look = Self::default();
        let (mut placed, mut far, mut clipped, mut flat) = (false, false, false, false);
        for (name, value) in parse_declarations(block) {
            match name.as_str() {
                "display" => look.not_shown |= value == "none",
                "visibility" => look.not_shown |= matches!(value.as_str(), "hidden" | "collapse"),
                "opacity" => look.transparent |= value.parse().is_ok_and(|value: f32| value < 0.05),
                "font-size" => look.tiny |= parse_length(&value).is_some_and(|size| size < SMALLEST),
                "position" => placed |= matches!(value.as_str(), "absolute" | "fixed"),
                "left" | "top" | "right" | "bottom" => far |= is_far(&value),
                "text-indent" | "margin-left" | "margin-top" => look.off_page |= is_far(&value),
                "clip" => clipped |= value.replace([' ', ','], "").starts_with("rect(0"),
                "width" | "height" | "max-height" | "max-width" => flat |= parse_length(&value) == Some(0.0),
                "overflow" => clipped |= value == "hidden" && flat,
                _ => {}
            }
        }
        look.off_page |= placed && far;
        look.not_shown |= clipped && (placed || flat);
        look
    }
}

fn is_far(value: &str) -> bool {
    parse_length(value).is_some_and(|length| length <= FAR_OFF)
}

/// Parses a length in pixels or points; other units count 16 each, the usual size of an em.
fn parse_length(value: &str) -> Option<f32> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let number: f32 = digits.parse().ok()?;
    Some(match &value[digits.len()..] {
        "em" | "rem" | "vw" | "vh" | "%" => number * 16.0,
        _ => number,
    })
}

fn parse_declarations(block: &str) -> impl Iterator<Item = (String, String)> {
    let lower = without_comments(&block.to_ascii_lowercase());
    let parts: Vec<_> = lower
        .split(';')
        .filter_map(|declaration| {
            let (name, value) = declaration.split_once(':')?;
            let value = value.trim().trim_end_matches("!important").trim();
            Some((name.trim().to_owned(), value.to_owned()))
        })
        .collect();
    parts.into_iter()
}

fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        out.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    out + rest
}

/// Selectors and blocks of unconditional rules; rules inside of `@media` and other at-rules are left out.
pub(super) fn find_rules(sheet: &str) -> Vec<(&str, &str)> {
    let (mut found, mut rest) = (Vec::new(), sheet);
    while let Some(open) = rest.find('{') {
        let selector = rest[..open].rsplit(['}', ';']).next().unwrap_or_default();
        let selector = selector.rsplit("*/").next().unwrap_or_default().trim();
        let body = &rest[open + 1..];
        let close = find_closing_brace(body);
        if !selector.starts_with('@') && !selector.is_empty() {
            found.push((selector, &body[..close]));
        }
        rest = body.get(close + 1..).unwrap_or_default();
    }
    found
}

/// Offset of the brace that closes the open block; the end if there is none.
fn find_closing_brace(body: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    body.len()
}

type Rgb = (u8, u8, u8);

/// Text and background colour in effect at an element, inherited from the outermost element inwards.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct InheritedColours {
    text_colour: Option<Rgb>,
    background: Option<Rgb>,
    /// Whether the background has no plain colour, such as a picture.
    picture: bool,
    /// Whether the current element itself set one of the colours.
    pub changed: bool,
}

impl InheritedColours {
    /// The colours in effect inside of `node`.
    pub(super) fn enter_element(mut self, node: &NodeRef) -> Self {
        self.changed = false;
        if !node.is_element() {
            return self;
        }
        if let Some(value) = node
            .attr("color")
            .and_then(|value| parse_colour(&value.to_ascii_lowercase()))
        {
            self.set_text_colour(value);
        }
        if let Some(value) = node
            .attr("bgcolor")
            .and_then(|value| parse_colour(&value.to_ascii_lowercase()))
        {
            self.set_background(Some(value));
        }
        for (name, value) in node.attr("style").iter().flat_map(|style| parse_declarations(style)) {
            match name.as_str() {
                "color" if value == "transparent" => self.text_colour = self.background,
                "color" => {
                    if let Some(value) = parse_colour(&value) {
                        self.set_text_colour(value);
                    }
                }
                "background" | "background-color" => self.set_background(parse_colour(&value)),
                "background-image" => self.set_background(None),
                _ => {}
            }
        }
        self
    }

    fn set_text_colour(&mut self, colour: Rgb) {
        self.text_colour = Some(colour);
        self.changed = true;
    }

    fn set_background(&mut self, colour: Option<Rgb>) {
        self.background = colour;
        self.picture = colour.is_none();
        self.changed = true;
    }

    /// Whether the text has the colour of its declared background.
    pub(super) fn text_matches_background(&self) -> bool {
        match (self.text_colour, self.background) {
            (Some(letters), Some(ground)) => letters == ground || is_white(letters) && is_white(ground),
            _ => false,
        }
    }

    /// Whether the text is white and no background is declared.
    pub(super) fn is_white_on_unknown(&self) -> bool {
        self.text_colour.is_some_and(is_white) && self.background.is_none() && !self.picture
    }
}

fn is_white((r, g, b): Rgb) -> bool {
    r.min(g).min(b) >= NEAR_WHITE
}

/// Parses a plain colour: `white`, `black`, `#fff`, `#ffffff` or `rgb(255, 255, 255)`.
fn parse_colour(value: &str) -> Option<Rgb> {
    let value = value.trim();
    if let Some(hex) = value.strip_prefix('#') {
        return parse_hex_colour(hex);
    }
    if let Some(parts) = value.strip_prefix("rgb(").or_else(|| value.strip_prefix("rgba(")) {
        let mut parts = parts
            .trim_end_matches(')')
            .split([',', ' ', '/'])
            .filter(|part| !part.is_empty());
        let mut next = || parts.next()?.parse::<f32>().ok().map(|channel| channel as u8);
        return Some((next()?, next()?, next()?));
    }
    match value {
        "white" | "snow" | "ivory" | "ghostwhite" | "whitesmoke" => Some((255, 255, 255)),
        "black" => Some((0, 0, 0)),
        _ => None,
    }
}

fn parse_hex_colour(hex: &str) -> Option<Rgb> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    match digits[..] {
        [r, g, b] => Some((r * 17, g * 17, b * 17)),
        [r, r2, g, g2, b, b2] => Some((r * 16 + r2, g * 16 + g2, b * 16 + b2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_tell_what_is_not_seen() {
        let shown = StyleVisibility::default();
        let hidden = StyleVisibility {
            not_shown: true,
            ..shown
        };
        let (tiny, off_page) = (
            StyleVisibility { tiny: true, ..shown },
            StyleVisibility {
                off_page: true,
                ..shown
            },
        );
        for (block, expected) in [
            ("color: red; font-size: 12px", shown),
            ("DISPLAY : None !important", hidden),
            ("dis/* */play:none", hidden),
            ("visibility:hidden", hidden),
            ("font-size:0", tiny),
            ("font-size: 0.1px", tiny),
            ("font-size: 0.8em", shown),
            ("position:absolute;left:-9999px", off_page),
            ("left:-9999px", shown),
            ("text-indent:-9999px", off_page),
            ("height:0;overflow:hidden", hidden),
            ("overflow:hidden", shown),
            ("position:absolute;clip:rect(0, 0, 0, 0)", hidden),
            (
                "opacity:0",
                StyleVisibility {
                    transparent: true,
                    ..shown
                },
            ),
        ] {
            assert_eq!(StyleVisibility::from_declarations(block), expected, "{block}");
        }
    }

    #[test]
    fn rules_are_found_outside_of_media() {
        let sheet = "/* a */ .x, #y { display:none } @media print { .z { display:none } } p{color:red}";
        assert_eq!(find_rules(sheet), [(".x, #y", " display:none "), ("p", "color:red")]);
        assert_eq!(find_rules(".open { display"), [(".open", " display")]);
    }

    #[test]
    fn colours_are_read() {
        for (value, expected) in [
            ("#fff", Some((255, 255, 255))),
            ("#fefefe", Some((254, 254, 254))),
            ("rgb(255, 255, 255)", Some((255, 255, 255))),
            ("rgba(1 2 3 / 0.5)", Some((1, 2, 3))),
            ("white", Some((255, 255, 255))),
            ("inherit", None),
            ("#12345", None),
        ] {
            assert_eq!(parse_colour(value), expected, "{value}");
        }
    }
}
