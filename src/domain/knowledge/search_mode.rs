//! By what a search goes.

use crate::domain::string_enum::string_enum;

string_enum! {
    /// By what passages are found.
    SearchMode {
        /// Full text alone.
        Words = "words",
        /// Nearness of meaning alone, as an embeddings model sees it.
        Vectors = "vectors",
        /// Both, fused; full text alone where there are no vectors.
        Both = "both",
    }
}
