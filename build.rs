//! Migrations are compiled in, but cargo does not detect a new file by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
