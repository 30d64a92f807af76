//! From an endpoint's JSON to vectors, one for each text that was sent.

use serde::Deserialize;

use super::EmbeddingsError;
use crate::domain::vector::Vector;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    /// Some leave it out, and mean the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Reads an answer to `asked` texts.
pub(super) fn read(json: &[u8], asked: usize) -> Result<Vec<Vector>, EmbeddingsError> {
    let answer: Answer = serde_json::from_slice(json).map_err(|_| EmbeddingsError::NoList)?;
    let got = answer.data.len();
    if got != asked {
        return Err(EmbeddingsError::Count { asked, got });
    }
    let mut placed: Vec<Option<Vector>> = vec![None; asked];
    let mut length = None;
    for (position, item) in answer.data.into_iter().enumerate() {
        if *length.get_or_insert(item.embedding.len()) != item.embedding.len() {
            return Err(EmbeddingsError::Lengths);
        }
        let vector = Vector::normalised(item.embedding).ok_or(EmbeddingsError::NotFinite)?;
        match placed.get_mut(item.index.unwrap_or(position)) {
            Some(place @ None) => *place = Some(vector),
            // An index twice, or beyond the end: some text has none.
            Some(Some(_)) | None => return Err(EmbeddingsError::NoList),
        }
    }
    placed.into_iter().collect::<Option<Vec<_>>>().ok_or(EmbeddingsError::NoList)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(body: &serde_json::Value, asked: usize) -> Result<Vec<Vector>, EmbeddingsError> {
        read(body.to_string().as_bytes(), asked)
    }

    fn vector(numbers: &[f32]) -> Vector {
        Vector::normalised(numbers.to_vec()).unwrap()
    }

    #[test]
    fn vectors_are_in_the_order_of_their_texts() {
        let numbered = json!({ "object": "list", "usage": {}, "data": [
            { "index": 1, "embedding": [0, 2.5] }, { "index": 0, "embedding": [3, 0], "object": "embedding" },
        ] });
        let unnumbered = json!({ "data": [{ "embedding": [1.0, 0.0] }, { "embedding": [0.0, 1.0] }] });

        let expected = Ok(vec![vector(&[1.0, 0.0]), vector(&[0.0, 1.0])]);
        assert_eq!(read_json(&numbered, 2), expected);
        assert_eq!(read_json(&unnumbered, 2), expected);
    }

    #[test]
    fn what_does_not_fit_what_was_asked_is_refused() {
        let one = json!({ "embedding": [1.0] });
        let cases = [
            (json!({ "data": [one] }), EmbeddingsError::Count { asked: 2, got: 1 }),
            (json!({ "data": [one, one, one] }), EmbeddingsError::Count { asked: 2, got: 3 }),
            (json!({ "data": [one, { "embedding": [1.0, 2.0] }] }), EmbeddingsError::Lengths),
            (json!({ "data": [one, { "embedding": [0.0] }] }), EmbeddingsError::NotFinite),
            (json!({ "data": [one, { "embedding": [1e39] }] }), EmbeddingsError::NoList),
            (json!({ "data": [{ "embedding": [] }, { "embedding": [] }] }), EmbeddingsError::NotFinite),
            (json!({ "data": [one, { "embedding": [null] }] }), EmbeddingsError::NoList),
            (json!({ "data": [one, { "embedding": "AACAPw==" }] }), EmbeddingsError::NoList),
            (
                json!({ "data": [{ "index": 1, "embedding": [1.0] }, { "index": 1, "embedding": [1.0] }] }),
                EmbeddingsError::NoList,
            ),
            (json!({ "data": [one, { "index": 2, "embedding": [1.0] }] }), EmbeddingsError::NoList),
            (json!({ "error": { "message": "no" } }), EmbeddingsError::NoList),
        ];
        for (body, error) in cases {
            assert_eq!(read_json(&body, 2), Err(error), "{body}");
        }
        for bytes in [&b"{\"data\": [{\"embedding\": [NaN]}]}"[..], b"", b"<html>", b"\xff"] {
            assert_eq!(read(bytes, 1), Err(EmbeddingsError::NoList));
        }
    }
}
