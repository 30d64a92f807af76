//! Splits a text that is too long for one passage: between paragraphs, then lines, sentences, words and, if a word is
//! still too long, characters.

use unicode_segmentation::UnicodeSegmentation as _;

/// In characters.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// Splits the text into pieces of at most `max_length` characters. Concatenated, they are the text.
pub(super) fn split_text(text: &str, max_length: usize) -> Vec<&str> {
    let mut parts = vec![text];
    let finer: [fn(&str) -> Vec<&str>; 4] = [
        |text| text.split_inclusive("\n\n").collect(),
        |text| text.split_inclusive('\n').collect(),
        |text| text.split_sentence_bounds().collect(),
        |text| text.split_word_bounds().collect(),
    ];
    for split in finer {
        if parts.iter().all(|part| length(part) <= max_length) {
            break;
        }
        let split_long = |part| if length(part) <= max_length { vec![part] } else { split(part) };
        parts = parts.into_iter().flat_map(split_long).collect();
    }
    let parts: Vec<&str> = parts.into_iter().flat_map(|part| split_by_characters(part, max_length)).collect();
    merge_adjacent(text, &parts, max_length)
}

fn split_by_characters(part: &str, max_length: usize) -> Vec<&str> {
    let mut rest = part;
    let mut pieces = Vec::new();
    while let Some((end, _)) = rest.char_indices().nth(max_length) {
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Merges adjacent parts as long as they fit into `max_length`.
fn merge_adjacent<'t>(text: &'t str, parts: &[&'t str], max_length: usize) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let (mut start, mut end, mut size) = (0, 0, 0);
    for part in parts {
        let more = length(part);
        if size > 0 && size + more > max_length {
            pieces.extend(text.get(start..end));
            (start, size) = (end, 0);
        }
        end += part.len();
        size += more;
    }
    pieces.extend(text.get(start..end));
    pieces
}
