//! Separates the thoughts that some models write into their text, between tags, from the reply, while the text arrives.

use super::MAX_TEXT;

/// The tags of the known models: Qwen, `DeepSeek` and many others; Magistral; Kimi; Seed; the channels of gpt-oss and Gemma.
const TAGS: [(&str, &str); 10] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|channel>thought", "<channel|>"),
];

/// Words that a reply may contain as tags of its own: they are thoughts only at the start of the text.
const COMMON_WORDS: [&str; 3] = ["<thinking>", "<thought>", "<reasoning>"];

/// When the text of an answer is shown to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowText {
    /// As it arrives.
    AtOnce,
    /// Once a thought has ended, because the model begins with thoughts and writes no opening tag.
    AfterThoughts,
    /// Once the answer is complete.
    AtEnd,
}

/// A thought without an opening tag has ended, and its text was shown as a reply.
#[derive(Debug)]
pub(super) struct LateThoughts;

/// Sorts a text into thoughts and reply. Thoughts begin at the start of a line. Without an opening tag, as where the prompt of
/// the model contains it, they begin with the text, and their closing tag begins or ends a line; without a closing tag, as
/// where the model reached its limit, they end with the text. A reply has no blank beginning and, beside thoughts, no blank end.
#[derive(Debug)]
pub(super) struct TextFilter {
    show: ShowText,
    /// All text so far.
    raw: String,
    /// The end of the text that is sorted.
    sorted: usize,
    section: Section,
    /// The lines of all text, and those since the last thoughts.
    all_lines: Lines,
    lines: Lines,
    /// Whether only white space has arrived since the last thoughts.
    is_blank: bool,
    /// Whether the next closing tag of each pair may end thoughts without an opening tag.
    may_close: [bool; TAGS.len()],
    /// `None` before the first ones.
    thoughts: Option<String>,
    /// The part of the reply that is not shown yet.
    pending: String,
    /// The end of its last character that is not white space; 0 if there is none.
    pending_end: usize,
    shown: String,
    is_too_long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Reply,
    /// Until the closing tag of this pair.
    Thoughts {
        pair: usize,
    },
}

#[derive(Clone, Copy)]
struct Tag {
    pair: usize,
    is_open: bool,
    text: &'static str,
}

/// A text with the thoughts that were separated from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FilteredText {
    pub(super) text: String,
    pub(super) thoughts: String,
    /// The text was truncated.
    pub(super) is_too_long: bool,
}

impl TextFilter {
    pub(super) fn new(show: ShowText) -> Self {
        Self {
            show,
            raw: String::new(),
            sorted: 0,
            section: Section::Reply,
            all_lines: Lines::default(),
            lines: Lines::default(),
            is_blank: true,
            may_close: [true; TAGS.len()],
            thoughts: None,
            pending: String::new(),
            pending_end: 0,
            shown: String::new(),
            is_too_long: false,
        }
    }

    /// Adds text, and returns what is shown from now on.
    pub(super) fn push(&mut self, text: &str) -> Result<&str, LateThoughts> {
        self.raw.push_str(text);
        self.sort(false)?;
        let before = self.shown.len();
        if self.show == ShowText::AtOnce && self.pending_end > 0 {
            self.show_pending(false);
        }
        Ok(&self.shown[before..])
    }

    /// The text is complete. Returns the rest of it, which is shown now, and the whole.
    pub(super) fn finish(mut self) -> Result<(String, FilteredText), LateThoughts> {
        self.sort(true)?;
        let before = self.shown.len();
        self.show_pending(true);
        let rest = self.shown[before..].to_owned();
        let thoughts = self.thoughts.as_deref().unwrap_or_default().trim().to_owned();
        Ok((rest, FilteredText { text: self.shown, thoughts, is_too_long: self.is_too_long }))
    }

    /// Sorts the text up to its end, or to what may be the beginning of a tag.
    fn sort(&mut self, is_last: bool) -> Result<(), LateThoughts> {
        loop {
            let rest = &self.raw[self.sorted..];
            let Some(start) = rest.find(TAG_STARTS) else {
                self.take_text(self.raw.len());
                return Ok(());
            };
            self.take_text(self.sorted + start);
            let rest = &self.raw[self.sorted..];
            let Some(tag) = tags().find(|tag| rest.starts_with(tag.text)) else {
                if !is_last && tags().any(|tag| tag.text.starts_with(rest)) {
                    return Ok(());
                }
                let first = rest.chars().next().map_or(0, char::len_utf8);
                self.take_text(self.sorted + first);
                continue;
            };
            if !self.take_tag(tag, is_last)? {
                return Ok(());
            }
        }
    }

    /// Sorts a tag; false if the character after it decides, and has not arrived.
    fn take_tag(&mut self, tag: Tag, is_last: bool) -> Result<bool, LateThoughts> {
        let next = self.sorted + tag.text.len();
        if tag.is_open {
            self.may_close[tag.pair] = false;
        } else if self.may_close[tag.pair] && !self.all_lines.is_in_code(&self.raw, self.sorted) {
            let begins_line = self.all_lines.is_blank();
            if !begins_line && !is_last && next == self.raw.len() {
                return Ok(false);
            }
            self.may_close[tag.pair] = false;
            let is_alone = begins_line || self.raw[next..].starts_with(['\n', '\r']);
            if is_alone {
                self.end_unopened(next)?;
                return Ok(true);
            }
        }
        match self.section {
            Section::Thoughts { pair } if pair == tag.pair && !tag.is_open => self.end_thoughts(next),
            Section::Reply if tag.is_open && self.may_open(tag) => {
                self.thoughts.get_or_insert_default();
                self.skip_tag(next);
                self.section = Section::Thoughts { pair: tag.pair };
            }
            Section::Thoughts { .. } | Section::Reply => self.take_text(next),
        }
        Ok(true)
    }

    fn may_open(&self, tag: Tag) -> bool {
        if COMMON_WORDS.contains(&tag.text) {
            return self.is_blank;
        }
        self.lines.is_blank() && !self.lines.is_in_code(&self.raw, self.sorted)
    }

    /// All text so far was thoughts.
    fn end_unopened(&mut self, next: usize) -> Result<(), LateThoughts> {
        if !self.shown.is_empty() {
            return Err(LateThoughts);
        }
        // Only the first thoughts may lack their opening tag.
        self.may_close = [false; TAGS.len()];
        self.thoughts = Some(self.raw[..self.sorted].to_owned());
        self.pending.clear();
        self.pending_end = 0;
        self.end_thoughts(next);
        Ok(())
    }

    fn end_thoughts(&mut self, next: usize) {
        self.skip_tag(next);
        self.section = Section::Reply;
        self.lines = Lines::default();
        self.is_blank = true;
        if self.show == ShowText::AfterThoughts {
            self.show = ShowText::AtOnce;
        }
    }

    fn skip_tag(&mut self, end: usize) {
        self.all_lines.push(&self.raw, self.sorted, end);
        self.sorted = end;
    }

    /// Sorts the text up to `end`, which has no tags that count.
    fn take_text(&mut self, end: usize) {
        let start = self.sorted;
        self.all_lines.push(&self.raw, start, end);
        self.sorted = end;
        let text = &self.raw[start..end];
        match self.section {
            Section::Thoughts { .. } => self.thoughts.get_or_insert_default().push_str(text),
            Section::Reply => {
                self.lines.push(&self.raw, start, end);
                let text_end = text.trim_end().len();
                if text_end > 0 {
                    self.is_blank = false;
                    self.pending_end = self.pending.len() + text_end;
                }
                self.pending.push_str(text);
            }
        }
    }

    /// Shows what is pending, but for white space at its end, which may be the end of the reply.
    fn show_pending(&mut self, is_last: bool) {
        let end = if is_last && self.thoughts.is_none() { self.pending.len() } else { self.pending_end };
        let rest = self.pending.split_off(end);
        let pending = std::mem::replace(&mut self.pending, rest);
        self.pending_end = 0;
        if self.is_too_long {
            return;
        }
        let text = if self.shown.is_empty() { pending.trim_start() } else { pending.as_str() };
        let fitting = text.floor_char_boundary(MAX_TEXT.saturating_sub(self.shown.len()));
        self.is_too_long = fitting < text.len();
        self.shown.push_str(&text[..fitting]);
    }
}

/// The characters that tags begin with.
const TAG_STARTS: [char; 3] = ['<', '[', '◁'];

fn tags() -> impl Iterator<Item = Tag> {
    TAGS.iter().enumerate().flat_map(|(pair, &(open, close))| {
        [Tag { pair, is_open: true, text: open }, Tag { pair, is_open: false, text: close }]
    })
}

/// The current line of a text, and whether it is within a fenced block of code, which may show tags.
#[derive(Debug, Default)]
struct Lines {
    /// Where the current line has its first character that is not white space.
    line: Option<usize>,
    /// Whether an earlier line has opened a block that none has closed.
    is_open: bool,
}

impl Lines {
    fn push(&mut self, raw: &str, start: usize, end: usize) {
        for (index, c) in raw[start..end].char_indices() {
            if c == '\n' {
                self.is_open = self.is_in_code(raw, start + index);
                self.line = None;
            } else if self.line.is_none() && !c.is_whitespace() {
                self.line = Some(start + index);
            }
        }
    }

    /// Whether the current line is blank so far.
    fn is_blank(&self) -> bool {
        self.line.is_none()
    }

    /// Whether a position in the current line is within code.
    fn is_in_code(&self, raw: &str, at: usize) -> bool {
        let line = self.line.map_or("", |start| &raw[start..at]);
        let is_fence = line.starts_with("```") || line.starts_with("~~~");
        self.is_open != is_fence
    }
}

#[cfg(test)]
mod tests;
