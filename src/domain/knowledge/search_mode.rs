//! The mode of a search.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// The method of finding passages.
    SearchMode {
        /// Full text alone.
        Words = "words",
        /// Similarity of embedding vectors alone.
        Vectors = "vectors",
        /// Both, fused; full text alone if there are no vectors.
        Both = "both",
    }
}
