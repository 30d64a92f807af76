//! `read-document`: the child process in which a server extracts a possibly hostile file.

use std::io;
use std::process::ExitCode;

use crate::config::{current_executable, has_variable};
use crate::domain::knowledge::{Charset, Format};
use crate::service::knowledge::{ALLOCATOR_RESERVE, child_command, read_as_child};

/// Reads standard input and writes standard output.
pub fn read_document(format: Format, charset: Option<Charset>) -> anyhow::Result<ExitCode> {
    if !has_variable(ALLOCATOR_RESERVE.0) {
        // An operator has started it, not a server.
        let status = child_command(&current_executable()?, format, charset).status()?;
        return Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from));
    }
    Ok(read_as_child(format, charset, io::stdin().lock(), io::stdout().lock())?)
}
