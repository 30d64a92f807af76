//! Migrations are compiled in; cargo does not see by itself that one was added.

#![expect(clippy::print_stdout, reason = "that is how a build script speaks to cargo")]

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
