//! A document cut into passages: along its headings, then paragraphs, then sentences. No text is lost: what stands
//! between two blocks (a definition of a link, a comment) goes with the second.

mod split;

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use self::split::{length, split_text};

/// How long a passage should be, in characters; one that has more blocks ends before the next.
const TARGET_LENGTH: usize = 1000;
/// How long a table or a piece of code may be before it is torn, and so the longest passage, in characters.
pub(super) const MAX_LENGTH: usize = 2000;
/// A longer heading is a paragraph.
const MAX_HEADING_LENGTH: usize = 200;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The headings above it, outermost first: `Returns > Refunds`; empty if there are none.
    pub heading: String,
    /// Markdown, trimmed; at most 2,000 characters.
    pub text: String,
}

/// A block of a document.
struct Block {
    kind: Kind,
    /// In bytes of the document, with all that stands before it since the last one.
    range: Range<usize>,
}

enum Kind {
    Heading {
        level: HeadingLevel,
        title: String,
    },
    Prose,
    /// Not torn where it fits.
    Atomic,
}

/// Cuts Markdown into passages, in order.
#[must_use]
pub fn chunk(markdown: &str) -> Vec<Passage> {
    let mut chunker = Chunker::default();
    for block in blocks(markdown) {
        let text = markdown.get(block.range).unwrap_or_default();
        match block.kind {
            Kind::Heading { level, title } => chunker.open_section(level, title),
            Kind::Prose => chunker.add_block(text, TARGET_LENGTH),
            Kind::Atomic => chunker.add_block(text, MAX_LENGTH),
        }
    }
    chunker.close_sections(None);
    chunker.passages
}

/// The blocks at the top, which together are the whole text.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut parser = BlockParser::default();
    let mut start = 0;
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    for (event, range) in Parser::new_ext(markdown, options).into_offset_iter() {
        let Some(kind) = parser.read(event) else { continue };
        let is_heading = matches!(kind, Kind::Heading { .. });
        let between = markdown.get(start..range.start).unwrap_or_default();
        if is_heading && !between.trim().is_empty() {
            blocks.push(Block { kind: Kind::Prose, range: start..range.start });
        }
        let end = range.end.max(start);
        blocks.push(Block { kind, range: start..end });
        start = end;
    }
    if !markdown.get(start..).unwrap_or_default().trim().is_empty() {
        blocks.push(Block { kind: Kind::Prose, range: start..markdown.len() });
    }
    blocks
}

/// Finds the ends of blocks among the parser's events.
#[derive(Default)]
struct BlockParser {
    depth: usize,
    heading: Option<HeadingLevel>,
    title: String,
}

impl BlockParser {
    /// The block that this event ends, if it ends one at the top.
    fn read(&mut self, event: Event<'_>) -> Option<Kind> {
        match event {
            Event::Start(tag) => {
                if let (0, Tag::Heading { level, .. }) = (self.depth, &tag) {
                    self.heading = Some(*level);
                    self.title.clear();
                }
                self.depth += 1;
                None
            }
            Event::End(tag) => {
                self.depth = self.depth.saturating_sub(1);
                (self.depth == 0).then(|| self.end(tag))
            }
            Event::Rule => (self.depth == 0).then_some(Kind::Prose),
            Event::Text(text) | Event::Code(text) | Event::InlineHtml(text) => {
                self.push_title(&text);
                None
            }
            Event::SoftBreak | Event::HardBreak => {
                self.push_title(" ");
                None
            }
            Event::FootnoteReference(_)
            | Event::Html(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::TaskListMarker(_) => None,
        }
    }

    fn push_title(&mut self, text: &str) {
        if self.heading.is_some() {
            self.title.push_str(text);
        }
    }

    fn end(&mut self, tag: TagEnd) -> Kind {
        if let (TagEnd::Heading(_), Some(level)) = (tag, self.heading.take()) {
            let title = std::mem::take(&mut self.title);
            let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_short = length(&title) <= MAX_HEADING_LENGTH;
            return if is_short && !title.is_empty() { Kind::Heading { level, title } } else { Kind::Prose };
        }
        if matches!(tag, TagEnd::CodeBlock | TagEnd::Table) { Kind::Atomic } else { Kind::Prose }
    }
}

/// A heading that the text stands below.
struct OpenHeading {
    level: HeadingLevel,
    title: String,
    /// Whether a passage names it.
    is_emitted: bool,
}

/// Passages being made.
#[derive(Default)]
struct Chunker {
    headings: Vec<OpenHeading>,
    /// Blocks of the passage that is not full yet.
    pending: String,
    passages: Vec<Passage>,
}

impl Chunker {
    fn open_section(&mut self, level: HeadingLevel, title: String) {
        self.close_sections(Some(level));
        self.headings.push(OpenHeading { level, title, is_emitted: false });
    }

    /// Ends the sections that a heading of this level ends. One that says nothing but its heading is a passage
    /// all the same.
    fn close_sections(&mut self, level: Option<HeadingLevel>) {
        self.flush();
        while let Some(last) = self.headings.pop_if(|last| level.is_none_or(|level| last.level >= level)) {
            if !last.is_emitted {
                self.push(last.title);
            }
        }
    }

    fn add_block(&mut self, text: &str, max_length: usize) {
        let text = text.trim_matches(['\n', '\r']).trim_end();
        if text.trim().is_empty() {
            return;
        }
        let together = length(&self.pending) + length(text);
        if !self.pending.is_empty() && together > TARGET_LENGTH {
            self.flush();
        }
        if length(text) <= max_length {
            self.append(text);
            return;
        }
        for piece in split_text(text, TARGET_LENGTH) {
            self.append(piece);
            self.flush();
        }
    }

    fn append(&mut self, text: &str) {
        if !self.pending.is_empty() {
            self.pending.push_str("\n\n");
        }
        self.pending.push_str(text);
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.pending);
        if !text.trim().is_empty() {
            self.push(text.trim().to_owned());
        }
    }

    fn push(&mut self, text: String) {
        let titles: Vec<&str> = self.headings.iter().map(|heading| heading.title.as_str()).collect();
        let heading = titles.join(" > ");
        self.headings.iter_mut().for_each(|heading| heading.is_emitted = true);
        self.passages.push(Passage { heading, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(markdown: &str) -> Vec<(String, String)> {
        chunk(markdown).into_iter().map(|passage| (passage.heading, passage.text)).collect()
    }

    fn pair(heading: &str, text: &str) -> (String, String) {
        (heading.to_owned(), text.to_owned())
    }

    #[test]
    fn a_passage_stands_below_its_headings() {
        let text = "Hello.\n\n# Returns\n\nYou may.\n\n## Refunds\n\nIn *14* days.\n\nTo your card.\n\n# Phone: 555\n\n\
            Shop\n====\n### `a` & b\nlast";
        assert_eq!(
            chunks(text),
            [
                pair("", "Hello."),
                pair("Returns", "You may."),
                pair("Returns > Refunds", "In *14* days.\n\nTo your card."),
                pair("", "Phone: 555"),
                pair("Shop > a & b", "last"),
            ]
        );
    }

    #[test]
    fn long_text_is_split_at_sentences_and_long_words_at_characters() {
        let sentence = "It costs 3.50 for a box of ten. ";
        let passages = chunk(&sentence.repeat(100));
        assert!(passages.len() >= 4, "{}", passages.len());
        for passage in &passages {
            assert!(
                passage.text.ends_with("ten.") && length(&passage.text) <= TARGET_LENGTH,
                "{}",
                passage.text
            );
        }

        let lengths: Vec<_> = chunk(&"ä".repeat(2500)).iter().map(|passage| length(&passage.text)).collect();
        assert_eq!(lengths, [1000, 1000, 500]);
    }

    #[test]
    fn tables_and_code_are_not_split_where_they_fit() {
        let table = format!("| a | b |\n|---|---|\n{}", "| one | two |\n".repeat(100));
        let code = format!("```\n{}```", "let x = 1;\n".repeat(150));
        let text = format!("Before.\n\n{table}\n{code}\n\nAfter.");
        let passages: Vec<_> = chunk(&text).into_iter().map(|passage| passage.text).collect();
        assert_eq!(passages, ["Before.", table.trim(), &code, "After."]);

        let long = chunk(&format!("```\n{}```", "let x = 1;\n".repeat(500)));
        assert!(long.len() > 4 && long.iter().all(|passage| length(&passage.text) <= TARGET_LENGTH));
        assert!(long.iter().skip(1).all(|passage| passage.text.starts_with("let x")), "{long:?}");
    }

    #[test]
    fn text_that_the_parser_skips_is_preserved() {
        let text =
            "[a]: https://example.com \"Here\"\n\n# One\n\n[b]: https://example.org\n\n<!-- note -->\n";
        assert_eq!(
            chunks(text),
            [
                pair("", "[a]: https://example.com \"Here\""),
                pair("One", "[b]: https://example.org\n\n<!-- note -->")
            ]
        );
    }
}
