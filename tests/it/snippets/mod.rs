//! The fenced blocks of the README and of `docs/`: each is run, applied or parsed, or is in a table that says why not.

pub mod blocks;
mod client;
mod identity;
mod shell;
mod use_chat;

use std::collections::BTreeMap;

use rejoinder::config::Config;
use serde_json::Value;

use crate::support::binary::Sandbox;
use blocks::{Block, all, prose};

/// `scripts/peers frameworks` builds the applications of these pages.
const FRAMEWORKS: &str = "scripts/peers frameworks";

/// The programs that other tests run: page, language, number of blocks, module of the test.
const PROGRAMS: [(&str, &str, usize, &str); 22] = [
    ("README.md", "html", 1, "startup"),
    ("docs/chat-html.md", "html", 3, FRAMEWORKS),
    ("docs/chat-html.md", "js", 1, FRAMEWORKS),
    ("docs/chat-nextjs.md", "ts", 1, FRAMEWORKS),
    ("docs/chat-nextjs.md", "tsx", 2, FRAMEWORKS),
    ("docs/chat-react.md", "tsx", 2, FRAMEWORKS),
    ("docs/chat-vue.md", "ts", 1, FRAMEWORKS),
    ("docs/chat-vue.md", "vue", 2, FRAMEWORKS),
    ("docs/chat.md", "css", 1, "pages"),
    ("docs/chat.md", "html", 3, "pages"),
    ("docs/chat.md", "js", 2, "widget::calls"),
    ("docs/events.md", "js", 1, "v1::events::snippets"),
    ("docs/events.md", "python", 1, "v1::events::snippets"),
    ("docs/events.md", "rust", 1, "v1::events::snippets"),
    ("docs/streaming.md", "jsx", 1, "snippets::use_chat"),
    ("docs/webhooks.md", "javascript", 1, "receivers"),
    ("docs/webhooks.md", "python", 1, "receivers"),
    ("docs/webhooks.md", "rust", 1, "receivers"),
    ("docs/widget.md", "html", 1, "snippets::client"),
    ("docs/widget.md", "javascript", 1, "snippets::identity"),
    ("docs/widget.md", "js", 1, "snippets::client"),
    ("docs/widget.md", "python", 1, "snippets::identity"),
];

/// Text to read, such as requests and diagrams.
const PROSE: [&str; 2] = ["", "http"];

#[test]
fn every_block_has_a_language_that_is_tested_and_every_program_has_a_test() {
    let mut programs = BTreeMap::new();
    for block in all() {
        match block.language.as_str() {
            "sh" | "toml" | "json" => {}
            language if PROSE.contains(&language) => {}
            _ => *programs.entry((block.page.clone(), block.language.clone())).or_insert(0) += 1,
        }
    }

    let expected = PROGRAMS.map(|(page, language, count, _)| ((page.to_owned(), language.to_owned()), count));
    assert_eq!(
        programs,
        BTreeMap::from(expected),
        "a block of another language needs a test, and a line in PROGRAMS"
    );
}

#[test]
fn json_blocks_are_json() {
    for block in all().iter().filter(|block| block.language == "json") {
        if let Err(error) = serde_json::from_str::<Value>(&block.text) {
            panic!("{block}: {error}");
        }
    }
}

/// Settings begin with the name of their file; every other TOML block is part of a workspace file.
const SETTINGS: &str = "# rejoinder.toml\n";

#[test]
fn blocks_of_settings_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rejoinder.toml");
    for block in toml().iter().filter(|block| block.text.starts_with(SETTINGS)) {
        std::fs::write(&file, &block.text).unwrap();
        if let Err(error) = Config::load(Some(file.as_path()), std::iter::empty()) {
            panic!("{block}: {error}");
        }
    }
}

/// A block whose `apply` needs a server on the network, and the error that follows when everything else is right.
const NEEDS_NETWORK: [(&str, &str); 1] = [("https://crm.example/mcp", "MCP server")];

/// The table that every workspace file needs.
const WORKSPACE: &str = "[workspace]\nslug = \"acme\"\nname = \"Acme\"\n\n";

#[test]
fn parts_of_workspace_files_are_applied() {
    for block in toml().iter().filter(|block| !block.text.starts_with(SETTINGS)) {
        let sandbox = Sandbox::new();
        // A part without this table gets the smallest one.
        let is_whole = block.text.lines().any(|line| line == "[workspace]");
        let file = if is_whole { block.text.clone() } else { format!("{WORKSPACE}{}", block.text) };
        std::fs::write(sandbox.path().join("workspace.toml"), &file).unwrap();
        for path in quoted(&file, "path = ") {
            let path = sandbox.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "Text of a document.").unwrap();
        }
        let migrated = sandbox.run(&["migrate"]);
        assert!(migrated.status.success(), "{}", migrated.stderr);
        let mut apply = sandbox.command(&["apply", "workspace.toml"]);
        // The page of a whole file names the variables that it needs; a part belongs to a file of the reader's.
        let prose = prose(&block.page);
        let is_named = |name: &&str| !is_whole || prose.contains(&format!("`{name}`"));
        for name in quoted(&file, "env = ").into_iter().filter(is_named) {
            apply.env(name, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        }

        let applied = apply.output().unwrap();

        let error = String::from_utf8(applied.stderr).unwrap();
        match NEEDS_NETWORK.iter().find(|(address, _)| file.contains(address)) {
            None => assert!(applied.status.success(), "{block}: {error}"),
            Some((_, expected)) => assert!(error.contains(expected), "{block}: {error}"),
        }
    }
}

fn toml() -> Vec<Block> {
    all().into_iter().filter(|block| block.language == "toml").collect()
}

/// The strings that follow `key` in a text.
fn quoted<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let strings = text.split(key).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    strings.collect()
}
