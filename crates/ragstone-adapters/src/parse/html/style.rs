//! The little of CSS that tells whether text is seen.

use dom_query::NodeRef;

/// A size below this, in points or pixels, shows no letters.
const SMALLEST: f32 = 1.0;
/// So far to the left or above, in pixels, nothing is seen; the usual tricks use 999 and more.
const FAR_OFF: f32 = -900.0;
/// A channel from here on is white to the eye.
const NEAR_WHITE: u8 = 242;

/// What a block of declarations says about being seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// `display: none` and its like.
    pub not_shown: bool,
    /// Letters without size.
    pub tiny: bool,
    /// Moved out of sight.
    pub off_page: bool,
    /// `opacity: 0`.
    pub transparent: bool,
}

impl Look {
    /// Reads declarations.
    pub(super) fn of(block: &str) -> Self {
        let mut look = Self::default();
        let (mut placed, mut far, mut clipped, mut flat) = (false, false, false, false);
        for (name, value) in declarations(block) {
            match name.as_str() {
                "display" => look.not_shown |= value == "none",
                "visibility" => look.not_shown |= matches!(value.as_str(), "hidden" | "collapse"),
                "opacity" => look.transparent |= value.parse().is_ok_and(|value: f32| value < 0.05),
                "font-size" => look.tiny |= length(&value).is_some_and(|size| size < SMALLEST),
                "position" => placed |= matches!(value.as_str(), "absolute" | "fixed"),
                "left" | "top" | "right" | "bottom" => far |= is_far(&value),
                "text-indent" | "margin-left" | "margin-top" => look.off_page |= is_far(&value),
                "clip" => clipped |= value.replace([' ', ','], "").starts_with("rect(0"),
                "width" | "height" | "max-height" | "max-width" => flat |= length(&value) == Some(0.0),
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
    length(value).is_some_and(|length| length <= FAR_OFF)
}

/// A length as a number of pixels or points; other units count as if an em had sixteen.
fn length(value: &str) -> Option<f32> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let number: f32 = digits.parse().ok()?;
    Some(match &value[digits.len()..] {
        "em" | "rem" | "vw" | "vh" | "%" => number * 16.0,
        _ => number,
    })
}

fn declarations(block: &str) -> impl Iterator<Item = (String, String)> {
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

/// Selector and block of the rules that hold everywhere; those within `@media` and its like are left out.
pub(super) fn rules(sheet: &str) -> Vec<(&str, &str)> {
    let (mut found, mut rest) = (Vec::new(), sheet);
    while let Some(open) = rest.find('{') {
        let selector = rest[..open].rsplit(['}', ';']).next().unwrap_or_default();
        let selector = selector.rsplit("*/").next().unwrap_or_default().trim();
        let body = &rest[open + 1..];
        let close = closing(body);
        if !selector.starts_with('@') && !selector.is_empty() {
            found.push((selector, &body[..close]));
        }
        rest = body.get(close + 1..).unwrap_or_default();
    }
    found
}

/// Where the brace that is open closes.
fn closing(body: &str) -> usize {
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

/// The colours that elements give themselves, from the outermost in.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Colours {
    letters: Option<Rgb>,
    ground: Option<Rgb>,
    /// Something is behind the letters that has no plain colour, such as a picture.
    picture: bool,
    /// The element at hand gave one of them.
    pub changed: bool,
}

impl Colours {
    /// Those of an element within.
    pub(super) fn within(mut self, node: &NodeRef) -> Self {
        self.changed = false;
        if !node.is_element() {
            return self;
        }
        if let Some(value) = node.attr("color").and_then(|value| colour(&value.to_ascii_lowercase())) {
            self.letters(value);
        }
        if let Some(value) = node
            .attr("bgcolor")
            .and_then(|value| colour(&value.to_ascii_lowercase()))
        {
            self.ground(Some(value));
        }
        for (name, value) in node.attr("style").iter().flat_map(|style| declarations(style)) {
            match name.as_str() {
                "color" if value == "transparent" => self.letters = self.ground,
                "color" => {
                    if let Some(value) = colour(&value) {
                        self.letters(value);
                    }
                }
                "background" | "background-color" => self.ground(colour(&value)),
                "background-image" => self.ground(None),
                _ => {}
            }
        }
        self
    }

    fn letters(&mut self, colour: Rgb) {
        self.letters = Some(colour);
        self.changed = true;
    }

    fn ground(&mut self, colour: Option<Rgb>) {
        self.ground = colour;
        self.picture = colour.is_none();
        self.changed = true;
    }

    /// Letters of the colour of what is said to be behind them.
    pub(super) fn same(&self) -> bool {
        match (self.letters, self.ground) {
            (Some(letters), Some(ground)) => letters == ground || is_white(letters) && is_white(ground),
            _ => false,
        }
    }

    /// White letters where nothing is said to be behind them.
    pub(super) fn white_on_nothing(&self) -> bool {
        self.letters.is_some_and(is_white) && self.ground.is_none() && !self.picture
    }
}

fn is_white((r, g, b): Rgb) -> bool {
    r.min(g).min(b) >= NEAR_WHITE
}

/// A plain colour: `white`, `black`, `#fff`, `#ffffff` or `rgb(255, 255, 255)`.
fn colour(value: &str) -> Option<Rgb> {
    let value = value.trim();
    if let Some(hex) = value.strip_prefix('#') {
        return from_hex(hex);
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

fn from_hex(hex: &str) -> Option<Rgb> {
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
        let shown = Look::default();
        let hidden = Look {
            not_shown: true,
            ..shown
        };
        let (tiny, off_page) = (
            Look { tiny: true, ..shown },
            Look {
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
                Look {
                    transparent: true,
                    ..shown
                },
            ),
        ] {
            assert_eq!(Look::of(block), expected, "{block}");
        }
    }

    #[test]
    fn rules_are_found_outside_of_media() {
        let sheet = "/* a */ .x, #y { display:none } @media print { .z { display:none } } p{color:red}";
        assert_eq!(rules(sheet), [(".x, #y", " display:none "), ("p", "color:red")]);
        assert_eq!(rules(".open { display"), [(".open", " display")]);
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
            assert_eq!(colour(value), expected, "{value}");
        }
    }
}
