//! Both APIs: transport errors, invalid input, and the `OpenAPI` document.

mod bad_input;
mod document;
mod early_answers;
mod headers;
mod transport_errors;
mod typed_document;
