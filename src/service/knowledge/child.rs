//! A document read in a child process: this program itself, with a bounded memory and time. Libraries that read PDF and
//! HTML can be made to recurse, to swell or to run on by a small file; then the child dies, and nothing else does.
//!
//! The file comes on its standard input. It answers with Markdown and exit code 0, or with a fault's text and
//! [`REFUSED`]; whatever else its end may be, the document made it fail.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::IngestError;
use crate::domain::knowledge::{DocumentTooLarge, Format, MAX_FILE, MAX_TEXT};
use crate::formats::documents::to_markdown;
use crate::lifecycle::limit_process_resources;

/// The address space of a child, in bytes.
pub(super) const MEMORY_LIMIT: u64 = 512 * 1024 * 1024;
/// The time of the processor that a child has, should its parent not end it before.
const CPU_TIME_LIMIT: Duration = Duration::from_secs(20);
/// Stack size for the recursive converters, in bytes.
const STACK_SIZE: usize = 16 * 1024 * 1024;
/// The exit code of a child that says why the document has no text.
const REFUSED: u8 = 3;
/// Maximum length of an error text, in bytes.
const MAX_ERROR_LENGTH: usize = 1000;

/// The Markdown of a file, read by a child of this program. It is killed where this is dropped.
pub(super) async fn read(program: &Path, file: &[u8], format: Format) -> Result<String, IngestError> {
    let mut command = Command::new(program);
    command.args(["read-document", "--format", format.as_str()]).env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(IngestError::NotStarted)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(IngestError::Failed);
    };
    // A child that died took no more; how it ended tells why.
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

/// The child's part.
pub fn read_as_child(format: Format, input: impl Read, mut output: impl Write) -> io::Result<ExitCode> {
    limit_process_resources(MEMORY_LIMIT, CPU_TIME_LIMIT)?;
    let mut file = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    input.take(limit + 1).read_to_end(&mut file)?;
    let thread =
        std::thread::Builder::new().stack_size(STACK_SIZE).spawn(move || to_markdown(&file, format))?;
    let read = thread.join().map_err(|_| io::Error::other("the reader has panicked"))?;
    let (text, code) = match read {
        Ok(markdown) => (markdown, ExitCode::SUCCESS),
        Err(error) => (error.to_string(), ExitCode::from(REFUSED)),
    };
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(code)
}
