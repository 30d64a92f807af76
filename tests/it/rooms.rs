//! The rules of `docs/ARCHITECTURE.md`: imports between rooms, the rooms of external crates, file sizes, equal migrations.

mod imports;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::imports::{Source, renamed_imports, rust_files, sources};
use self::table::{HOMES, MAX_LINES, ROOMS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn may_use(room: &str) -> &'static [&'static str] {
    let known = ROOMS.iter().find(|(name, _)| *name == room);
    known.unwrap_or_else(|| panic!("src/{room} is no room: tests/it/rooms/table.rs lists them")).1
}

/// Fails with all violations, one on each line.
fn assert_none(faults: &BTreeSet<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
}

/// The files of the rooms: all except `lib.rs`, which only declares them.
fn files_of_rooms() -> impl Iterator<Item = Source> {
    sources(&root().join("src")).into_iter().filter(|source| source.room != "lib")
}

#[test]
fn each_room_imports_only_allowed_rooms() {
    let mut faults = BTreeSet::new();
    for source in files_of_rooms() {
        let allowed = may_use(&source.room);
        for used in source.own_rooms() {
            if used != source.room && !allowed.contains(&used.as_str()) {
                faults.insert(format!(
                    "{}: {} may not use `crate::{used}`",
                    source.path.display(),
                    source.room
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_table_has_no_mutual_imports() {
    for (room, below) in ROOMS {
        for used in *below {
            assert!(!may_use(used).contains(room), "{room} and {used} may use each other");
        }
    }
}

#[test]
fn external_crates_are_used_only_in_their_rooms() {
    let mut faults = BTreeSet::new();
    for source in files_of_rooms() {
        for home in HOMES.iter().filter(|home| !home.rooms.contains(&source.room.as_str())) {
            for path in source.paths.iter().filter(|path| home.covers(path)) {
                let (file, rooms) = (source.path.display(), home.rooms.join(", "));
                faults.insert(format!("{file}: `{}` belongs in {rooms} only", path.join("::")));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn no_import_is_renamed() {
    let mut faults = BTreeSet::new();
    for file in ["src", "tests", "examples"].iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let names = renamed_imports(&std::fs::read_to_string(&file).unwrap());
        faults.extend(names.into_iter().map(|name| format!("{}: … as {name}", file.display())));
    }
    assert_none(&faults);
}

#[test]
fn no_file_is_too_long() {
    let too_long = |source: &Source| source.lines > MAX_LINES;
    let message =
        |source: Source| format!("{}: {} lines without its tests", source.path.display(), source.lines);
    assert_none(&files_of_rooms().filter(too_long).map(message).collect());
}

#[test]
fn each_file_has_a_header() {
    let silent = |source: &Source| !source.has_header && source.room != "main";
    let message = |source: Source| format!("{}: has no `//!` header", source.path.display());
    assert_none(&files_of_rooms().filter(silent).map(message).collect());
}

#[test]
fn no_todo_is_left() {
    let message =
        |source: Source| source.unfinished.map(|name| format!("{}: {name}!", source.path.display()));
    assert_none(&files_of_rooms().filter_map(message).collect());
}

#[test]
fn both_databases_have_the_same_migration_files() {
    let names = |database: &str| -> BTreeSet<PathBuf> {
        let folder = std::fs::read_dir(root().join("migrations").join(database));
        folder.into_iter().flatten().map(|entry| entry.unwrap().file_name().into()).collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
}
