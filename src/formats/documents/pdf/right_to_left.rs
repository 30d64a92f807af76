//! Arabic and Hebrew, whose glyphs are found from the left to the right.

use std::cmp::Ordering;

fn is_right_to_left(character: char) -> bool {
    matches!(character, '\u{590}'..='\u{65f}' | '\u{66e}'..='\u{6ef}' | '\u{6fa}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

/// Letters and digits; the direction of other characters is that of their neighbours.
fn is_left_to_right(character: char) -> bool {
    character.is_alphanumeric() && !is_right_to_left(character)
}

/// A line in the order in which it is read, from the order in which it is seen.
pub(super) fn in_logical_order(line: String) -> String {
    let count = |is: fn(char) -> bool| line.chars().filter(|character| is(*character)).count();
    if count(is_right_to_left) == 0 {
        return line;
    }
    let mut characters: Vec<char> = line.chars().collect();
    let letters =
        line.chars().filter(|character| character.is_alphabetic() && is_left_to_right(*character)).count();
    let turned = match count(is_right_to_left).cmp(&letters) {
        Ordering::Less => is_right_to_left,
        Ordering::Equal | Ordering::Greater => {
            characters.reverse();
            is_left_to_right
        }
    };
    turn_runs(&mut characters, turned);
    characters.into_iter().collect()
}

/// Reverses each run from the first of these characters to the last before one of the other direction.
fn turn_runs(characters: &mut [char], turned: fn(char) -> bool) {
    let is_other =
        |character: char| (is_right_to_left(character) || is_left_to_right(character)) && !turned(character);
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let end =
            rest.iter().position(|character| is_other(*character)).map_or(characters.len(), |end| at + end);
        let first = characters[at..end].iter().position(|character| turned(*character));
        let last = characters[at..end].iter().rposition(|character| turned(*character));
        if let (Some(first), Some(last)) = (first, last) {
            characters[at + first..=at + last].reverse();
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_from_the_right_and_numbers_from_the_left() {
        let order = |line: &str| in_logical_order(line.to_owned());
        assert_eq!(order("םולש"), "שלום");
        assert_eq!(order("2026 ילוי 15"), "15 יולי 2026");
        assert_eq!(order("The word םולש is here"), "The word שלום is here");
        assert_eq!(order("plain"), "plain");
    }
}
