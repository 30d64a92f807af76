//! What reads documents: the real program, as a child.

use rejoinder::service::knowledge::Readers;

pub fn readers() -> Readers {
    Readers::new(env!("CARGO_BIN_EXE_rejoinder").into())
}
