//! Characters as the reader means them, not as a font draws them.

use unicode_normalization::UnicodeNormalization as _;

/// Stands for a glyph whose character is unknown.
pub(super) const UNKNOWN: char = '\u{fffd}';

/// The characters of a glyph: ligatures and other presentation forms are taken apart, all kinds of spaces are U+0020, and a
/// character of private use is [`UNKNOWN`], except for bullets.
pub(super) fn normalize(text: &str) -> String {
    text.chars().fold(String::new(), |mut normal, character| {
        match character {
            // Latin, Armenian, Hebrew and Arabic presentation forms; Kangxi radicals, which CJK fonts share with ideographs.
            '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{2f00}'..='\u{2fdf}' => {
                normal.extend(std::iter::once(character).nfkc());
            }
            // Bullets of Symbol and Wingdings.
            '\u{f0b7}' | '\u{f0a7}' | '\u{f06e}' => normal.push('•'),
            '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => normal.push(UNKNOWN),
            '\u{200b}' | '\u{feff}' => {}
            _ if character.is_whitespace() || character.is_control() => normal.push(' '),
            _ => normal.push(character),
        }
        normal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_are_letters_and_fullwidth_forms_stay() {
        assert_eq!(normalize("ﬁ"), "fi");
        assert_eq!(normalize("Ａ²\u{a0}\u{3}"), "Ａ²  ");
        assert_eq!(normalize("⼈\u{f0b7}\u{e123}"), "人•\u{fffd}");
    }
}
