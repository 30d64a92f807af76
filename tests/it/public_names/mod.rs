//! Every name that users of the product depend on, compared with the committed list. A line that is missing from
//! `public_names.txt` is a new name; a line that only it has is a name that was removed, which breaks a user.

mod openapi;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::support::binary::Sandbox;
use crate::support::described::with_responses;

const LIST: &str = include_str!("public_names.txt");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files below a folder of `src/`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The texts between each `start` and the next `end`.
fn between<'a>(text: &'a str, start: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| rest.split(end).next())
}

/// The settings of `config/default.toml`, by their full names.
fn settings() -> Vec<String> {
    fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<String>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(section) => flatten(&format!("{prefix}{name}."), section, found),
                _ => found.push(format!("setting {prefix}{name}")),
            }
        }
    }
    let mut found = Vec::new();
    flatten("", &read(&root().join("config/default.toml")).parse().unwrap(), &mut found);
    found
}

/// The commands of the program with their arguments and options, read from its help.
fn commands(sandbox: &Sandbox, path: &[&str]) -> Vec<String> {
    let help = sandbox.run(&[path, &["--help"]].concat());
    let name = [&["rejoinder"], path].concat().join(" ");
    let mut found = vec![format!("command {name}")];
    let mut section = "";
    for line in help.stdout.lines() {
        if !line.starts_with(' ') {
            section = line;
            continue;
        }
        let line = line.trim_start();
        match section {
            "Commands:" if !line.starts_with("help ") => {
                let command = line.split(' ').next().unwrap();
                found.extend(commands(sandbox, &[path, &[command]].concat()));
            }
            "Arguments:" => found.push(format!("command {name} {}", line.split(' ').next().unwrap())),
            "Options:" => {
                let option = line.split(' ').find(|word| word.starts_with("--"));
                found.extend(option.map(|option| format!("command {name} {option}")));
            }
            _ => {}
        }
    }
    found
}

/// The header names that the server declares.
fn headers() -> Vec<String> {
    let mut found = Vec::new();
    for source in sources(&root().join("src/http")).iter().chain(&sources(&root().join("src/service"))) {
        let text = read(source);
        found.extend(between(&text, "HeaderName::from_static(\"", '"').map(|name| format!("header {name}")));
    }
    found
}

/// The codes of `docs/errors.md` with their statuses on either API, and the events of `docs/events.md`.
fn documented() -> Vec<String> {
    let errors = read(&root().join("docs/errors.md"));
    let codes = errors.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let number = |cell: &&str| cell.parse::<u16>().is_ok() || cell.is_empty();
        let statuses: Vec<_> = cells[2..].iter().take_while(|cell| number(cell)).copied().collect();
        format!("error {} {}", cells[1], statuses.join("/")).trim_end_matches(['/', ' ']).to_owned()
    });
    codes.collect()
}

fn event_types() -> Vec<String> {
    rejoinder::domain::event::EventType::ALL.iter().map(|kind| format!("event {}", kind.as_str())).collect()
}

fn metrics() -> Vec<String> {
    let text = read(&root().join("src/telemetry.rs"));
    let names = between(&text, "= \"rejoinder_", '"').map(|name| format!("metric rejoinder_{name}"));
    names.collect()
}

#[test]
fn the_public_names_match_the_committed_list() {
    let sandbox = Sandbox::new();
    let document = with_responses(serde_json::from_str(&sandbox.run(&["openapi"]).stdout).unwrap());
    let sections = [
        settings(),
        commands(&sandbox, &[]),
        headers(),
        documented(),
        event_types(),
        metrics(),
        openapi::names(&document),
    ];
    let found: BTreeSet<String> = sections.into_iter().flatten().collect();

    let listed: BTreeSet<String> = LIST.lines().map(str::to_owned).collect();
    let mut changes = String::new();
    for name in listed.difference(&found) {
        writeln!(changes, "-{name}").unwrap();
    }
    for name in found.difference(&listed) {
        writeln!(changes, "+{name}").unwrap();
    }
    assert!(changes.is_empty(), "tests/it/public_names/public_names.txt differs:\n{changes}");
}
