//! What a file says of the chat on a page.

use super::*;

#[test]
fn the_settings_of_a_widget_and_the_label_of_a_tool_are_checked() {
    let of_widget =
        |lines: &str| error("[[calendars]]", &format!("[assistants.widget]\n{lines}\n\n[[calendars]]"));

    for (lines, expected) in [
        ("accent = \"red\"", "line 17: assistants[0].widget.accent: \"red\" is not a colour"),
        ("quick_replies = [\"Hi\", \"\"]", "line 17: assistants[0].widget.quick_replies[1]: empty"),
        (
            "form = [{ variable = \"plan\", label = \"Plan\" }]",
            "line 17: assistants[0].widget.form[0].variable: \"plan\" is not declared in `visitor_variables`",
        ),
        (
            "tools = \"none\"",
            "line 17: assistants[0].widget.tools: \"none\" is not one of: label, hidden, details",
        ),
        (
            "titel = \"x\"",
            "line 17: assistants[0].widget.titel: unknown field `titel`, expected one of `title`",
        ),
    ] {
        let error = of_widget(lines);
        assert!(error.starts_with(expected), "{error}");
    }
    let name = "name = \"get_order_status\"";
    let label = error(name, &format!("{name}\nlabel = \"{}\"", "x".repeat(81)));
    assert_eq!(label, "line 30: tools[1].label: longer than 80 characters");
    let file = FILE.replacen(name, &format!("{name}\nlabel = \"Looking it up\""), 1);
    let file = WorkspaceFile::parse(&file).unwrap();
    assert_eq!(file.tools[1].label.as_deref(), Some("Looking it up"));
}
