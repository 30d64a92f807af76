//! Parses the response of an endpoint into vectors, one for each text.

use serde::Deserialize;

use super::EmbeddingsError;
use crate::domain::vector::Vector;

#[derive(Deserialize)]
struct EmbeddingsResponse {
    data: Vec<EmbeddingData>,
}

#[derive(Deserialize)]
struct EmbeddingData {
    /// Some vendors omit it and keep the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Parses a response to `expected` texts.
pub(super) fn read(json: &[u8], expected: usize) -> Result<Vec<Vector>, EmbeddingsError> {
    let response: EmbeddingsResponse =
        serde_json::from_slice(json).map_err(|_| EmbeddingsError::Malformed)?;
    let actual = response.data.len();
    if actual != expected {
        return Err(EmbeddingsError::CountMismatch { expected, actual });
    }
    let mut vectors: Vec<Option<Vector>> = vec![None; expected];
    let mut length = None;
    for (position, item) in response.data.into_iter().enumerate() {
        if *length.get_or_insert(item.embedding.len()) != item.embedding.len() {
            return Err(EmbeddingsError::DimensionMismatch);
        }
        let vector = Vector::normalised(item.embedding).ok_or(EmbeddingsError::NotFinite)?;
        match vectors.get_mut(item.index.unwrap_or(position)) {
            Some(entry @ None) => *entry = Some(vector),
            // A repeated index, or one out of range, leaves a text without a vector.
            Some(Some(_)) | None => return Err(EmbeddingsError::Malformed),
        }
    }
    vectors.into_iter().collect::<Option<Vec<_>>>().ok_or(EmbeddingsError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(body: &serde_json::Value, expected: usize) -> Result<Vec<Vector>, EmbeddingsError> {
        read(body.to_string().as_bytes(), expected)
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
            (json!({ "data": [one] }), EmbeddingsError::CountMismatch { expected: 2, actual: 1 }),
            (json!({ "data": [one, one, one] }), EmbeddingsError::CountMismatch { expected: 2, actual: 3 }),
            (json!({ "data": [one, { "embedding": [1.0, 2.0] }] }), EmbeddingsError::DimensionMismatch),
            (json!({ "data": [one, { "embedding": [0.0] }] }), EmbeddingsError::NotFinite),
            (json!({ "data": [one, { "embedding": [1e39] }] }), EmbeddingsError::Malformed),
            (json!({ "data": [{ "embedding": [] }, { "embedding": [] }] }), EmbeddingsError::NotFinite),
            (json!({ "data": [one, { "embedding": [null] }] }), EmbeddingsError::Malformed),
            (json!({ "data": [one, { "embedding": "AACAPw==" }] }), EmbeddingsError::Malformed),
            (
                json!({ "data": [{ "index": 1, "embedding": [1.0] }, { "index": 1, "embedding": [1.0] }] }),
                EmbeddingsError::Malformed,
            ),
            (json!({ "data": [one, { "index": 2, "embedding": [1.0] }] }), EmbeddingsError::Malformed),
            (json!({ "error": { "message": "no" } }), EmbeddingsError::Malformed),
        ];
        for (body, error) in cases {
            assert_eq!(read_json(&body, 2), Err(error), "{body}");
        }
        for bytes in [&b"{\"data\": [{\"embedding\": [NaN]}]}"[..], b"", b"<html>", b"\xff"] {
            assert_eq!(read(bytes, 1), Err(EmbeddingsError::Malformed));
        }
    }
}
