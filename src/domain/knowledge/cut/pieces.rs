//! A text that is too long for one passage, in pieces: of whole lines where it has some, of whole sentences, of
//! whole words, in this order.

use unicode_segmentation::UnicodeSegmentation as _;

/// In characters.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// The text, whole, in pieces of at most `longest` characters.
pub(super) fn pieces(text: &str, longest: usize) -> Vec<&str> {
    let mut parts = vec![text];
    let finer: [fn(&str) -> Vec<&str>; 4] = [
        |text| text.split_inclusive("\n\n").collect(),
        |text| text.split_inclusive('\n').collect(),
        |text| text.split_sentence_bounds().collect(),
        |text| text.split_word_bounds().collect(),
    ];
    for split in finer {
        if parts.iter().all(|part| length(part) <= longest) {
            break;
        }
        let cut = |part| if length(part) <= longest { vec![part] } else { split(part) };
        parts = parts.into_iter().flat_map(cut).collect();
    }
    let parts: Vec<&str> = parts.into_iter().flat_map(|part| by_characters(part, longest)).collect();
    joined(text, &parts, longest)
}

fn by_characters(part: &str, longest: usize) -> Vec<&str> {
    let mut rest = part;
    let mut cut = Vec::new();
    while let Some((end, _)) = rest.char_indices().nth(longest) {
        let (piece, after) = rest.split_at(end);
        cut.push(piece);
        rest = after;
    }
    cut.push(rest);
    cut
}

/// Neighbours together, as far as they fit.
fn joined<'t>(text: &'t str, parts: &[&'t str], longest: usize) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let (mut start, mut end, mut held) = (0, 0, 0);
    for part in parts {
        let more = length(part);
        if held > 0 && held + more > longest {
            pieces.extend(text.get(start..end));
            (start, held) = (end, 0);
        }
        end += part.len();
        held += more;
    }
    pieces.extend(text.get(start..end));
    pieces
}
