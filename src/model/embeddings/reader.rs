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
