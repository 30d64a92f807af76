//! Tools in the form that every vendor accepts.

mod keywords;
mod normalize;
#[cfg(test)]
mod tests;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The longest name of a tool.
const MAX_NAME: usize = 64;

/// The name under which a tool is offered: letters, digits, `_` and `-`, beginning with a letter or `_`. A name that has to
/// be changed gets a hash, so that two names stay different.
pub(super) fn name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.len() <= MAX_NAME && name.starts_with(begins) && name.chars().all(fits) {
        return name.to_owned();
    }
    let digest: [u8; 32] = Sha256::digest(name).into();
    let hash = format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
    let mut offered: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if !offered.starts_with(begins) {
        offered.insert(0, '_');
    }
    offered.truncate(MAX_NAME - hash.len() - 1);
    format!("{offered}_{hash}")
}

/// The schema of a tool's arguments: always an object with `properties`.
pub(super) fn parameters(schema: &Value) -> Value {
    Value::Object(normalize::object(schema))
}
