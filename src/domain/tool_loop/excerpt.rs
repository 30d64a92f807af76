//! Excerpts of JSON objects. An excerpt has the shape of the whole, so that a program that reads the whole can read it too:
//! each value has its type, texts and lists lose their ends, and what does not fit at all is left out.

use serde::Serialize;
use serde_json::{Map, Value};

use super::FinishedCall;

/// The field that only an excerpt has: the size of the whole, in bytes of JSON.
const MARKER: &str = "shortened_from_bytes";
/// Room for the marker, its number and a comma.
const MARKER_BYTES: usize = 48;
/// Deeper values are left out of an excerpt: each level is measured once for each level above it.
const MAX_DEPTH: usize = 8;
/// The least room of a field, in bytes, so that an object with many small fields keeps the first of them.
const MIN_FIELD: usize = 64;

/// The calls of a reply, in bytes of JSON: they are stored with the reply, and sent in responses, histories and events.
const MAX_REPLY_CALLS: usize = 64 * 1024;
/// The longest name of a tool that is shown; a model may invent longer ones.
const MAX_NAME: usize = 128;
/// The JSON of a call without its name, arguments and result.
const CALL_FRAME: usize = 40;

/// The calls as they are stored with their reply. Long arguments and results become excerpts, so that all calls together have at
/// most 64 KiB; the short ones stay as they are. Only a very large number of calls can exceed this.
pub fn shorten_calls(mut calls: Vec<FinishedCall>) -> Vec<FinishedCall> {
    if json_bytes(&calls) <= MAX_REPLY_CALLS {
        return calls;
    }
    let mut frames = 2;
    for call in &mut calls {
        call.name.truncate(json_prefix(&call.name, MAX_NAME).len());
        frames += json_bytes(&call.name) + CALL_FRAME;
    }
    let objects = calls.iter().flat_map(|call| [&call.arguments, call.result.fields()]);
    let share = fair_share(objects.map(json_bytes).collect(), MAX_REPLY_CALLS.saturating_sub(frames));
    let shorten = |call: FinishedCall| FinishedCall {
        name: call.name,
        arguments: shorten_object(call.arguments, share),
        result: call.result.shortened(share),
    };
    calls.into_iter().map(shorten).collect()
}

/// The object if it has at most `max` bytes as JSON, else an excerpt of that size with its marker.
pub(super) fn shorten_object(fields: Map<String, Value>, max: usize) -> Map<String, Value> {
    let bytes = json_bytes(&fields);
    if bytes <= max {
        return fields;
    }
    let mut excerpt = shorten_fields(fields, max.saturating_sub(MARKER_BYTES), MAX_DEPTH);
    excerpt.insert(MARKER.to_owned(), bytes.into());
    excerpt
}

/// The longest prefix of a text that takes at most `max` bytes as a JSON string, without its quotes.
pub fn json_prefix(text: &str, max: usize) -> &str {
    let mut budget = max;
    for (at, c) in text.char_indices() {
        let size = match c {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if size > budget {
            return &text[..at];
        }
        budget -= size;
    }
    text
}

/// The length of a value as JSON, in bytes.
pub(super) fn json_bytes(value: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |json| json.len())
}

/// The largest share with which all sizes fit into `total` if each takes at most its share: the small ones leave the rest of
/// theirs to the large ones.
fn fair_share(mut sizes: Vec<usize>, total: usize) -> usize {
    sizes.sort_unstable();
    let mut left = total;
    for (nth, size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - nth);
        if *size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

/// The beginning of a value, of the same type, with at most `max` bytes as JSON; `None` if it has no such beginning.
fn shorten(value: Value, max: usize, depth: usize) -> Option<Value> {
    if json_bytes(&value) <= max {
        return Some(value);
    }
    // Two quotes or brackets.
    let inner = max.checked_sub(2)?;
    match value {
        Value::String(text) => {
            let prefix = json_prefix(&text, inner.checked_sub("…".len())?);
            Some(Value::String(format!("{prefix}…")))
        }
        Value::Array(items) if depth > 0 => Some(Value::Array(shorten_items(items, inner, depth - 1))),
        Value::Object(fields) if depth > 0 => Some(Value::Object(shorten_fields(fields, max, depth - 1))),
        Value::Array(_) | Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The first items, each whole unless it is the only one.
fn shorten_items(items: Vec<Value>, max: usize, depth: usize) -> Vec<Value> {
    let mut left = max;
    let mut kept = Vec::new();
    for item in items {
        // With its comma.
        let bytes = json_bytes(&item) + 1;
        if bytes > left {
            let only = if kept.is_empty() { shorten(item, left, depth) } else { None };
            kept.extend(only);
            return kept;
        }
        left -= bytes;
        kept.push(item);
    }
    kept
}

/// The fields with at most `max` bytes as JSON together: all of them if their values can be shortened to a fair share, else the
/// first ones.
fn shorten_fields(fields: Map<String, Value>, max: usize, depth: usize) -> Map<String, Value> {
    let mut left = max.saturating_sub(2);
    // With its colon and comma.
    let frame_of = |name: &str| json_bytes(name) + 2;
    let sizes = fields.iter().map(|(name, value)| frame_of(name) + json_bytes(value)).collect();
    let share = fair_share(sizes, left).max(MIN_FIELD);
    let mut kept = Map::new();
    for (name, value) in fields {
        let frame = frame_of(&name);
        let Some(max) = share.min(left).checked_sub(frame) else { continue };
        if let Some(value) = shorten(value, max, depth) {
            left -= frame + json_bytes(&value);
            kept.insert(name, value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::tool_loop::CallResult;

    fn call(name: &str, result: Value) -> FinishedCall {
        let arguments = Map::from_iter([("id".to_owned(), "7".into())]);
        FinishedCall { name: name.to_owned(), arguments, result: CallResult::new(result) }
    }

    #[test]
    fn calls_that_fit_stay_as_they_are() {
        let calls = vec![call("find", json!({ "rows": "x".repeat(60_000) })), call("pay", json!({}))];

        assert_eq!(shorten_calls(calls.clone()), calls);
    }

    #[test]
    fn long_results_share_the_budget_and_short_ones_stay_whole() {
        let long = json!({ "rows": (0..50_000).collect::<Vec<_>>(), "total": 50_000 });
        let short = json!({ "found": 2 });
        let calls = vec![call("a", long.clone()), call("b", short.clone()), call("c", long.clone())];

        let shortened = shorten_calls(calls);

        let bytes = json_bytes(&shortened);
        assert!((60_000..=MAX_REPLY_CALLS).contains(&bytes), "{bytes}");
        assert_eq!(Value::Object(shortened[1].result.fields().clone()), short);
        for nth in [0, 2] {
            let fields = shortened[nth].result.fields();
            let rows = fields["rows"].as_array().unwrap();
            assert_eq!(*rows, (0..rows.len()).map(Value::from).collect::<Vec<_>>());
            assert!(rows.len() > 4_000, "{}", rows.len());
            assert_eq!((&fields["total"], &fields[MARKER]), (&json!(50_000), &json!(json_bytes(&long))));
        }
    }

    #[test]
    fn arguments_and_names_are_within_the_budget() {
        let mut calls = vec![call("find", json!({})); 32];
        for call in &mut calls {
            call.name = "\u{1}ü".repeat(1_000);
            call.arguments.insert("text".to_owned(), "\u{1}\"ü".repeat(5_000).into());
        }

        let shortened = shorten_calls(calls);

        assert!(json_bytes(&shortened) <= MAX_REPLY_CALLS, "{}", json_bytes(&shortened));
        assert_eq!((shortened.len(), &shortened[31].arguments["id"]), (32, &json!("7")));
        assert!(shortened[31].arguments["text"].as_str().unwrap().ends_with('…'));
    }

    #[test]
    fn an_excerpt_keeps_the_types_of_its_values_and_its_size() {
        let nested = json!({ "a": { "b": [["x".repeat(500)], 1], "c": null }, "d": true });
        let mut deep = json!("x".repeat(500));
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let many: Map<String, Value> = (0..1_000).map(|n| (format!("field {n}"), n.into())).collect();
        let wholes = [
            json!({ "error": "\n".repeat(500) }),
            nested,
            json!({ "deep": deep }),
            Value::Object(many),
            json!({ ("x".repeat(500)): 1, "short": "x".repeat(500) }),
        ];
        for whole in wholes {
            let Value::Object(fields) = whole else { panic!("no object") };
            let bytes = json_bytes(&fields);
            for max in (48..bytes).step_by(1 + bytes / 200) {
                let excerpt = shorten_object(fields.clone(), max);

                assert!(json_bytes(&excerpt) <= max, "{max}: {excerpt:?}");
                assert_eq!(excerpt[MARKER], bytes);
                for (name, value) in excerpt.iter().filter(|(name, _)| *name != MARKER) {
                    let same = std::mem::discriminant(value) == std::mem::discriminant(&fields[name]);
                    assert!(same, "{max}: {name}");
                }
            }
        }
    }

    #[test]
    fn an_excerpt_has_the_beginning_of_a_text_and_the_first_items_of_a_list() {
        let Value::Object(fields) = json!({
            "error": "The order is unknown. ".repeat(20),
            "slots": (0..100).map(|n| json!({ "start": n })).collect::<Vec<_>>(),
            "ok": false,
        }) else {
            panic!("no object")
        };

        let excerpt = shorten_object(fields, 256);

        assert!(excerpt["error"].as_str().unwrap().starts_with("The order is unknown. The"));
        assert!(excerpt["error"].as_str().unwrap().ends_with('…'));
        assert_eq!(excerpt["slots"][1], json!({ "start": 1 }));
        assert_eq!(excerpt["ok"], false);
    }

    #[test]
    fn a_prefix_counts_json_escapes_and_splits_no_character() {
        for (text, max, prefix) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("a\"b", 2, "a"),
            ("a\u{1}", 6, "a"),
            ("a\u{1}", 7, "a\u{1}"),
            ("🙂", 3, ""),
            ("", 0, ""),
        ] {
            assert_eq!(json_prefix(text, max), prefix, "{text:?} at {max}");
        }
        let all: String = ('\u{1}'..'\u{300}').collect();
        assert_eq!(json_prefix(&all, json_bytes(&all) - 2), all);
        assert!(json_prefix(&all, json_bytes(&all) - 3).len() < all.len());
    }
}
