//! Reads the paths that a source file uses from its tokens, so that macros count, and comments and strings do not. Test modules
//! may use anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file of `src/`.
pub(super) struct Source {
    /// Relative to `src/`.
    pub(super) path: PathBuf,
    /// Its file or folder in `src/`.
    pub(super) room: String,
    pub(super) lines: usize,
    pub(super) has_header: bool,
    /// Absolute paths, which begin with a crate's name; our own begin with `crate`.
    pub(super) paths: BTreeSet<Vec<String>>,
    /// `todo` or `unimplemented`, if one of them is used.
    pub(super) unfinished: Option<String>,
}

impl Source {
    fn read(src: &Path, file: &Path) -> Self {
        let path = file.strip_prefix(src).unwrap().to_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let mut module: Vec<_> =
            path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let room = module[0].clone();
        module.retain(|name| name != "mod");
        let tokens: TokenStream = text.parse().unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let mut reader = Reader::default();
        reader.read(&tokens.into_iter().collect::<Vec<_>>(), &module);
        let (lines, has_header) = (lines_without_tests(&text), text.starts_with("//!"));
        Self { path, room, lines, has_header, paths: reader.paths, unfinished: reader.unfinished }
    }

    /// The rooms that it uses, including its own.
    pub(super) fn own_rooms(&self) -> BTreeSet<String> {
        self.paths.iter().filter(|path| path[0] == "crate").filter_map(|path| path.get(1).cloned()).collect()
    }
}

/// All files of the rooms except tests (`tests.rs`, `tests/`).
pub(super) fn sources(src: &Path) -> Vec<Source> {
    let is_of_tests = |file: &Path| file.with_extension("").iter().any(|name| name == "tests");
    let files = rust_files(src).into_iter().filter(|file| !is_of_tests(file.strip_prefix(src).unwrap()));
    files.map(|file| Source::read(src, &file)).collect()
}

/// All Rust files below a folder.
pub(super) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{}: no Rust files", folder.display());
    files
}

/// The names that a file gives to its imports (`use a::B as C`), except `_`.
pub(super) fn renamed_imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    read_renames(text.parse().expect("Rust tokens"), false, &mut names);
    names
}

fn read_renames(tokens: TokenStream, mut is_in_use: bool, names: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            // `use<'a>` captures a lifetime.
            TokenTree::Ident(ident) if ident == "use" => is_in_use = !is_punct(tokens.peek(), '<'),
            TokenTree::Ident(ident) if is_in_use && ident == "as" => {
                names.extend(tokens.next().map(|name| name.to_string()).filter(|name| name != "_"));
            }
            TokenTree::Group(group) => read_renames(group.stream(), is_in_use, names),
            token @ TokenTree::Punct(_) => is_in_use &= !is_punct(Some(&token), ';'),
            TokenTree::Ident(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// A test module is the last item of its file.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

#[derive(Default)]
struct Reader {
    paths: BTreeSet<Vec<String>>,
    unfinished: Option<String>,
}

impl Reader {
    /// Collects the paths of `tokens`, which belong to this module (its path from the crate's root).
    fn read(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            if let Some(length) = tests_at(&tokens[at..]) {
                at += length;
                continue;
            }
            match &tokens[at] {
                TokenTree::Ident(ident) if ident == "use" => at = self.read_use(tokens, at + 1, module),
                TokenTree::Ident(ident) if ident == "mod" => at = self.read_module(tokens, at, module),
                TokenTree::Ident(_) if !continues_a_path(tokens, at) => {
                    at = self.read_path(tokens, at, module);
                }
                TokenTree::Group(group) => {
                    self.read(&group.stream().into_iter().collect::<Vec<_>>(), module);
                    at += 1;
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
        }
    }

    /// Reads the body of `mod name { … }`. Returns the index of the next token.
    fn read_module(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        if let [_, TokenTree::Ident(name), TokenTree::Group(body), ..] = &tokens[at..] {
            let inner: Vec<_> = module.iter().cloned().chain([name.to_string()]).collect();
            self.read(&body.stream().into_iter().collect::<Vec<_>>(), &inner);
            return at + 3;
        }
        at + 1
    }

    /// Reads a path in an expression or a type. A single segment is only a name.
    fn read_path(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let (path, next) = segments(tokens, at);
        if path.len() > 1 {
            self.note(&path, module);
        } else if is_punct(tokens.get(next), '!') && (path[0] == "todo" || path[0] == "unimplemented") {
            self.unfinished = path.into_iter().next();
        }
        next
    }

    /// Reads the nested trees of a `use` up to its semicolon.
    fn read_use(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let length =
            tokens[at..].iter().position(|token| is_punct(Some(token), ';')).unwrap_or(tokens.len() - at);
        self.read_trees(&tokens[at..at + length], &[], module);
        at + length
    }

    fn read_trees(&mut self, tokens: &[TokenTree], prefix: &[String], module: &[String]) {
        for tree in tokens.split(|token| is_punct(Some(token), ',')) {
            let start = tree.iter().position(|token| !is_punct(Some(token), ':')).unwrap_or(tree.len());
            let (own, next) = segments(tree, start);
            let path: Vec<_> = prefix.iter().cloned().chain(own).collect();
            if let Some(TokenTree::Group(group)) = tree.get(next) {
                self.read_trees(&group.stream().into_iter().collect::<Vec<_>>(), &path, module);
            } else if !path.is_empty() {
                self.note(&path, module);
            }
        }
    }

    /// Adds the absolute path. The binary uses the library by its name.
    fn note(&mut self, path: &[String], module: &[String]) {
        let up = path.iter().take_while(|segment| *segment == "super").count();
        let from = match path[0].as_str() {
            "crate" | "rejoinder" => &[],
            "self" => module,
            "super" => &module[..module.len().saturating_sub(up)],
            _ => {
                self.paths.insert(path.to_vec());
                return;
            }
        };
        let rest = path.iter().skip(up.max(1));
        self.paths.insert(["crate".to_owned()].iter().chain(from).chain(rest).cloned().collect());
    }
}

/// The number of tokens of a `#[cfg(test)] mod … { … }` that begins here.
fn tests_at(tokens: &[TokenTree]) -> Option<usize> {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = tokens else { return None };
    if hash.as_char() != '#' || attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return None;
    }
    let end = tokens.iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    });
    end.map(|end| end + 1)
}

/// The identifiers of `a::b::c` from `at`, and the index after them (after the last `::`, if a group follows).
fn segments(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let (mut path, mut next) = (Vec::new(), at);
    while let Some(TokenTree::Ident(ident)) = tokens.get(next) {
        path.push(ident.to_string());
        next += 1;
        if !(is_punct(tokens.get(next), ':') && is_punct(tokens.get(next + 1), ':')) {
            break;
        }
        next += 2;
    }
    (path, next)
}

/// True if the token belongs to the one before it: `<T>::name`, `.name`, or a lifetime's name.
fn continues_a_path(tokens: &[TokenTree], at: usize) -> bool {
    let before = |steps: usize| at.checked_sub(steps).and_then(|index| tokens.get(index));
    let after_type = is_punct(before(1), ':') && is_punct(before(2), ':') && is_punct(before(3), '>');
    after_type || is_punct(before(1), '.') || is_punct(before(1), '\'')
}

fn is_punct(token: Option<&TokenTree>, expected: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, module: &[&str]) -> Vec<String> {
        let mut reader = Reader::default();
        let tokens: TokenStream = text.parse().unwrap();
        let module: Vec<_> = module.iter().copied().map(str::to_owned).collect();
        reader.read(&tokens.into_iter().collect::<Vec<_>>(), &module);
        reader.paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn nested_imports_are_expanded() {
        let text = "use crate::{a, b::{self, C as D}}; pub(crate) use ::sqlx; use std::{env, fs::read};";
        let leaves = ["crate::a", "crate::b::C", "crate::b::self", "sqlx", "std::env", "std::fs::read"];
        assert_eq!(paths(text, &["x"]), leaves);
    }

    #[test]
    fn renamed_imports_are_found() {
        let text =
            "use a::{self as b, c::{D as E, F as _}}; fn f() -> impl G + use<'_> { use h as i; j as k }";
        assert_eq!(renamed_imports(text), ["b", "E", "i"]);
    }

    #[test]
    fn paths_in_code_and_macros_are_read() {
        let text =
            "fn f(a: &crate::a::T) { g!({ rejoinder::b::h(x.crate_name) }); Vec::<sqlx::Row>::new(); }";
        assert_eq!(paths(text, &["x"]), ["crate::a::T", "crate::b::h", "sqlx::Row"]);
    }

    #[test]
    fn relative_paths_are_made_absolute() {
        let text = "use super::y; mod inner { use super::super::super::z; use self::w; }";
        assert_eq!(paths(text, &["room", "x"]), ["crate::room::x::inner::w", "crate::room::y", "crate::z"]);
    }

    #[test]
    fn comments_strings_and_tests_are_ignored() {
        let text = r#"/// crate::a::b
            // crate::a::b
            const A: &str = "crate::a::b";
            #[cfg(test)] mod tests { use crate::a; }
            #[cfg(test)] use crate::a::b;"#;
        assert_eq!(paths(text, &["x"]), Vec::<String>::new());
    }
}
