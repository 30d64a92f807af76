//! The progress of commands, as plain lines where standard error is not a terminal.

use crate::support::binary::Sandbox;

const WORKSPACE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"

[[knowledge_bases]]
slug = "help"
documents = [
    { title = "Opening hours", text = "We open at nine." },
    { title = "Parking", text = "Behind the house." },
]
"#;

fn assert_plain(stderr: &str) {
    let control = stderr.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{stderr:?}");
}

#[test]
fn steps_are_plain_lines_on_standard_error() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("shop.toml"), WORKSPACE).unwrap();

    let migrated = sandbox.run(&["migrate"]);
    let applied = sandbox.run(&["apply", "shop.toml", "--json"]);

    assert!(migrated.status.success(), "{}", migrated.stderr);
    assert!(migrated.stderr.lines().any(|line| line == "migrating the database"), "{}", migrated.stderr);
    assert_plain(&migrated.stderr);
    assert!(applied.status.success(), "{}", applied.stderr);
    for step in ["reading document 1 of 2", "writing the workspace"] {
        assert!(applied.stderr.lines().any(|line| line == step), "{step} in {}", applied.stderr);
    }
    assert_plain(&applied.stderr);
    let report: serde_json::Value = serde_json::from_str(&applied.stdout).expect("only JSON");
    assert!(report.is_object(), "{report}");
}
