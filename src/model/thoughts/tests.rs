use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What a text may contain.
const PIECES: [&str; 26] = [
    "<think>",
    "</think>",
    "<thinking>",
    "</thinking>",
    "<thought>",
    "</reasoning>",
    "[THINK]",
    "[/THINK]",
    "◁think▷",
    "◁/think▷",
    "<|channel|>analysis<|message|>",
    "<|channel|>final<|message|>",
    "<|channel>thought",
    "<channel|>",
    "<",
    "</",
    "[",
    "\n",
    "\n",
    "\r\n",
    " ",
    "```",
    "~~~",
    "Hello",
    "ü",
    ".",
];

/// The text of an answer that arrives in these pieces, and the pieces that were shown.
fn filter(show: ShowText, pieces: &[&str]) -> Result<(FilteredText, String), LateThoughts> {
    let mut filter = TextFilter::new(show);
    let mut shown = String::new();
    for piece in pieces {
        shown.push_str(filter.push(piece)?);
    }
    let (rest, filtered) = filter.finish()?;
    Ok((filtered, shown + &rest))
}

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
        let (filtered, _) = filter(ShowText::AtEnd, &[text]).unwrap();
        let expected =
            FilteredText { text: reply.to_owned(), thoughts: thoughts.to_owned(), is_too_long: false };
        assert_eq!(filtered, expected, "{text}");
    }
}

#[test]
fn text_is_shown_as_soon_as_it_can_be_no_tag() {
    let mut filter = TextFilter::new(ShowText::AtOnce);
    let shown = [" ", "\nHello", ", ", "you <th", "ere> ", "\n<think", ">a</thi", "nk>\nBye"]
        .map(|piece| filter.push(piece).unwrap().to_owned());

    assert_eq!(shown, ["", "Hello", ",", " you", " <there>", "", "", " \n\nBye"]);
    assert_eq!(filter.finish().unwrap().1.text, "Hello, you <there> \n\nBye");
}

#[test]
fn thoughts_without_an_opening_tag_are_late_once_text_was_shown() {
    let pieces = ["Hm. ", "So.", "\n</think>", "\nHello", " you"];

    assert!(filter(ShowText::AtOnce, &pieces).is_err());
    let mut held = TextFilter::new(ShowText::AfterThoughts);
    let shown = pieces.map(|piece| held.push(piece).unwrap().to_owned());
    assert_eq!(shown, ["", "", "", "Hello", " you"]);
    assert!(filter(ShowText::AtOnce, &["\n</think>\nHello"]).is_ok(), "nothing was shown");
    let (filtered, shown) = filter(ShowText::AfterThoughts, &["Hello", " you"]).unwrap();
    assert_eq!((filtered.text.as_str(), shown.as_str()), ("Hello you", "Hello you"), "it did not think");
}

#[test]
fn a_text_is_truncated_at_the_same_character_however_it_arrives() {
    let text = "ü ".repeat(MAX_TEXT / 3) + "the end";
    let expected = &text[..text.floor_char_boundary(MAX_TEXT)];
    for size in [1, 7, text.len()] {
        let chars: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|chars| chars.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (filtered, shown) = filter(ShowText::AtOnce, &pieces).unwrap();

        assert!(filtered.is_too_long);
        assert!(filtered.text == expected && shown == expected, "{size}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_the_reply_of_the_whole_text(
        words in proptest::collection::vec(select(&PIECES[..]), 0..24),
        size in 1_usize..12,
    ) {
        let text = words.concat();
        let chars: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|chars| chars.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (thoughts, reply) = split(&text);
        let expected = FilteredText { text: reply.trim_start().to_owned(), thoughts, is_too_long: false };

        let at_end = filter(ShowText::AtEnd, &pieces);
        prop_assert!(at_end.is_ok());
        let streamed = [ShowText::AtOnce, ShowText::AfterThoughts].map(|show| filter(show, &pieces));
        for (filtered, shown) in streamed.into_iter().chain([at_end]).flatten() {
            prop_assert_eq!(&filtered, &expected);
            prop_assert_eq!(&shown, &expected.text);
        }
    }
}

// The same rules for a whole text, as a reference.

fn split(text: &str) -> (String, String) {
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
