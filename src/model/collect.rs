//! Collects the parts of a response. A truncated response is an error.

use futures::{Stream, StreamExt, pin_mut};

use crate::domain::chat::{ModelAnswer, ModelError, Part, ToolCall, Usage, clean_text};

/// Reads a whole response, without U+0000.
///
/// # Errors
/// The error of the stream; [`ModelError::Unreadable`] if it ended before the model finished, or without text and
/// calls.
pub async fn collect<S>(parts: S) -> Result<ModelAnswer, ModelError>
where
    S: Stream<Item = Result<Part, ModelError>>,
{
    let mut text = String::new();
    let mut calls: Vec<ToolCall> = Vec::new();
    let mut usage = Usage::default();
    let mut is_finished = false;

    pin_mut!(parts);
    while let Some(part) = parts.next().await {
        match part? {
            Part::Text(piece) => text.push_str(&piece),
            Part::Call { index: slot, id, name, arguments } => {
                let call = call_at(&mut calls, slot)?;
                set_if_empty(&mut call.id, id);
                set_if_empty(&mut call.name, name);
                call.arguments.push_str(&arguments);
            }
            Part::Usage(reported) => usage = reported,
            Part::Finished => is_finished = true,
        }
    }

    if !is_finished || (text.trim().is_empty() && calls.is_empty()) {
        return Err(ModelError::Unreadable);
    }
    let text = Some(clean_text(text)).filter(|text| !text.trim().is_empty());
    let calls = calls.into_iter().map(clean_call).collect();
    Ok(ModelAnswer { text, calls, usage })
}

/// Slots are numbered in order of appearance; a gap is a bug of the adapter.
fn call_at(calls: &mut Vec<ToolCall>, slot: usize) -> Result<&mut ToolCall, ModelError> {
    if slot == calls.len() {
        calls.push(ToolCall { id: String::new(), name: String::new(), arguments: String::new() });
    }
    calls.get_mut(slot).ok_or(ModelError::Unreadable)
}

fn set_if_empty(field: &mut String, value: Option<String>) {
    if let Some(value) = value
        && field.is_empty()
    {
        *field = value;
    }
}

fn clean_call(call: ToolCall) -> ToolCall {
    ToolCall { id: clean_text(call.id), name: clean_text(call.name), arguments: clean_text(call.arguments) }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;

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
            Part::Finished,
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
            vec![Part::Finished],
            vec![text(" \n"), Part::Finished],
            vec![call(1, Some("find"), "{}"), Part::Finished],
        ];

        for parts in unreadable {
            assert_eq!(collected(parts), Err(ModelError::Unreadable));
        }
        let broken = stream::iter([Ok(text("half")), Err(ModelError::Timeout)]);
        assert_eq!(collect(broken).now_or_never().unwrap(), Err(ModelError::Timeout));
    }
}
