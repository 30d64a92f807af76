//! The shell commands of the pages, pasted page by page into one shell, in the folder of a server with the demo.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::blocks::{Block, all};
use crate::support::binary::{PROGRAM, Sandbox};
use crate::support::pdf;

/// Commands that cannot run here, by a text in them, and the reason. Their syntax is checked.
const NOT_RUN: [(&str, &str); 10] = [
    ("scripts/test ", "builds the program, and runs these tests"),
    ("DATABASE_URL=postgres://user", "needs a PostgreSQL server and the key of a vendor"),
    ("CREATE ROLE", "needs a PostgreSQL server"),
    ("docker compose", "needs Docker"),
    ("kubectl ", "needs a Kubernetes cluster"),
    ("systemd-run ", "needs systemd and the installed unit"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT=", "starts another server, which needs a collector of traces"),
    ("/v1/events/stream", "never ends; v1::events::snippets runs it"),
    ("rejoinder restored", "needs a backup and no server; `restores` runs it"),
    ("scripts/retrieval", "needs a data set and an embeddings endpoint"),
];

/// The address of a server with the default settings, which every page assumes.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8080";

fn shell_blocks() -> Vec<Block> {
    all().into_iter().filter(|block| block.language == "sh").collect()
}

fn is_run(block: &Block) -> bool {
    NOT_RUN.iter().all(|(text, _)| !block.text.contains(text))
}

#[test]
fn every_shell_block_is_valid() {
    for block in shell_blocks() {
        let checked = Command::new("bash").args(["-n", "-c", &block.text]).output().unwrap();
        assert!(checked.status.success(), "{block}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn every_exception_is_used() {
    let blocks = shell_blocks();
    for (text, _) in NOT_RUN {
        assert!(blocks.iter().any(|block| block.text.contains(text)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shell_block_works_when_pasted() {
    let blocks = shell_blocks();
    let mut pages: Vec<_> = blocks.iter().map(|block| block.page.as_str()).collect();
    pages.dedup();
    for page in pages {
        let of_page: Vec<_> = blocks.iter().filter(|block| block.page == page && is_run(block)).collect();
        if !of_page.is_empty() {
            paste(page, &of_page).await;
        }
    }
}

/// Runs the blocks of a page in one shell. A request that is answered with an error fails.
async fn paste(page: &str, blocks: &[&Block]) {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;
    let address = server.banner.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap();
    let programs = sandbox.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let path = std::env::var("PATH").unwrap();
    program(&programs, "rejoinder", &format!("exec '{PROGRAM}' \"$@\""));
    let cargo = "[[ \"$1 $2\" == 'run --release' ]] || exit 1\nshift 2\n[[ ${1-} == -- ]] && shift\nexec rejoinder \"$@\"";
    program(&programs, "cargo", cargo);
    program(&programs, "curl", &format!("PATH='{path}'\nexec curl --fail-with-body --max-time 60 \"$@\""));
    std::fs::write(sandbox.path().join("returns.pdf"), pdf::file_of_text("Returns within 14 days.")).unwrap();

    let mut script = String::new();
    for block in blocks {
        write!(script, "echo 'block {block}'\n{}", block.text).unwrap();
    }
    let script = script.replace(DEFAULT_ADDRESS, address);
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(sandbox.path()).env_clear();
    shell.env("PATH", format!("{}:{path}", programs.display())).env("HOME", sandbox.path());

    let pasted = shell.output().unwrap();

    let (output, errors) = (String::from_utf8_lossy(&pasted.stdout), String::from_utf8_lossy(&pasted.stderr));
    assert!(pasted.status.success(), "{page}: {}\n{output}\n{errors}", pasted.status);
}

fn program(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
}
