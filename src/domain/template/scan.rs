//! Splits a template into text and placeholders, and tracks whether a placeholder is inside a JSON string.

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// The name in `{{name}}`.
    Variable(&'t str),
    /// The name in `{name}`.
    Argument(&'t str),
}

/// The parts of a template, in order. Braces around anything but a name (with optional white space) are text. `{name}` is
/// text, too, unless `with_arguments`.
pub(super) fn pieces(template: &str, with_arguments: bool) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        let (piece, after) = first_piece(rest, with_arguments)?;
        rest = after;
        Some(piece)
    })
}

fn first_piece(rest: &str, with_arguments: bool) -> Option<(Piece<'_>, &str)> {
    let first = rest.chars().next()?;
    if let Some((name, after)) = enclosed(rest, "{{", "}}") {
        return Some((Piece::Variable(name), after));
    }
    if with_arguments && let Some((name, after)) = enclosed(rest, "{", "}") {
        return Some((Piece::Argument(name), after));
    }
    // Text extends to the next brace; a brace at this position opens no placeholder.
    let start = first.len_utf8();
    let end = rest[start..].find('{').map_or(rest.len(), |found| start + found);
    let (text, after) = rest.split_at(end);
    Some((Piece::Text(text), after))
}

/// The name between `open` and `close` at the start of `rest`, and the remaining text.
fn enclosed<'t>(rest: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    let inside = rest.strip_prefix(open)?;
    let end = inside.find(|c: char| !is_name_char(c) && !c.is_whitespace())?;
    let (padded, tail) = inside.split_at(end);
    let name = padded.trim();
    let is_name = !name.is_empty() && name.chars().all(is_name_char);
    if is_name { Some((name, tail.strip_prefix(close)?)) } else { None }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The position of the scanner in a JSON text. Only the template's own text counts: an inserted value never opens or
/// closes a string.
#[derive(Default)]
pub(super) struct JsonScanner {
    in_string: bool,
    after_backslash: bool,
}

impl JsonScanner {
    pub(super) fn advance(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.after_backslash => self.after_backslash = false,
                b'\\' if self.in_string => self.after_backslash = true,
                b'"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
    }

    pub(super) fn in_string(&self) -> bool {
        self.in_string
    }

    /// The text to insert before a value: in `"\{name}"` the single backslash would escape the value's first character, so
    /// it is doubled.
    pub(super) fn close_escape(&mut self) -> &'static str {
        if std::mem::take(&mut self.after_backslash) { "\\" } else { "" }
    }
}
