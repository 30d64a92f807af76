//! Splits a document into passages: at headings, then paragraphs, then sentences. No text is lost: text between two
//! blocks (such as a link definition or a comment) is added to the second one.

mod split;

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use self::split::{length, split_text};

/// Target length of a passage, in characters. A block that would exceed it starts the next passage.
const TARGET_LENGTH: usize = 1000;
/// Maximum length of a passage, in characters. Longer tables and code blocks are split.
pub(super) const MAX_LENGTH: usize = 2000;
/// In characters. A longer heading is treated as a paragraph.
const MAX_HEADING_LENGTH: usize = 200;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its headings, outermost first: `Returns > Refunds`. Empty if there are none.
    pub heading: String,
    /// Markdown, trimmed; at most 2,000 characters.
    pub text: String,
}

/// A block of a document.
struct Block {
    kind: Kind,
    /// In bytes of the document. Starts at the end of the previous block.
    range: Range<usize>,
}

enum Kind {
    Heading {
        level: HeadingLevel,
        title: String,
    },
    Prose,
    /// Split only if it exceeds [`MAX_LENGTH`].
    Atomic,
}

/// Splits Markdown into passages, in order.
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

/// The top-level blocks, which together cover the whole text.
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
    /// The top-level block that this event ends, if any.
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

/// A heading of the current section.
struct OpenHeading {
    level: HeadingLevel,
    title: String,
    /// Whether a passage contains it.
    is_emitted: bool,
}

/// Collects blocks into passages.
#[derive(Default)]
struct Chunker {
    headings: Vec<OpenHeading>,
    /// Blocks of the current passage.
    pending: String,
    passages: Vec<Passage>,
}

impl Chunker {
    fn open_section(&mut self, level: HeadingLevel, title: String) {
        self.close_sections(Some(level));
        self.headings.push(OpenHeading { level, title, is_emitted: false });
    }

    /// Closes the sections that a heading of this level ends; `None` closes all. A section with only a heading
    /// becomes a passage, too.
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
    fn a_passage_has_its_headings() {
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
    fn tables_and_code_are_split_only_above_the_maximum_length() {
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
