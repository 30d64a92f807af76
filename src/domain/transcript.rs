//! A conversation as one document, for its export: as JSON, or as Markdown to be read. It is written in parts.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::clock::Micros;
use super::conversation::{Conversation, SenderType};
use super::message::Message;
use super::render::{ConversationOut, MessageOut, all_variables};
use super::string_enum::string_enum;

string_enum! {
    /// The format of an exported conversation.
    ExportFormat {
        Json = "json",
        Markdown = "markdown",
    }
}

impl ExportFormat {
    /// The media type of the document.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }

    /// The extension of its file.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Markdown => "md",
        }
    }
}

/// A JSON document.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedConversation<'a> {
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    pub exported_at: String,
    pub conversation: ConversationOut<'a>,
    /// The oldest comes first.
    pub messages: Vec<MessageOut<'a>>,
}

/// A document that has begun.
#[derive(Debug)]
pub struct Transcript {
    format: ExportFormat,
    has_messages: bool,
}

impl Transcript {
    /// Begins a document. Returns its first part.
    #[must_use]
    pub fn begin(format: ExportFormat, conversation: &Conversation, exported_at: Micros) -> (Self, String) {
        let head = match format {
            ExportFormat::Json => {
                let conversation = to_json(&ConversationOut::from(conversation));
                format!(r#"{{"exported_at":"{exported_at}","conversation":{conversation},"messages":["#)
            }
            ExportFormat::Markdown => markdown_head(conversation, exported_at),
        };
        (Self { format, has_messages: false }, head)
    }

    /// The next message.
    pub fn message(&mut self, message: &Message) -> String {
        let is_first = !std::mem::replace(&mut self.has_messages, true);
        match self.format {
            ExportFormat::Json => {
                format!("{}\n{}", if is_first { "" } else { "," }, to_json(&MessageOut::from(message)))
            }
            ExportFormat::Markdown => markdown_message(message),
        }
    }

    /// The last part.
    #[must_use]
    pub fn end(&self) -> String {
        match self.format {
            ExportFormat::Json => "\n]}\n".to_owned(),
            ExportFormat::Markdown if self.has_messages => String::new(),
            ExportFormat::Markdown => "\nNo messages.\n".to_owned(),
        }
    }
}

/// Our types have only string keys, so this cannot fail.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn markdown_head(conversation: &Conversation, exported_at: Micros) -> String {
    let mut text = format!("# Conversation {}\n\n", conversation.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "- {name}: {value}");
    };
    line("type", conversation.kind.as_str());
    line("assistant", &conversation.assistant.to_string());
    if let Some(identifier) = &conversation.external_identifier {
        line("external identifier", &code(identifier));
    }
    if let Some(identity) = &conversation.identity {
        line("identity", &code(identity));
    }
    let variables = all_variables(conversation);
    if variables != "{}" {
        line("variables", &code(&variables));
    }
    if let Some(metadata) = &conversation.metadata {
        line("metadata", &code(metadata));
    }
    line("created", &conversation.created_at.to_string());
    if let Some(ended_at) = conversation.ended_at {
        line("ended", &ended_at.to_string());
    }
    line("exported", &exported_at.to_string());
    text
}

/// A call as it is stored with a reply.
#[derive(Deserialize)]
struct StoredCall<'a> {
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

fn markdown_message(message: &Message) -> String {
    let sender = match message.sender_type {
        SenderType::User => "User",
        SenderType::Agent => "Agent",
        SenderType::System => "System",
        SenderType::Assistant => "Assistant",
    };
    let mut text =
        format!("\n## {sender} {}\n\n{}, {}\n", code(&message.sender_id), message.created_at, message.id);
    let earlier: Option<Vec<String>> =
        message.earlier_texts.as_deref().and_then(|texts| serde_json::from_str(texts).ok());
    for earlier in earlier.unwrap_or_default() {
        text.push_str(&quote(&earlier));
    }
    let calls: Option<Vec<StoredCall<'_>>> =
        message.function_calls.as_deref().and_then(|calls| serde_json::from_str(calls).ok());
    for StoredCall { name, arguments, result } in calls.unwrap_or_default() {
        let _ = write!(text, "\nCalls {} with {}", code(&name), code(arguments.get()));
        let _ = writeln!(text, ", and gets {}", code(result.get()));
    }
    text.push_str(&quote(&message.text));
    if message.is_stopped {
        text.push_str("\n(The reply was stopped here.)\n");
    }
    if message.is_truncated {
        text.push_str("\n(The reply is cut short here.)\n");
    }
    if let Some(metadata) = &message.metadata {
        let _ = writeln!(text, "\nMetadata: {}", code(metadata));
    }
    text
}

/// A text as a quotation, so that nothing in it is read as a part of the document.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 8);
    quoted.push('\n');
    for line in text.split(['\n', '\r']) {
        quoted.push_str(if line.is_empty() { ">" } else { "> " });
        quoted.push_str(line);
        quoted.push('\n');
    }
    quoted
}

/// A text as a code span on one line. Its fence is longer than any run of backticks in it.
fn code(text: &str) -> String {
    let line = text.replace(char::is_control, " ");
    let longest = line.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A blank at both ends separates the fence from a backtick, and keeps an empty text a span.
    if line.is_empty() || line.starts_with('`') || line.ends_with('`') {
        return format!("{fence} {line} {fence}");
    }
    format!("{fence}{line}{fence}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::domain::conversation::ConversationKind;
    use crate::domain::ids::{AssistantId, ConversationId, MessageId, WorkspaceId};

    fn conversation() -> Conversation {
        let (workspace, id) = (WorkspaceId(Uuid::nil()), ConversationId(Uuid::nil()));
        let assistant = AssistantId(Uuid::nil());
        Conversation {
            external_identifier: Some("crm`7\n# no heading".to_owned()),
            ..Conversation::new(workspace, id, ConversationKind::Api, assistant, Micros(0))
        }
    }

    fn message(text: &str) -> Message {
        Message {
            workspace: WorkspaceId(Uuid::nil()),
            conversation: ConversationId(Uuid::nil()),
            position: 1,
            id: MessageId(Uuid::nil()),
            sender_type: SenderType::Assistant,
            sender_id: "ast_1".to_owned(),
            text: text.to_owned(),
            metadata: None,
            reply_to: None,
            answers: None,
            function_calls: Some(
                r#"[{"name":"look_up","arguments":{"id":7},"result":{"ok":true}}]"#.to_owned(),
            ),
            is_truncated: false,
            is_stopped: true,
            earlier_texts: Some(r#"["Let me look."]"#.to_owned()),
            turn: None,
            created_at: Micros(0),
            rating: None,
            rating_comment: None,
        }
    }

    fn document(format: ExportFormat, messages: &[Message]) -> String {
        let (mut transcript, mut text) = Transcript::begin(format, &conversation(), Micros(0));
        for message in messages {
            text.push_str(&transcript.message(message));
        }
        text + &transcript.end()
    }

    #[test]
    fn json_is_one_document_with_any_number_of_messages() {
        for count in 0..3 {
            let messages = vec![message("\"Hi\"\n"); count];

            let parsed: Value = serde_json::from_str(&document(ExportFormat::Json, &messages)).unwrap();

            assert_eq!(parsed["messages"].as_array().unwrap().len(), count);
            assert_eq!(parsed["conversation"]["external_identifier"], "crm`7\n# no heading");
            if count > 0 {
                assert_eq!(parsed["messages"][0]["text"], "\"Hi\"\n");
                assert_eq!(parsed["messages"][0]["stopped"], true);
            }
        }
    }

    #[test]
    fn markdown_has_texts_calls_and_marks_in_order() {
        let text = document(ExportFormat::Markdown, &[message("Yes.\n\n## User `x`")]);

        assert!(text.starts_with("# Conversation con_00000000000000000000000000\n\n- type: api\n"), "{text}");
        let expected = "## Assistant `ast_1`\n\n1970-01-01T00:00:00Z, msg_00000000000000000000000000\n\
            \n> Let me look.\n\
            \nCalls `look_up` with `{\"id\":7}`, and gets `{\"ok\":true}`\n\
            \n> Yes.\n>\n> ## User `x`\n\
            \n(The reply was stopped here.)\n";
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with('#')).count(), 2, "{text}");
        assert!(document(ExportFormat::Markdown, &[]).ends_with("\nNo messages.\n"));
    }

    #[test]
    fn a_code_span_ends_only_at_its_fence() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code(""), "`  `");
        assert_eq!(code("a\nb"), "`a b`");
    }
}
