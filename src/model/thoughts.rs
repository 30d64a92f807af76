//! Separates the thoughts that some models write into their text, between tags, from the reply.

/// The tags of the known models: Qwen, `DeepSeek` and many others; Magistral; Kimi; Seed; the channels of gpt-oss and Gemma.
const TAGS: [(&str, &str); 10] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|channel>thought", "<channel|>"),
];

/// Splits a whole text into thoughts and reply. Thoughts begin at the start of a line. Without an opening tag, as where the
/// prompt of the model contains it, they begin with the text; without a closing tag, as where the model reached its limit,
/// they end with it.
pub(super) fn split(text: &str) -> (String, String) {
    let (mut thoughts, mut reply) = (String::new(), String::new());
    let mut rest = text;
    while let Some(found) = next(rest, reply.is_empty()) {
        reply.push_str(&rest[..found.reply_end]);
        thoughts.push_str(&rest[found.thoughts_start..found.thoughts_end]);
        rest = &rest[found.end..];
    }
    if thoughts.is_empty() && rest.len() == text.len() {
        return (thoughts, text.to_owned());
    }
    reply.push_str(rest);
    (thoughts.trim().to_owned(), reply.trim().to_owned())
}

/// Byte positions of thoughts in a text.
struct Found {
    reply_end: usize,
    thoughts_start: usize,
    thoughts_end: usize,
    end: usize,
}

/// The first thoughts in a text. `is_start`: nothing of the reply precedes it.
fn next(text: &str, is_start: bool) -> Option<Found> {
    let opened = TAGS.iter().filter_map(|(open, close)| {
        let start = text.match_indices(open).map(|(at, _)| at).find(|at| begins_line(text, *at))?;
        let thoughts_start = start + open.len();
        let length = text[thoughts_start..].find(close);
        let thoughts_end = length.map_or(text.len(), |length| thoughts_start + length);
        let end = length.map_or(text.len(), |_| thoughts_end + close.len());
        Some(Found { reply_end: start, thoughts_start, thoughts_end, end })
    });
    let opened = opened.min_by_key(|found| found.reply_end);
    let unopened = TAGS.iter().filter(|_| is_start).filter_map(|(_, close)| {
        let thoughts_end = text.find(close)?;
        Some(Found { reply_end: 0, thoughts_start: 0, thoughts_end, end: thoughts_end + close.len() })
    });
    let unopened = unopened.min_by_key(|found| found.thoughts_end);
    match (opened, unopened) {
        (Some(opened), Some(unopened)) if unopened.thoughts_end < opened.reply_end => Some(unopened),
        (None, unopened) => unopened,
        (opened, _) => opened,
    }
}

fn begins_line(text: &str, at: usize) -> bool {
    text[..at].rsplit('\n').next().is_none_or(|line| line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_separated_from_the_reply() {
        let cases = [
            ("Hello.", "", "Hello."),
            ("<think>\nHm.\n</think>\n\nHello.", "Hm.", "Hello."),
            ("Hm.\n</think>\nHello.", "Hm.", "Hello."),
            ("<think>Hm.", "Hm.", ""),
            ("  <think></think>Hello.", "", "Hello."),
            ("[THINK]Hm.[/THINK]Hello.", "Hm.", "Hello."),
            ("◁think▷Hm.◁/think▷Hello.", "Hm.", "Hello."),
            ("Hello.\n<think>Hm.</think>\nBye.", "Hm.", "Hello.\n\nBye."),
            ("<think>a</think>Hello.\n<thinking>b</thinking>Bye.", "ab", "Hello.\nBye."),
            ("Write <think> before your thoughts.", "", "Write <think> before your thoughts."),
        ];
        for (text, thoughts, reply) in cases {
            assert_eq!(split(text), (thoughts.to_owned(), reply.to_owned()), "{text}");
        }
    }
}
