//! Measures the nesting depth of HTML from its tags, before it is parsed: the parser takes quadratic time in the depth,
//! and the converter recurses.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, StartTag, Tag, TagToken, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

/// Elements that have no end, or that the next of them ends: of these there may be many that were not closed.
const UNCLOSED: [&str; 29] = [
    "area", "base", "body", "br", "col", "colgroup", "dd", "dt", "embed", "head", "hr", "html", "img",
    "input", "li", "link", "meta", "option", "p", "param", "source", "tbody", "td", "tfoot", "th", "thead",
    "tr", "track", "wbr",
];

/// Whether more than `max_depth` elements are open at once.
pub(super) fn exceeds_depth(html: &str, max_depth: usize) -> bool {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let counter = DepthCounter { max_depth, ..DepthCounter::default() };
    let tokenizer = Tokenizer::new(counter, TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.sink.is_exceeded.get()
}

#[derive(Default)]
struct DepthCounter {
    max_depth: usize,
    /// By name, so that an end tag of nothing does not count.
    open: RefCell<HashMap<String, usize>>,
    depth: Cell<usize>,
    is_exceeded: Cell<bool>,
}

impl TokenSink for DepthCounter {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let TagToken(Tag { kind, name, .. }) = token else { return TokenSinkResult::Continue };
        if UNCLOSED.contains(&&*name) {
            return TokenSinkResult::Continue;
        }
        let is_start = kind == StartTag;
        let mut open = self.open.borrow_mut();
        let open_count = open.entry(name.to_string()).or_default();
        if is_start {
            *open_count += 1;
            self.depth.set(self.depth.get() + 1);
        } else if *open_count > 0 {
            *open_count -= 1;
            self.depth.set(self.depth.get().saturating_sub(1));
        }
        if self.depth.get() > self.max_depth {
            self.is_exceeded.set(true);
        }
        match &*name {
            "script" if is_start => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "noframes" if is_start => TokenSinkResult::RawData(RawKind::Rawtext),
            "title" | "textarea" if is_start => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_elements_count_and_closed_ones_do_not() {
        assert!(exceeds_depth(&"<div>".repeat(11), 10));
        assert!(exceeds_depth(&"<div></b>".repeat(11), 10));
        assert!(!exceeds_depth(&"<div><p>a<br>b</div>".repeat(1000), 10));
        assert!(!exceeds_depth(&"<ul><li>a<li>b<li><b>c</b></ul>".repeat(1000), 10));
        assert!(!exceeds_depth("<script>'<div>'.repeat('<div><div><div>')</script><p>x", 2));
        assert!(!exceeds_depth("no tags at all, 1 < 2", 0));
    }
}
