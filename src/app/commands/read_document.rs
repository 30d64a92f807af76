//! `read-document`: the child process in which a server extracts a possibly hostile file.

use std::process::{Command, ExitCode};
use std::{env, io};

use crate::domain::knowledge::{Charset, Format};
use crate::service::knowledge::{ALLOCATOR_RESERVE, read_as_child};

/// Reads standard input and writes standard output.
pub fn read_document(format: Format, charset: Option<Charset>) -> anyhow::Result<ExitCode> {
    let (name, reserve) = ALLOCATOR_RESERVE;
    if env::var_os(name).is_none() {
        // An operator has started it, not a server.
        let mut command = Command::new(env::current_exe()?);
        let status = command.args(env::args_os().skip(1)).env(name, reserve).status()?;
        return Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from));
    }
    Ok(read_as_child(format, charset, io::stdin().lock(), io::stdout().lock())?)
}
