//! Converts documents to Markdown. A large file is slow, and a malformed PDF may make its reader panic or never return:
//! run it in a process that can be ended.

mod charset;
mod nesting;
mod pdf;

use std::rc::Rc;

use htmd::{HtmlToMarkdown, Node};

use charset::decode;
use nesting::exceeds_depth;
pub use pdf::PdfError;

use crate::domain::knowledge::{Charset, Format, MAX_FILE, UnknownCharset};

/// How deep HTML may be nested.
const MAX_DEPTH: usize = 400;
/// Elements of a page that are not part of its text.
const SKIPPED_TAGS: [&str; 8] = ["script", "style", "noscript", "template", "nav", "svg", "iframe", "head"];

/// Why a file has no text, as a sentence goes on after "the document".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    #[error("is larger than {} MiB", MAX_FILE / 1024 / 1024)]
    TooLarge,
    #[error("is larger than {} MiB as UTF-8", MAX_FILE / 1024 / 1024)]
    TooLargeDecoded,
    #[error("is not {0} text")]
    NotText(Charset),
    #[error(
        "is not UTF-8 text; convert it, or upload it with its charset, such as `Content-Type: text/plain; \
         charset=windows-1252`"
    )]
    CharsetNotDeclared,
    #[error("declares {0}")]
    UnknownCharset(#[from] UnknownCharset),
    #[error("is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("is a PDF that cannot be read: {0}")]
    Pdf(#[from] PdfError),
    #[error("has no text in it")]
    NoText,
    #[error(
        "has no text in it; if its pages are pictures, as of a scanner, it needs text recognition (OCR) before"
    )]
    NoTextInPdf,
}

/// The Markdown of a file, without U+0000; text is taken as it is. `charset` was declared with the file; a PDF has none.
pub fn to_markdown(file: &[u8], format: Format, charset: Option<Charset>) -> Result<String, ExtractError> {
    if file.len() > MAX_FILE {
        return Err(ExtractError::TooLarge);
    }
    let markdown = match format {
        Format::Markdown | Format::Text => decode(file, format, charset)?.into_owned(),
        Format::Html => html(&decode(file, format, charset)?)?,
        Format::Pdf => pdf::text(file)?,
    };
    let markdown = markdown.replace('\0', "");
    match format {
        _ if !markdown.trim().is_empty() => Ok(markdown),
        Format::Pdf => Err(ExtractError::NoTextInPdf),
        Format::Markdown | Format::Text | Format::Html => Err(ExtractError::NoText),
    }
}

fn html(html: &str) -> Result<String, ExtractError> {
    if exceeds_depth(html, MAX_DEPTH) {
        return Err(ExtractError::TooDeep);
    }
    let converter = HtmlToMarkdown::builder().skip_tags(SKIPPED_TAGS.to_vec()).build();
    // From memory, where no I/O can fail.
    let tree = converter.html_to_tree(html).map_err(|_| ExtractError::NoText)?;
    // The tags alone do not show this depth: within SVG any element nests.
    if is_too_deep(&tree) {
        return Err(ExtractError::TooDeep);
    }
    Ok(converter.tree_to_markdown(&tree))
}

fn is_too_deep(tree: &Rc<Node>) -> bool {
    let mut open = vec![(Rc::clone(tree), 1)];
    while let Some((node, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return true;
        }
        open.extend(node.children.borrow().iter().map(|child| (Rc::clone(child), depth + 1)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, format: Format) -> Result<String, ExtractError> {
        to_markdown(file.as_bytes(), format, None)
    }

    #[test]
    fn html_becomes_markdown_without_what_is_no_text() {
        let page = "<html><head><title>T</title><style>x{}</style></head><body><nav>Menu</nav>\
            <h1>Returns</h1><p>Within <b>14</b> days, see <a href=\"/x\">here</a>.</p><script>bad()</script>\
            <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>";

        let markdown = read(page, Format::Html).unwrap();

        assert!(markdown.starts_with("# Returns\n\nWithin **14** days, see [here](/x)."), "{markdown}");
        assert!(
            markdown.contains("| 1") && !markdown.contains("bad") && !markdown.contains("Menu"),
            "{markdown}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_so() {
        assert_eq!(to_markdown(b"\xff", Format::Text, None), Err(ExtractError::CharsetNotDeclared));
        assert_eq!(read(" \n\0", Format::Markdown), Err(ExtractError::NoText));
        assert_eq!(read("<p> </p>", Format::Html), Err(ExtractError::NoText));
        let deep = format!("{}x", "<div>".repeat(100_000));
        assert_eq!(read(&deep, Format::Html), Err(ExtractError::TooDeep));
        assert_eq!(to_markdown(&vec![b'a'; MAX_FILE + 1], Format::Text, None), Err(ExtractError::TooLarge));
        assert!(matches!(read("%PDF-1.7 nothing", Format::Pdf), Err(ExtractError::Pdf(_))));
    }

    #[test]
    fn a_byte_order_mark_and_nul_are_no_text() {
        assert_eq!(read("\u{feff}# A\0", Format::Markdown).as_deref(), Ok("# A"));
    }
}
