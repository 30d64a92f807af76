//! What both doors do alike: where a request falls off before a handler sees it, and the document of their routes.

mod bad_input;
mod document;
mod early_answers;
mod transport_errors;
