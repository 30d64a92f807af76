//! `read-document`: what a server has its child do with a file that may be hostile.

use std::io;
use std::process::ExitCode;

use crate::domain::knowledge::Format;
use crate::service::knowledge::read_as_child;

/// From standard input to standard output.
pub fn read_document(format: Format) -> anyhow::Result<ExitCode> {
    Ok(read_as_child(format, io::stdin().lock(), io::stdout().lock())?)
}
