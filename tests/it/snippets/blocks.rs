//! The fenced blocks of the pages.

use std::fmt;
use std::path::Path;

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// `README.md`, `docs/….md`.
    pub page: String,
    /// Of the block's first line of text.
    pub line: usize,
    /// Empty if the fence names none.
    pub language: String,
    pub text: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.page, self.line, self.language)
    }
}

/// The blocks of the README and of `docs/`, in the order of the pages' names.
pub fn all() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(root.join("docs")).expect("the docs");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let names = files.filter_map(|path| Some(format!("docs/{}", path.file_name()?.display())));
    let mut pages: Vec<_> = names.collect();
    pages.push("README.md".to_owned());
    pages.sort();
    let read = |page: String| blocks(&page, &std::fs::read_to_string(root.join(&page)).expect("a page"));
    pages.into_iter().flat_map(read).collect()
}

/// The blocks of one page in a language.
pub fn of(page: &str, language: &str) -> Vec<Block> {
    all().into_iter().filter(|block| block.page == page && block.language == language).collect()
}

/// The text of a page between its blocks.
pub fn prose(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(path).expect("a page");
    text.split("```").step_by(2).collect()
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    page: page.to_owned(),
                    line: number + 1,
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    blocks
}

#[test]
fn blocks_are_found_with_their_line_and_language() {
    let found = blocks("p", "a\n```sh\nb\nc\n```\n```\nd\n```\n");

    let found: Vec<_> = found.iter().map(|block| (block.line, &*block.language, &*block.text)).collect();
    assert_eq!(found, [(3, "sh", "b\nc\n"), (7, "", "d\n")]);
}
