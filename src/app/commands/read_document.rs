//! `read-document`: the child process in which a server extracts a possibly hostile file.

use std::io;
use std::process::ExitCode;

use crate::domain::knowledge::{Charset, Format};
use crate::service::knowledge::read_as_child;

/// Reads standard input and writes standard output.
pub fn read_document(format: Format, charset: Option<Charset>) -> anyhow::Result<ExitCode> {
    Ok(read_as_child(format, charset, io::stdin().lock(), io::stdout().lock())?)
}
