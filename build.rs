//! Joins and minifies the scripts of the widget and of the pages, and compiles the migrations in again when there is a new one.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use oxc_allocator::Allocator;
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_mangler::Mangler;
use oxc_parser::Parser;
use oxc_semantic::SemanticBuilder;
use oxc_span::SourceType;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ASSETS: &str = "src/http/pages/assets";

/// The files that a browser loads as modules: the core of the widget, and its parts.
const MODULES: [&str; 3] = ["widget/entry.js", "widget/extras.js", "widget/texts_de.js"];
/// The files that run as classic scripts.
const SCRIPTS: [&str; 4] = ["widget/loader.js", "demo.js", "options.js", "docs.js"];

/// The style sheets of the widget. In a script, a string of the form `"/*widget.css*/"` stands for each.
const STYLES: [&str; 2] = ["widget.css", "extras.css"];

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed={ASSETS}");
    for (entries, source_type) in
        [(MODULES.as_slice(), SourceType::mjs()), (SCRIPTS.as_slice(), SourceType::script())]
    {
        for entry in entries {
            write(entry, &minify(&bundle(entry)?, entry, source_type)?)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    Ok(fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Writes a file for `include_str!`.
fn write(entry: &str, script: &str) -> Result<()> {
    let name = Path::new(entry).file_name().ok_or("an entry is a file")?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    Ok(fs::write(Path::new(&folder).join(name), script)?)
}

/// The script of `entry` and of all modules that it imports. Only the entry keeps its exports.
fn bundle(entry: &str) -> Result<String> {
    let mut script = String::new();
    join(&Path::new(ASSETS).join(entry), true, &mut BTreeSet::new(), &mut script)?;
    for name in STYLES {
        let style = minify_css(&read(&Path::new(ASSETS).join("widget").join(name))?)?;
        script = script.replace(&format!("\"/*{name}*/\""), &js_string(&style));
    }
    Ok(script)
}

/// Appends the module at `path` behind those that it imports, each once. An import is one line, and renames nothing.
fn join(path: &Path, is_entry: bool, joined: &mut BTreeSet<PathBuf>, script: &mut String) -> Result<()> {
    let text = read(path)?;
    if !joined.insert(path.canonicalize()?) {
        return Ok(());
    }
    let (imports, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("import "));
    for line in imports {
        let source = line.strip_suffix("\";").and_then(|line| Some(line.rsplit_once("} from \"")?.1));
        let source = source.filter(|_| !line.contains(" as "));
        let source =
            source.ok_or_else(|| format!("{}: an import of another form: {line}", path.display()))?;
        join(&path.with_file_name(source), false, joined, script)?;
    }
    for line in lines {
        script.push_str(if is_entry { line } else { line.strip_prefix("export ").unwrap_or(line) });
        script.push('\n');
    }
    Ok(())
}

/// The script with short names and without comments and white space. A name that two modules declare is an error.
fn minify(script: &str, name: &str, source_type: SourceType) -> Result<String> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, script, source_type).parse();
    check(name, parsed.diagnostics)?;
    check(name, SemanticBuilder::new().with_check_syntax_error(true).build(&parsed.program).diagnostics)?;
    let mangled = Mangler::new().build(&parsed.program);
    let minified = Codegen::new()
        .with_options(CodegenOptions::minify())
        .with_scoping(Some(mangled.scoping))
        .with_private_member_mappings(Some(mangled.class_private_mappings))
        .build(&parsed.program)
        .code;
    check(name, Parser::new(&allocator, &minified, source_type).parse().diagnostics)?;
    Ok(minified)
}

fn check(name: &str, diagnostics: impl IntoIterator<Item: Display>) -> Result<()> {
    let error = diagnostics.into_iter().next();
    error.map_or(Ok(()), |error| Err(format!("{name}: {error}").into()))
}

/// The style sheet without comments and most of its white space. No string in it contains what is replaced.
fn minify_css(style: &str) -> Result<String> {
    let mut parts = style.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    let bare = parts.try_fold(first, |bare, part| Some(bare + part.split_once("*/")?.1));
    let bare = bare.ok_or("a comment of a style sheet has no end")?;
    let words = bare.split_whitespace().collect::<Vec<_>>().join(" ");
    let dense = ["{", "}", ";", ","].iter().fold(words, |style, sign| {
        style.replace(&format!(" {sign}"), sign).replace(&format!("{sign} "), sign)
    });
    Ok(dense.replace(": ", ":").replace(";}", "}"))
}

fn js_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
