//! Joins ES modules into one script. The sources run in a browser as they are; a bundle saves it the requests.
//!
//! The modules keep to rules: an import is one line, renames nothing, and names a module that stands earlier in the list; the
//! top-level names of a bundle's modules differ; white space at the beginning of a line never counts, in template literals
//! neither.

/// The line of `styles.js` that gets the style sheet, as a string of JavaScript.
const STYLE_SLOT: &str = "\"/*widget.css*/\"";

/// A module of a bundle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Module {
    /// Its path below `assets/`.
    pub path: &'static str,
    pub text: &'static str,
}

/// A module of `assets/`.
macro_rules! module {
    ($path:literal) => {
        Module { path: $path, text: include_str!(concat!("assets/", $path)) }
    };
}

pub(super) use module;

impl Module {
    /// Whether the line imports from this module.
    fn is_imported_by(&self, line: &str) -> bool {
        let source = line.strip_prefix("import {").and_then(|rest| rest.rsplit_once("} from \""));
        let name = source.and_then(|(_, source)| source.strip_suffix("\";")?.rsplit('/').next());
        name.is_some() && name == self.path.rsplit('/').next()
    }
}

/// One script of all modules, in this order. Only the last one keeps its exports.
pub(super) fn bundle(modules: &[Module], style: &str) -> String {
    let last = modules.len().saturating_sub(1);
    let mut script = String::new();
    for (at, module) in modules.iter().enumerate() {
        let is_import = |line: &&str| modules[..at].iter().any(|earlier| earlier.is_imported_by(line));
        for line in code_lines(module.text).filter(|line| !is_import(line)) {
            let line = if at == last { line } else { line.strip_prefix("export ").unwrap_or(line) };
            script.push_str(line);
            script.push('\n');
        }
    }
    // A string of JSON is one of JavaScript.
    let style = serde_json::Value::from(minify_css(style)).to_string();
    script.replacen(STYLE_SLOT, &style, 1)
}

/// The lines without indentation, comments and blank lines.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut is_comment = false;
    text.lines().map(str::trim).filter(move |line| {
        let begins = line.starts_with("/*");
        let is_code = !(is_comment || begins || line.is_empty() || line.starts_with("//"));
        is_comment = (is_comment || begins) && !line.ends_with("*/");
        is_code
    })
}

/// A style sheet without comments and the white space between its rules.
fn minify_css(style: &str) -> String {
    code_lines(style).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_comments_are_removed_and_only_the_last_module_exports() {
        let first = Module {
            path: "a.js",
            text: "// About.\n\n/** A number.\n * Of many. */\nexport const ONE = 1;\n/* Other. */\nexport function two() {\n  return \"// 2\"; // two\n}\n",
        };
        let last = Module {
            path: "b.js",
            text: "import { ONE, two } from \"./a.js\";\nconst CSS = \"/*widget.css*/\";\nexport const sum = ONE + two();\n",
        };

        let script = bundle(&[first, last], "/* All. */\na {\n  content: \"x\";\n}\n");

        let expected = [
            "const ONE = 1;",
            "function two() {",
            "return \"// 2\"; // two",
            "}",
            r#"const CSS = "a {\ncontent: \"x\";\n}";"#,
            "export const sum = ONE + two();",
        ];
        assert_eq!(script.lines().collect::<Vec<_>>(), expected);
        assert!(bundle(&[last, first], "").starts_with("import {"), "a module that comes later");
    }
}
