//! Reads a document in a child process: this program itself, with limited memory and time. A small malicious file can make
//! PDF and HTML libraries recurse, use much memory or hang; then only the child is killed.
//!
//! The child reads the file from standard input. It writes Markdown and exits with code 0, or writes an error text and exits
//! with [`REFUSED`]. Any other exit means that the document crashed the child.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::IngestError;
use crate::domain::knowledge::{Charset, DocumentTooLarge, Format, MAX_FILE, MAX_TEXT};
use crate::formats::documents::to_markdown;
use crate::lifecycle::limit_process_resources;

/// The address space of a child, in bytes.
pub(super) const MEMORY_LIMIT: u64 = 512 * 1024 * 1024;
/// An environment variable of the child. Without it the allocator reserves 1 GiB of addresses at once, which exceeds the limit.
pub const ALLOCATOR_RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32MiB");
/// The processor time of a child, in case its parent does not kill it earlier.
const CPU_TIME_LIMIT: Duration = Duration::from_secs(20);
/// Stack size for the recursive converters, in bytes.
const STACK_SIZE: usize = 16 * 1024 * 1024;
/// The exit code of a child that wrote why the document cannot be read.
const REFUSED: u8 = 3;
/// Maximum length of an error text, in bytes.
const MAX_ERROR_LENGTH: usize = 1000;

/// The command that starts a child, which runs [`read_as_child`]. By default the child inherits standard input and output.
pub fn child_command(program: &Path, format: Format, charset: Option<Charset>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.args(["read-document", "--format", format.as_str()]);
    command.env_clear().env(ALLOCATOR_RESERVE.0, ALLOCATOR_RESERVE.1);
    if let Some(charset) = charset {
        command.args(["--charset", charset.encoding().name()]);
    }
    command
}

/// Reads the Markdown of a file in a child process, which is killed when this future is dropped.
pub(super) async fn read(
    program: &Path,
    file: &[u8],
    format: Format,
    charset: Option<Charset>,
) -> Result<String, IngestError> {
    let mut command = Command::from(child_command(program, format, charset));
    command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(IngestError::NotStarted)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(IngestError::Failed);
    };
    // A write to a dead child fails; its exit status tells the cause.
    let _ = input.write_all(file).await;
    drop(input);
    let limit = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    output.take(limit + 1).read_to_end(&mut text).await.map_err(|_| IngestError::Failed)?;
    if text.len() > MAX_TEXT {
        return Err(DocumentTooLarge::Text.into());
    }
    let status = child.wait().await.map_err(|_| IngestError::Failed)?;
    let text = String::from_utf8(text).map_err(|_| IngestError::Failed)?;
    match status.code() {
        Some(0) => Ok(text),
        Some(code) if code == i32::from(REFUSED) && text.len() <= MAX_ERROR_LENGTH => {
            Err(IngestError::Refused(text))
        }
        _ => Err(IngestError::Failed),
    }
}

/// The work of the child: reads the file from `input` and writes its Markdown, or an error text, to `output`.
pub fn read_as_child(
    format: Format,
    charset: Option<Charset>,
    input: impl Read,
    mut output: impl Write,
) -> io::Result<ExitCode> {
    limit_process_resources(MEMORY_LIMIT, CPU_TIME_LIMIT)?;
    let mut file = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    input.take(limit + 1).read_to_end(&mut file)?;
    let thread = std::thread::Builder::new()
        .stack_size(STACK_SIZE)
        .spawn(move || to_markdown(&file, format, charset))?;
    let read = thread.join().map_err(|_| io::Error::other("the reader has panicked"))?;
    let (text, code) = match read {
        Ok(markdown) => (markdown, ExitCode::SUCCESS),
        Err(error) => (error.to_string(), ExitCode::from(REFUSED)),
    };
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(code)
}
