//! Properties for arbitrary texts.

use proptest::prelude::*;

use super::{Format, Language, PreparedDocument, candidate_queries, chunk, document_terms, query_terms};

/// Text with Markdown syntax in random places.
fn markdown() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Zäöüß,. ]{0,40}",
        Just("\n\n".to_owned()),
        Just("\n# ".to_owned()),
        Just("\n### ".to_owned()),
        Just("\n- ".to_owned()),
        Just("\n> ".to_owned()),
        Just("\n```\n".to_owned()),
        Just("| a | b |\n|---|---|\n".to_owned()),
        Just("\n[x]: y\n".to_owned()),
        Just("<div>".to_owned()),
        Just("word ".repeat(300)),
        Just("返品".repeat(700)),
        any::<String>(),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

proptest! {
    #[test]
    fn chunking_loses_no_text_and_bounds_its_passages(text in markdown()) {
        let passages = chunk(&text);

        // Letters of headings are moved to the passages' headings, so only their number is compared.
        let chunked: Vec<char> =
            passages.iter().flat_map(|passage| letters(&format!("{} {}", passage.heading, passage.text))).collect();
        let mut counts: std::collections::HashMap<char, usize> = std::collections::HashMap::new();
        for letter in chunked {
            *counts.entry(letter).or_default() += 1;
        }
        for letter in letters(&text) {
            let count = counts.entry(letter).or_default();
            // A character reference such as `&amp;` in a heading is decoded.
            prop_assert!(*count > 0 || text.contains('&'), "{letter:?} of {text:?} is lost: {passages:?}");
            *count = count.saturating_sub(1);
        }
        for passage in &passages {
            prop_assert!(passage.text.chars().count() <= super::chunk::MAX_LENGTH, "{}", passage.text.len());
            prop_assert!(!passage.text.trim().is_empty());
        }
    }

    #[test]
    fn terms_contain_only_characters_that_both_databases_store_unchanged(text in any::<String>(), at in 0..Language::ALL.len()) {
        let language = Language::ALL[at];

        for term in document_terms(&text, language).into_iter().chain(query_terms(&text, language)) {
            prop_assert!(!term.is_empty());
            prop_assert!(term.chars().all(|c| !c.is_ascii() || c.is_ascii_lowercase() || c.is_ascii_digit()), "{term:?}");
        }
    }

    #[test]
    fn a_document_contains_the_query_terms_of_its_own_text(text in "[\\p{L}\\p{N} ]{1,60}", at in 0..Language::ALL.len()) {
        let language = Language::ALL[at];

        let indexed = document_terms(&text, language);
        for term in query_terms(&text, language) {
            prop_assert!(indexed.contains(&term), "{term:?} is not in {indexed:?}");
        }
    }

    #[test]
    fn candidate_queries_cover_each_term_that_occurs(terms in prop::collection::vec(("[a-z]{1,3}", 0_i64..1000), 0..20)) {
        let queries = format!("{:?}", candidate_queries(terms.clone()));

        for (term, passages) in terms {
            prop_assert_eq!(passages > 0 && !queries.contains(&format!("{term:?}")), false);
        }
    }

    #[test]
    fn a_document_of_any_text_can_be_prepared(title in any::<String>(), text in markdown()) {
        let document = PreparedDocument::prepare(String::new(), title, None, Format::Text, text, Language::German).unwrap();

        for passage in document.passages {
            prop_assert_eq!(passage.words.split(' ').filter(|word| *word == "/").count(), 2);
            prop_assert!(!passage.words.contains("  "), "{:?}", passage.words);
        }
    }
}
