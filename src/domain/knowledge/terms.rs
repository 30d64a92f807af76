//! Search terms: case-folded, stemmed, and limited to characters that both databases store unchanged.
//!
//! A word is a run of letters and digits; any other character separates words. Text in scripts without spaces between
//! words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) is divided into pairs of characters.

use std::collections::{BTreeMap, BTreeSet};

use rust_stemmers::Stemmer;
use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

use super::Language;
use crate::domain::ids::KnowledgeBaseId;

/// Maximum number of distinct terms of a query.
pub const MAX_QUERY_TERMS: usize = 128;
/// In characters. A longer word is truncated and not stemmed.
const MAX_TERM_LENGTH: usize = 48;

/// A run of letters and digits.
enum Run {
    Word(String),
    /// Characters of a script without spaces.
    Spaceless(Vec<String>),
}

/// The terms of a document's text, in order and with duplicates.
#[must_use]
pub fn document_terms(text: &str, language: Language) -> Vec<String> {
    let stemmer = language.stemmer();
    let mut terms = Vec::new();
    for run in runs(text) {
        match run {
            Run::Word(word) => terms.extend(term(&word, stemmer.as_ref())),
            Run::Spaceless(characters) => {
                terms.extend(bigrams(&characters));
                // A query may consist of a single character.
                terms.extend(characters);
            }
        }
    }
    terms
}

/// The distinct terms of a query. Stop words (`the`, `how`) are omitted unless there are no other words.
#[must_use]
pub fn query_terms(query: &str, language: Language) -> Vec<String> {
    let stemmer = language.stemmer();
    let stop_words = language.stop_words();
    let (mut content_terms, mut stop_terms) = (Vec::new(), Vec::new());
    for run in runs(query) {
        match run {
            Run::Word(word) => {
                let list =
                    if stop_words.contains(&word.as_str()) { &mut stop_terms } else { &mut content_terms };
                list.extend(term(&word, stemmer.as_ref()));
            }
            Run::Spaceless(characters) if characters.len() == 1 => content_terms.extend(characters),
            Run::Spaceless(characters) => content_terms.extend(bigrams(&characters)),
        }
    }
    let mut terms = if content_terms.is_empty() { stop_terms } else { content_terms };
    let mut unique = BTreeSet::new();
    terms.retain(|term| unique.insert(term.clone()));
    terms.truncate(MAX_QUERY_TERMS);
    terms
}

/// The number of passages that contain each term.
pub fn count_terms<'p>(passages: impl IntoIterator<Item = &'p str>) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for passage in passages {
        let terms: BTreeSet<_> = passage.split(' ').filter(|term| *term != "/").collect();
        for term in terms {
            *counts.entry(term.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

/// The term that is added to all passages of this knowledge base and no other. It is longer than any term of a text, so
/// no text can contain it.
#[must_use]
pub fn scope_term(base: KnowledgeBaseId) -> String {
    format!("base{}base{}", base.0.simple(), "x".repeat(MAX_TERM_LENGTH - 39))
}

fn runs(text: &str) -> Vec<Run> {
    let folded: String = text.nfkc().filter(|c| !is_invisible(*c)).collect::<String>().to_lowercase();
    let mut runs: Vec<Run> = Vec::new();
    let mut continues = false;
    for grapheme in folded.graphemes(true) {
        let first = grapheme.chars().next().unwrap_or(' ');
        if !first.is_alphanumeric() {
            continues = false;
            continue;
        }
        let last = runs.last_mut().filter(|_| continues);
        match (last, is_spaceless(first)) {
            (Some(Run::Spaceless(characters)), true) => characters.push(grapheme.to_owned()),
            (Some(Run::Word(word)), false) => word.push_str(grapheme),
            (_, true) => runs.push(Run::Spaceless(vec![grapheme.to_owned()])),
            (_, false) => runs.push(Run::Word(grapheme.to_owned())),
        }
        continues = true;
    }
    for run in &mut runs {
        if let Run::Spaceless(characters) = run {
            for character in characters {
                *character = truncated(character);
            }
        }
    }
    runs
}

fn bigrams(characters: &[String]) -> impl Iterator<Item = String> {
    characters.windows(2).map(<[String]>::concat)
}

fn term(word: &str, stemmer: Option<&Stemmer>) -> Option<String> {
    // The stemmer only handles `е`, and most writers use it for both letters.
    let word = &word.replace('ё', "е");
    let stem = match stemmer {
        Some(stemmer) if word.chars().count() <= MAX_TERM_LENGTH => stemmer.stem(word),
        Some(_) | None => word.into(),
    };
    // The stemmer needs the accents, but many queries omit them, so they are removed afterwards.
    let plain: String = stem.nfd().filter(|c| !matches!(c, '\u{300}'..='\u{36f}')).collect();
    let folded = plain.chars().fold(String::with_capacity(plain.len()), |mut folded, letter| {
        match letter {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' | 'ð' => folded.push('d'),
            'ı' => folded.push('i'),
            // A stemmer may leave characters that have a meaning in the query syntax of a database.
            letter if letter.is_ascii() && !letter.is_ascii_alphanumeric() => {}
            letter => folded.push(letter),
        }
        folded
    });
    Some(truncated(&folded)).filter(|term| !term.is_empty())
}

fn truncated(term: &str) -> String {
    term.chars().take(MAX_TERM_LENGTH).collect()
}

/// Invisible characters that can occur within words.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

fn is_spaceless(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Burmese
        | '\u{1100}'..='\u{11ff}' // Hangul
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // Hiragana, Katakana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' // Han
        | '\u{ac00}'..='\u{d7af}' // Hangul
        | '\u{20000}'..='\u{3ffff}' // Han
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str, language: Language) -> String {
        query_terms(text, language).join(" ")
    }

    #[test]
    fn queries_and_documents_share_terms_in_each_language() {
        for (language, query, document) in [
            (Language::English, "How can I return an item?", "Returns: returned items are refunded"),
            (Language::German, "Kann ich Bücher zurücksenden?", "Ein Buch zurücksenden"),
            (Language::German, "STRASSE", "die Straße"),
            (Language::French, "Comment se faire rembourser ?", "Le remboursement, remboursé sous 14 jours"),
            (Language::Spanish, "¿Cuánto tardan los envíos?", "El envío tarda tres días"),
            (Language::Russian, "Как вернуть товары?", "Возврат товара"),
            (Language::Russian, "Елка", "ёлки"),
            (Language::Greek, "επιστροφές", "ΕΠΙΣΤΡΟΦΗ"),
            (Language::Turkish, "iptaller", "İPTAL"),
            (Language::Simple, "返品できますか", "商品の返品は三十日以内"),
            (Language::Simple, "คืนสินค้า", "นโยบายการคืนสินค้าของเรา"),
            (Language::Simple, "환불", "제품을환불할수있습니다"),
            (Language::Simple, "ﬁle", "FILE"),
            (Language::English, "cafe", "Le Café"),
        ] {
            let query = query_terms(query, language);
            let document = document_terms(document, language);
            assert!(query.iter().any(|term| document.contains(term)), "{language}: {query:?} {document:?}");
        }
    }

    #[test]
    fn stop_words_are_omitted_unless_there_are_no_other_words() {
        assert_eq!(query("What is the refund policy of the shop?", Language::English), "refund polici shop");
        assert_eq!(query("Wie ist die Lieferzeit?", Language::German), "lieferzeit");
        assert_eq!(query("who are the who", Language::English), "who are the");
        assert_eq!(query("don't I'll", Language::English), "don t i ll");
    }

    #[test]
    fn separators_are_not_part_of_terms() {
        assert_eq!(query("foo-bar, \"BAZ\" x_y a.b c:d*'e", Language::Simple), "foo bar baz x y a b c d e");
        assert_eq!(query("soft\u{ad}ware", Language::Simple), "software");
        for nothing in ["", " ", "***", "'\"()&|!:*", "🙂"] {
            assert_eq!(query(nothing, Language::English), "", "{nothing}");
        }
    }

    #[test]
    fn no_text_contains_a_scope_term() {
        let scope = scope_term(KnowledgeBaseId(uuid::Uuid::from_u128(7)));

        assert!(scope.chars().count() > MAX_TERM_LENGTH);
        assert!(!document_terms(&scope, Language::Simple).contains(&scope));
    }
}
