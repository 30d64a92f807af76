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

/// Words that a reply may contain as tags of its own: they are thoughts only at the start of the text.
const COMMON_WORDS: [&str; 3] = ["<thinking>", "<thought>", "<reasoning>"];

/// Splits a whole text into thoughts and reply. Thoughts begin at the start of a line. Without an opening tag, as where the
/// prompt of the model contains it, they begin with the text, and their closing tag begins or ends a line; without a closing
/// tag, as where the model reached its limit, they end with the text.
pub(super) fn split(text: &str) -> (String, String) {
    let (mut thoughts, mut reply) = (String::new(), String::new());
    let mut rest = text;
    if let Some((end, next)) = unopened(text) {
        thoughts.push_str(&text[..end]);
        rest = &text[next..];
    }
    while let Some(found) = opened(rest) {
        reply.push_str(&rest[..found.reply_end]);
        thoughts.push_str(&rest[found.thoughts_start..found.thoughts_end]);
        rest = &rest[found.end..];
    }
    if rest.len() == text.len() {
        return (thoughts, text.to_owned());
    }
    reply.push_str(rest);
    (thoughts.trim().to_owned(), reply.trim().to_owned())
}

/// The end of thoughts without an opening tag, and of their closing tag.
fn unopened(text: &str) -> Option<(usize, usize)> {
    let ends = TAGS.iter().filter_map(|(open, close)| {
        let end = text.match_indices(close).map(|(at, _)| at).find(|at| !is_in_code(text, *at))?;
        let next = end + close.len();
        let is_alone = begins_line(text, end) || text[next..].starts_with(['\n', '\r']);
        (is_alone && !text[..end].contains(open)).then_some((end, next))
    });
    ends.min()
}

/// Byte positions of thoughts in a text.
struct Found {
    reply_end: usize,
    thoughts_start: usize,
    thoughts_end: usize,
    end: usize,
}

/// The first thoughts with an opening tag.
fn opened(text: &str) -> Option<Found> {
    let found = TAGS.iter().filter_map(|(open, close)| {
        let mut starts = text.match_indices(open).map(|(at, _)| at);
        let start = if COMMON_WORDS.contains(open) {
            starts.next().filter(|at| text[..*at].trim().is_empty())?
        } else {
            starts.find(|at| begins_line(text, *at) && !is_in_code(text, *at))?
        };
        let thoughts_start = start + open.len();
        let length = text[thoughts_start..].find(close);
        let thoughts_end = length.map_or(text.len(), |length| thoughts_start + length);
        let end = length.map_or(text.len(), |_| thoughts_end + close.len());
        Some(Found { reply_end: start, thoughts_start, thoughts_end, end })
    });
    found.min_by_key(|found| found.reply_end)
}

/// Whether a position is within a fenced block of code, which may show tags.
fn is_in_code(text: &str, at: usize) -> bool {
    let is_fence = |line: &&str| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
    text[..at].lines().filter(is_fence).count() % 2 == 1
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
            ("<think>a</think>Hello.\n<think>b</think>Bye.", "ab", "Hello.\nBye."),
            ("<think>a</think>Hello. <think>b</think>Bye.", "a", "Hello. <think>b</think>Bye."),
            ("<thinking>a</thinking>Hello.", "a", "Hello."),
            ("Like this:\n<reasoning>a</reasoning>", "", "Like this:\n<reasoning>a</reasoning>"),
            ("`<think>` is closed by `</think>`.", "", "`<think>` is closed by `</think>`."),
            ("Write `</think>` at the end.", "", "Write `</think>` at the end."),
            ("Like this:\n```\n<think>\na\n</think>\n```", "", "Like this:\n```\n<think>\na\n</think>\n```"),
            ("<think>\n```\na\n```\n</think>\nHello.", "```\na\n```", "Hello."),
            ("Write <think> before your thoughts.", "", "Write <think> before your thoughts."),
        ];
        for (text, thoughts, reply) in cases {
            assert_eq!(split(text), (thoughts.to_owned(), reply.to_owned()), "{text}");
        }
    }
}
