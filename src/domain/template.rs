//! Templates: `{{name}}` is a variable of the conversation, and where a tool is
//! called `{name}` is an argument that the model gave. What is filled in is
//! never read as a template again, and cannot leave its place in a URL or a
//! JSON text.

mod scan;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use url::{Position, Url};

use scan::{JsonScanner, Piece, pieces};

/// All but RFC 3986's unreserved characters is encoded: such a text is one path
/// segment, or one value of a query.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a tool's templates are filled from. A name that is in neither is empty.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// For `{{name}}`: the variables of the conversation that are trusted.
    pub variables: &'a Map<String, Value>,
    /// For `{name}`: the arguments of the call.
    pub arguments: &'a Map<String, Value>,
}

/// Why a template could not be filled. The texts may be shown, to a model too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the filled text is longer than {max_bytes} bytes")]
    TooLong { max_bytes: usize },
    #[error("the URL is not absolute")]
    NotAbsolute,
    /// The value would have changed which host or how deep a path the URL names.
    #[error("in the URL's path `{name}` must not be empty, `.` or `..`")]
    UrlChanged { name: String },
}

/// The names of the arguments (`{name}`) that a tool's template uses.
pub fn argument_names(template: &str) -> impl Iterator<Item = &str> {
    pieces(template, true).filter_map(|piece| match piece {
        Piece::Argument(name) => Some(name),
        Piece::Text(_) | Piece::Variable(_) => None,
    })
}

/// Whether a text has placeholders.
pub fn is_template(text: &str) -> bool {
    pieces(text, true).any(|piece| !matches!(piece, Piece::Text(_)))
}

/// Whether a template can use a variable of this name.
pub fn is_variable(name: &str) -> bool {
    let template = format!("{{{{{name}}}}}");
    pieces(&template, true).eq([Piece::Variable(name)])
}

/// Fills the variables of a prompt or a first message; `{name}` is plain text.
/// A string stands as it is, a number or a boolean as its text, null as
/// nothing, other JSON compact.
pub fn fill_prompt(
    template: &str,
    variables: &Map<String, Value>,
    max_bytes: usize,
) -> Result<String, TemplateError> {
    let values = Values { variables, arguments: &Map::new() };
    fill(template, false, max_bytes, |out, piece| match piece {
        Piece::Text(text) => out.push_str(text),
        Piece::Variable(_) | Piece::Argument(_) => out.push_str(&plain(values.get(piece))),
    })
}

/// Fills a tool's header. The caller's header type has to refuse line breaks.
pub fn fill_header(template: &str, values: Values<'_>, max_bytes: usize) -> Result<String, TemplateError> {
    fill(template, true, max_bytes, |out, piece| match piece {
        Piece::Text(text) => out.push_str(text),
        Piece::Variable(_) | Piece::Argument(_) => out.push_str(&plain(values.get(piece))),
    })
}

/// Fills a tool's absolute URL. Each value is percent-encoded as one segment of
/// the path or one value of the query. One that would change the host, or the
/// depth of the path (`..`, or nothing where a segment is expected), is refused.
pub fn fill_url(template: &str, values: Values<'_>, max_bytes: usize) -> Result<String, TemplateError> {
    // With the values of the first `count` placeholders, and harmless ones in the others.
    let fill_first = |count: usize| {
        let mut index = 0;
        fill(template, true, max_bytes, |out, piece| match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(_) | Piece::Argument(_) if index < count => {
                index += 1;
                out.push_str(&encode_url_value(&plain(values.get(piece))));
            }
            Piece::Variable(_) | Piece::Argument(_) => out.push('x'),
        })
    };
    let filled = fill_first(usize::MAX)?;
    // No encoding keeps `..` from being a step up (`%2e%2e` is one, too), so the
    // outcome is compared, by the parser that the client uses, with a harmless one.
    let harmless = fill_first(0)?;
    if same_shape(&harmless, &filled) {
        return Ok(filled);
    }
    for (count, name) in (1..).zip(names(template)) {
        if !same_shape(&harmless, &fill_first(count)?) {
            return Err(TemplateError::UrlChanged { name: name.to_owned() });
        }
    }
    Err(TemplateError::NotAbsolute)
}

/// A value as [`fill_url`] writes it.
pub fn encode_url_value(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

/// The names of all placeholders, in order.
fn names(template: &str) -> impl Iterator<Item = &str> {
    pieces(template, true).filter_map(|piece| match piece {
        Piece::Argument(name) | Piece::Variable(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// Fills a tool's JSON body. Inside a JSON string a value is escaped text;
/// elsewhere it is a whole JSON value (a string with its quotes, an unknown name
/// as `null`). So `{"id": {id}, "note": "for {name}"}` stays the JSON it is.
pub fn fill_json(template: &str, values: Values<'_>, max_bytes: usize) -> Result<String, TemplateError> {
    let mut scanner = JsonScanner::default();
    fill(template, true, max_bytes, |out, piece| match piece {
        Piece::Text(text) => {
            scanner.advance(text);
            out.push_str(text);
        }
        Piece::Variable(_) | Piece::Argument(_) => {
            let value = values.get(piece);
            if scanner.in_string() {
                out.push_str(scanner.close_escape());
                let quoted = Value::from(plain(value).into_owned()).to_string();
                out.push_str(&quoted[1..quoted.len() - 1]);
            } else {
                out.push_str(&value.unwrap_or(&Value::Null).to_string());
            }
        }
    })
}

impl<'a> Values<'a> {
    fn get(self, piece: Piece<'_>) -> Option<&'a Value> {
        match piece {
            Piece::Text(_) => None,
            Piece::Variable(name) => self.variables.get(name),
            Piece::Argument(name) => self.arguments.get(name),
        }
    }
}

fn fill(
    template: &str,
    with_arguments: bool,
    max_bytes: usize,
    mut push: impl FnMut(&mut String, Piece<'_>),
) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(template.len());
    for piece in pieces(template, with_arguments) {
        push(&mut out, piece);
        if out.len() > max_bytes {
            return Err(TemplateError::TooLong { max_bytes });
        }
    }
    Ok(out)
}

fn plain(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

/// Whether two URLs have the same scheme, host, port and depth of path, and no
/// segment of `filled` is empty where that of `harmless` is not.
fn same_shape(harmless: &str, filled: &str) -> bool {
    let (Ok(harmless), Ok(filled)) = (Url::parse(harmless), Url::parse(filled)) else { return false };
    let (Some(expected), Some(found)) = (harmless.path_segments(), filled.path_segments()) else {
        return false;
    };
    harmless[..Position::BeforePath] == filled[..Position::BeforePath]
        && expected.clone().count() == found.clone().count()
        && expected.zip(found).all(|(expected, found)| expected.is_empty() || !found.is_empty())
}
