//! The startup banner.

use super::*;

#[test]
fn the_demo_is_announced_with_its_key_file_and_a_command_for_each_api() {
    let demo = Demo { key_file: PathBuf::from("./data/demo.key") };

    let text =
        banner("http://127.0.0.1:8080/", Contents::Demo(&demo), &ModelChoice::Offline { is_explicit: false });

    assert_eq!(
        text.replace(env!("CARGO_PKG_VERSION"), "X"),
        r#"Rejoinder X listens on http://127.0.0.1:8080

No model is configured: the built-in demonstration answers. For a real one set OPENAI_API_KEY,
or OPENAI_BASE_URL and OPENAI_MODEL.

Demo page   http://127.0.0.1:8080/
API docs    http://127.0.0.1:8080/docs
Demo key    in ./data/demo.key

The chat on a page of yours (http://127.0.0.1:8080/widget shows its options):
  <script async src="http://127.0.0.1:8080/widget.js" data-assistant="550e8400-e29b-41d4-a716-446655440000"></script>

Widget API:
  curl -X POST "http://127.0.0.1:8080/api/conversations/7c9e6679-7425-40de-944b-e07fc1f90ae7/messages" \
    -H "Content-Type: application/json" \
    -d '{"message": "I would like to schedule a demo for next week"}'

Platform API:
  curl -X POST "http://127.0.0.1:8080/v1/messages" \
    -H "Authorization: Bearer $(cat ./data/demo.key)" \
    -H "Content-Type: application/json" \
    -d '{"sender_id": "usr_82hd92", "sender_type": "user", "text": "Hello from curl!"}'
"#
    );
}

#[test]
fn the_path_of_the_key_file_is_quoted_for_a_shell() {
    let demo = Demo { key_file: PathBuf::from("/my data/demo.key") };

    let text = banner("http://[::1]:1", Contents::Demo(&demo), &ModelChoice::Offline { is_explicit: true });

    assert!(text.contains("Demo key    in '/my data/demo.key'\n"), "{text}");
    assert!(text.contains("$(cat '/my data/demo.key')"), "{text}");
    assert!(text.contains("model.kind") && !text.contains("No model is configured"), "{text}");
}

#[test]
fn a_server_without_a_demo_prints_its_address() {
    let configured = ModelChoice::OpenAi {
        base_url: "https://model.example/v1".parse().unwrap(),
        key: None,
        model: "m".to_owned(),
    };

    let text = banner("https://chat.example", Contents::Workspaces, &configured);

    assert_eq!(text, format!("Rejoinder {} listens on https://chat.example\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_server_without_a_workspace_prints_the_commands_that_create_one_and_its_key() {
    let text =
        banner("http://127.0.0.1:8080", Contents::NoWorkspace, &ModelChoice::Offline { is_explicit: true });

    for command in [
        "rejoinder apply workspace.toml",
        "rejoinder credit SLUG 25.00",
        "rejoinder keys create --workspace",
        "REJOINDER_DEMO=true",
    ] {
        assert!(text.contains(command), "{text}");
    }
}
