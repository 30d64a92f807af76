//! Collects the parts of a response. A truncated response is an error.

use futures::{Stream, StreamExt, pin_mut};

use serde_json::{Deserializer, Map, Value};

use super::surrogates::replace_lone;
use super::thoughts::{FilteredText, LateThoughts, ShowText, TextFilter};
use crate::domain::chat::{
    ModelAnswer, ModelError, ModelErrorDetail, ModelErrorKind, ModelErrorMessage, Part, ToolCall, Usage,
    VendorFields, clean_map, clean_text,
};

/// The largest calls of an answer together, in bytes.
const MAX_CALLS: usize = 256 * 1024;
/// The longest thoughts that are kept, in bytes.
const MAX_THOUGHTS: usize = 64 * 1024;
/// The largest fields of a vendor that are kept, in bytes of JSON.
const MAX_VENDOR_FIELDS: usize = 512 * 1024;

/// A response while it arrives.
#[derive(Debug)]
struct Accumulator {
    text: TextFilter,
    thoughts: String,
    calls: Vec<ToolCall>,
    vendor: VendorFields,
    usage: Usage,
    finished: Option<bool>,
}

/// Reads a whole response.
///
/// # Errors
/// Those of [`collect_showing`].
pub async fn collect<S>(parts: S) -> Result<ModelAnswer, ModelError>
where
    S: Stream<Item = Result<Part, ModelError>>,
{
    collect_showing(parts, ShowText::AtEnd, |_| {}).await
}

/// Reads a whole response, and passes on each piece of its text as `show` says. Together they are the text of the answer, without
/// U+0000 and thoughts.
///
/// # Errors
/// The error of the stream; [`ModelErrorKind::Unreadable`] if it ended before the model finished, without text and calls, or
/// with calls that are too long or at its limit of tokens; [`ModelErrorKind::LateThoughts`].
pub async fn collect_showing<S>(
    parts: S,
    show: ShowText,
    mut on_text: impl FnMut(&str),
) -> Result<ModelAnswer, ModelError>
where
    S: Stream<Item = Result<Part, ModelError>>,
{
    let mut response = Accumulator::new(show);
    pin_mut!(parts);
    while let Some(part) = parts.next().await {
        let shown = response.push(part?)?;
        if !shown.is_empty() {
            on_text(shown);
        }
    }
    response.finish(on_text)
}

impl Accumulator {
    fn new(show: ShowText) -> Self {
        Self {
            text: TextFilter::new(show),
            thoughts: String::new(),
            calls: Vec::new(),
            vendor: VendorFields::default(),
            usage: Usage::default(),
            finished: None,
        }
    }

    /// Adds a part, and returns the text that is shown from now on.
    fn push(&mut self, part: Part) -> Result<&str, ModelError> {
        match part {
            Part::Text(piece) => return self.text.push(&clean_text(piece)).map_err(late_thoughts),
            Part::Call { index: slot, id, name, arguments } => {
                let call = call_at(&mut self.calls, slot)?;
                set_if_empty(&mut call.id, id);
                set_if_empty(&mut call.name, name);
                call.arguments.push_str(&arguments);
            }
            Part::Thoughts(piece) => self.thoughts.push_str(&piece),
            Part::Vendor { index: None, fields } => add_fields(&mut self.vendor.message, fields),
            Part::Vendor { index: Some(slot), fields } => {
                let calls = &mut self.vendor.calls;
                calls.resize_with(calls.len().max(slot + 1), Map::new);
                add_fields(&mut calls[slot], fields);
            }
            Part::Usage(reported) => self.usage = reported,
            Part::Finished { is_truncated } => self.finished = Some(is_truncated),
        }
        Ok("")
    }

    fn finish(self, mut on_text: impl FnMut(&str)) -> Result<ModelAnswer, ModelError> {
        let Self { text, mut thoughts, calls, vendor, usage, finished } = self;
        let is_truncated = finished.ok_or_else(|| unreadable("the response was cut off"))?;
        let (rest, FilteredText { text, thoughts: in_text, is_too_long }) =
            text.finish().map_err(late_thoughts)?;
        thoughts.push_str(&in_text);
        let has_text = !text.trim().is_empty();
        check(has_text, &calls, is_truncated)?;
        if !rest.is_empty() {
            on_text(&rest);
        }
        Ok(ModelAnswer {
            text: has_text.then_some(text),
            calls: calls.into_iter().map(clean_call).collect(),
            usage,
            thoughts: bounded_thoughts(thoughts),
            is_truncated: is_truncated || is_too_long,
            vendor: bounded_fields(vendor),
        })
    }
}

fn late_thoughts(_: LateThoughts) -> ModelError {
    with_message(ModelErrorKind::LateThoughts, "thoughts ended after their text was shown as a reply")
}

/// `is_truncated`: the model reached its limit of tokens.
fn check(has_text: bool, calls: &[ToolCall], is_truncated: bool) -> Result<(), ModelError> {
    if is_truncated && !calls.is_empty() {
        return Err(unreadable("the calls were cut off at the limit of tokens"));
    }
    if !has_text && calls.is_empty() {
        return Err(unreadable("the response has no text and no calls"));
    }
    let bytes = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
    if calls.iter().map(bytes).sum::<usize>() > MAX_CALLS {
        return Err(unreadable("the calls of the response are too long"));
    }
    Ok(())
}

fn unreadable(message: &str) -> ModelError {
    with_message(ModelErrorKind::Unreadable, message)
}

fn with_message(kind: ModelErrorKind, message: &str) -> ModelError {
    let message = ModelErrorMessage::Own(message.to_owned());
    let detail = ModelErrorDetail { message: Some(message), ..ModelErrorDetail::default() };
    ModelError { kind, detail: Some(Box::new(detail)) }
}

/// Adds the fields of a later piece. Reasoning and lists arrive in pieces; any other value replaces the one before it.
fn add_fields(fields: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match (fields.get_mut(&key), value) {
            (Some(Value::String(text)), Value::String(piece)) if is_reasoning(&key) => text.push_str(&piece),
            (Some(Value::Array(items)), Value::Array(more)) => {
                for item in more {
                    let continued = items.last_mut().is_some_and(|last| continue_item(last, &item));
                    items.extend((!continued).then_some(item));
                }
            }
            (Some(Value::Object(nested)), Value::Object(more)) => add_fields(nested, more),
            (_, value) => {
                fields.insert(key, value);
            }
        }
    }
}

/// Adds an item of a list to the one before it if it is the next piece of the same block of thoughts: the same type and
/// index, before the signature that ends the block. A vendor that gets the pieces back refuses those without a signature.
fn continue_item(last: &mut Value, item: &Value) -> bool {
    const TEXTS: [&str; 3] = ["thinking", "text", "summary"];
    let (Value::Object(last), Value::Object(item)) = (last, item) else { return false };
    let is_same = |key| last.get(key) == item.get(key);
    let text = TEXTS.iter().find(|key| last.get(**key).is_some_and(Value::is_string));
    let is_open = last.get("signature").and_then(Value::as_str).is_none_or(str::is_empty);
    let Some(text) =
        text.filter(|_| is_open && last.contains_key("type") && is_same("type") && is_same("index"))
    else {
        return false;
    };
    for (key, value) in item {
        match (last.get_mut(key), value) {
            (Some(Value::String(known)), Value::String(piece)) if key == text => known.push_str(piece),
            (_, Value::Null) => {}
            _ => {
                last.insert(key.clone(), value.clone());
            }
        }
    }
    true
}

/// Whether a field of a message is the model's reasoning as text.
pub(super) fn is_reasoning(key: &str) -> bool {
    matches!(key, "reasoning" | "reasoning_content" | "reasoning_text" | "thinking" | "thinking_content")
}

fn bounded_thoughts(thoughts: String) -> Option<String> {
    let mut thoughts = clean_text(thoughts);
    thoughts.truncate(thoughts.floor_char_boundary(MAX_THOUGHTS));
    Some(thoughts).filter(|thoughts| !thoughts.trim().is_empty())
}

fn bounded_fields(vendor: VendorFields) -> Option<VendorFields> {
    let vendor = VendorFields {
        message: clean_map(vendor.message),
        calls: vendor.calls.into_iter().map(clean_map).collect(),
        ..vendor
    };
    let size = serde_json::to_string(&vendor).map_or(usize::MAX, |json| json.len());
    if size > MAX_VENDOR_FIELDS {
        tracing::warn!(bytes = size, "the fields of a vendor are too large to be sent back");
        return None;
    }
    Some(vendor).filter(|vendor| *vendor != VendorFields::default())
}

/// Slots are numbered in order of appearance; a gap is a bug of the adapter.
fn call_at(calls: &mut Vec<ToolCall>, slot: usize) -> Result<&mut ToolCall, ModelError> {
    if slot == calls.len() {
        calls.push(ToolCall { id: String::new(), name: String::new(), arguments: String::new() });
    }
    calls.get_mut(slot).ok_or_else(|| ModelErrorKind::Unreadable.into())
}

fn set_if_empty(field: &mut String, value: Option<String>) {
    if let Some(value) = value
        && field.is_empty()
    {
        *field = value;
    }
}

fn clean_call(call: ToolCall) -> ToolCall {
    // Arguments are JSON within JSON: they have escapes of their own.
    let arguments = String::from_utf8(replace_lone(call.arguments.as_bytes())).unwrap_or(call.arguments);
    let arguments = single_object(&arguments).unwrap_or(arguments);
    ToolCall { id: clean_text(call.id), name: clean_text(call.name), arguments: clean_text(arguments) }
}

/// The one object that several in a row stand for: some vendors begin with an empty placeholder, or send whole objects
/// again. None if there is one value only, or if they contradict each other.
fn single_object(arguments: &str) -> Option<String> {
    let values: Vec<Value> = Deserializer::from_str(arguments).into_iter().collect::<Result<_, _>>().ok()?;
    let is_placeholder = |value: &&Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    let mut objects = values.iter().filter(|value| !is_placeholder(value));
    let first = objects.next().unwrap_or(values.first()?);
    (values.len() > 1 && objects.all(|other| other == first)).then(|| first.to_string())
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};
    use serde_json::json;

    use super::*;
    use crate::model::MAX_TEXT;

    const FINISHED: Part = Part::Finished { is_truncated: false };

    fn collected(parts: Vec<Part>) -> Result<ModelAnswer, ModelError> {
        collect(stream::iter(parts).map(Ok)).now_or_never().unwrap()
    }

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn call(slot: usize, name: Option<&str>, arguments: &str) -> Part {
        let name = name.map(str::to_owned);
        Part::Call { index: slot, id: None, name, arguments: arguments.to_owned() }
    }

    #[test]
    fn parts_add_up_to_an_answer_without_nul() {
        let answer = collected(vec![
            text("Let me\0 "),
            text("see"),
            call(0, Some("find"), "{\"a\":"),
            call(1, Some("pay\0"), "{}"),
            call(0, Some("find"), "1}"),
            FINISHED,
            Part::Usage(Usage { input: 5, ..Usage::default() }),
        ]);

        let answer = answer.unwrap();
        assert_eq!(answer.text.as_deref(), Some("Let me see"));
        assert_eq!(
            (answer.calls[0].name.as_str(), answer.calls[0].arguments.as_str()),
            ("find", "{\"a\":1}")
        );
        assert_eq!(answer.calls[1].name, "pay");
        assert_eq!(answer.usage.input, 5);
    }

    #[test]
    fn what_is_cut_or_empty_is_no_answer() {
        let unreadable = [
            vec![],
            vec![text("half")],
            vec![call(0, Some("find"), "{\"a\":")],
            vec![FINISHED],
            vec![text(" \n"), FINISHED],
            vec![text("<think>hm"), FINISHED],
            vec![call(1, Some("find"), "{}"), FINISHED],
            vec![call(0, Some("find"), "{}"), Part::Finished { is_truncated: true }],
        ];

        for parts in unreadable {
            assert_eq!(collected(parts).unwrap_err().kind, ModelErrorKind::Unreadable);
        }
        let broken = stream::iter([Ok(text("half")), Err(ModelErrorKind::Timeout.into())]);
        assert_eq!(collect(broken).now_or_never().unwrap(), Err(ModelErrorKind::Timeout.into()));
    }

    #[test]
    fn the_text_is_shown_as_it_arrives() {
        let mut shown = Vec::new();
        let parts =
            [text(" \0"), text("Let me"), text(" \0see"), call(0, Some("find"), "{}"), text("."), FINISHED];
        let parts = stream::iter(parts).map(Ok);

        let answer = collect_showing(parts, ShowText::AtOnce, |text| shown.push(text.to_owned()));

        let answer = answer.now_or_never().unwrap().unwrap();
        assert_eq!(shown, ["Let me", " see", "."]);
        assert_eq!(answer.text, Some(shown.concat()));
    }

    #[test]
    fn an_answer_that_turns_out_to_be_thoughts_has_failed() {
        let parts = [text("Hm."), text("\n</think>"), text("Hello"), FINISHED];
        let collected = collect_showing(stream::iter(parts.clone()).map(Ok), ShowText::AtOnce, |_| {});

        assert_eq!(collected.now_or_never().unwrap().unwrap_err().kind, ModelErrorKind::LateThoughts);
        assert_eq!(self::collected(parts.to_vec()).unwrap().text.as_deref(), Some("Hello"));
    }

    #[test]
    fn placeholders_and_repeated_objects_are_one_object() {
        let cases = [
            (vec!["{}", r#"{"num"#, r#"ber":"A7"}"#], r#"{"number":"A7"}"#),
            (vec![r#"{"number":"A7"}"#, "{}"], r#"{"number":"A7"}"#),
            (vec![r#"{"number":"A7"}"#, r#"{"number": "A7"}"#], r#"{"number":"A7"}"#),
            (vec!["{}", "{}"], "{}"),
            (vec!["null", r#"{"a":1}"#], r#"{"a":1}"#),
            (vec![r#"{"a":1}"#, r#"{"a":2}"#], r#"{"a":1}{"a":2}"#),
            (vec![r#"{"a":1"#], r#"{"a":1"#),
            (vec![r#"{ "a": 1 }"#], r#"{ "a": 1 }"#),
        ];
        for (pieces, arguments) in cases {
            let parts = pieces.iter().map(|piece| call(0, Some("find"), piece)).chain([FINISHED]).collect();
            assert_eq!(collected(parts).unwrap().calls[0].arguments, arguments, "{pieces:?}");
        }
    }

    #[test]
    fn fields_of_a_vendor_are_put_together() {
        let fields = |index, json: Value| {
            let Value::Object(fields) = json else { panic!("no object") };
            Part::Vendor { index, fields }
        };
        let answer = collected(vec![
            Part::Thoughts("The visitor ".to_owned()),
            fields(None, json!({"reasoning_content": "The visitor ", "reasoning_details": [{"text": "a"}]})),
            fields(None, json!({"reasoning_content": "asks.", "reasoning_details": [{"text": "b"}]})),
            call(0, Some("find"), "{}"),
            call(1, Some("pay"), "{}"),
            fields(Some(1), json!({"extra_content": {"google": {"thought_signature": "x"}}})),
            fields(Some(1), json!({"extra_content": {"google": {"thought_signature": "y"}, "n": 1}})),
            Part::Thoughts("asks.".to_owned()),
            FINISHED,
        ]);

        let answer = answer.unwrap();
        assert_eq!(answer.thoughts.as_deref(), Some("The visitor asks."));
        let vendor = serde_json::to_value(answer.vendor.unwrap()).unwrap();
        assert_eq!(
            vendor,
            json!({
                "message": {
                    "reasoning_content": "The visitor asks.",
                    "reasoning_details": [{"text": "a"}, {"text": "b"}],
                },
                "calls": [{}, {"extra_content": {"google": {"thought_signature": "y"}, "n": 1}}],
            })
        );
    }

    #[test]
    fn texts_are_truncated_and_calls_refused_beyond_their_bounds() {
        let fits = collected(vec![text(&"x".repeat(MAX_TEXT)), FINISHED]).unwrap();
        assert_eq!((fits.text.unwrap().len(), fits.is_truncated), (MAX_TEXT, false));
        let long = collected(vec![text("x"), text(&"ü".repeat(MAX_TEXT)), FINISHED]).unwrap();
        assert_eq!((long.text.unwrap().len(), long.is_truncated), (MAX_TEXT - 1, true));

        let arguments = format!("{{\"text\":\"{}\"}}", "x".repeat(MAX_CALLS / 2));
        let one = collected(vec![call(0, Some("note"), &arguments), FINISHED]).unwrap();
        assert_eq!(one.calls[0].arguments, arguments);
        let two = vec![call(0, Some("note"), &arguments), call(1, Some("note"), &arguments), FINISHED];
        assert_eq!(collected(two).unwrap_err().kind, ModelErrorKind::Unreadable);
    }

    #[test]
    fn thoughts_and_fields_are_bounded() {
        let long = "ü".repeat(MAX_VENDOR_FIELDS);
        let fields = Map::from_iter([("reasoning".to_owned(), long.clone().into())]);
        let parts = vec![Part::Thoughts(long), Part::Vendor { index: None, fields }, text("Hi"), FINISHED];

        let answer = collected(parts).unwrap();

        assert_eq!(answer.thoughts.unwrap().len(), MAX_THOUGHTS);
        assert_eq!(answer.vendor, None);
    }
}
