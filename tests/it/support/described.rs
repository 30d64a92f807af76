//! Compares responses that the test client receives with the `OpenAPI` document of the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use http::{HeaderMap, Method};
use jsonschema::{Draft, Registry, RegistryBuilder, Validator};
use serde_json::{Value, json};

/// The codes of answers that are given before an operation: without a route, for a broken request, and without room on the server.
const OF_NO_OPERATION: [&str; 5] =
    ["route_not_found", "method_not_allowed", "body_timeout", "body_incomplete", "overloaded"];

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    with_responses(serde_json::to_value(rejoinder::http::openapi()).expect("the document is JSON"))
});

/// The compiled schemas by their pointers into the document.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// The document that the server serves.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// The operations of a document: method, path and description.
pub fn operations(document: &Value) -> impl Iterator<Item = (String, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("a path").iter().filter(|(key, _)| *key != "parameters");
        methods.map(|(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

/// A document in which each operation has its responses itself, not by reference.
pub fn with_responses(mut document: Value) -> Value {
    let shared = document["components"]["responses"].take();
    let paths = document["paths"].as_object_mut().expect("paths");
    let operations = paths.values_mut().flat_map(|item| item.as_object_mut().expect("a path").values_mut());
    for responses in operations.filter_map(|operation| operation.get_mut("responses")?.as_object_mut()) {
        for response in responses.values_mut() {
            let name =
                response["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/responses/"));
            if let Some(found) = name.map(|name| shared[name].clone()) {
                *response = found;
            }
        }
    }
    document
}

/// The address of the document in [`COMPONENTS`].
const ADDRESS: &str = "urn:rejoinder:openapi";

/// The components, which are prepared once: that takes most of the time of a small schema.
static COMPONENTS: LazyLock<Registry<'static>> = LazyLock::new(|| {
    let components = json!({ "components": DOCUMENT["components"] });
    let registry = Registry::new().draft(Draft::Draft202012).add(ADDRESS, components);
    registry.and_then(RegistryBuilder::prepare).expect("the components are schemas")
});

/// A schema for a part of the document, which may refer to its components.
pub fn validator(schema: &Value) -> Validator {
    let text = schema.to_string().replace("\"#/components/", &format!("\"{ADDRESS}#/components/"));
    let schema = serde_json::from_str(&text).expect("only addresses were changed");
    let options = jsonschema::options().offline().should_validate_formats(true).with_registry(&COMPONENTS);
    options.build(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// Panics with the reason if the value does not match the schema.
pub fn assert_valid(about: &str, validator: &Validator, value: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{about} does not match its schema: {errors:#?}\n{value:#}");
}

/// Whether [`check`] is on.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// From now on each response that this process receives is compared with the document. That takes a second or more, so one test of each
/// resource does it.
pub fn check_responses() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Panics if the response is not as the document describes it. A request that no operation takes is not checked.
pub fn check(method: &Method, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    if !IS_ON.load(Ordering::Relaxed) {
        return;
    }
    let Some((template, operation)) = find(method, path) else { return };
    let code = headers.get("rejoinder-error").and_then(|code| code.to_str().ok());
    if code.is_some_and(|code| OF_NO_OPERATION.contains(&code)) {
        return;
    }
    let about = format!("{method} {template} {status}");
    let response = operation["responses"].get(status.to_string());
    let response = response.unwrap_or_else(|| panic!("{about} is not described: {code:?}"));
    if let Some(code) = code {
        let codes = &response["headers"]["Rejoinder-Error"]["schema"]["enum"];
        let is_described = codes.as_array().is_some_and(|codes| codes.contains(&json!(code)));
        assert!(is_described, "{about}: the code {code} is not described: {codes}");
    }
    check_headers(&about, response, headers);
    let Some(kind) = headers.get("content-type").and_then(|kind| kind.to_str().ok()) else { return };
    let kind = kind.split(';').next().unwrap_or_default();
    let content = &response["content"][kind];
    assert!(content.is_object(), "{about}: {kind} is not described");
    if kind == "application/json" {
        let value = serde_json::from_slice(body).expect("a JSON body");
        let pointer = format!("{about} {kind}");
        let compiled = Arc::clone(
            VALIDATORS
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .entry(pointer)
                .or_insert_with(|| Arc::new(validator(&content["schema"]))),
        );
        assert_valid(&about, &compiled, &value);
    }
}

/// Headers of our own and limits are described.
fn check_headers(about: &str, response: &Value, headers: &HeaderMap) {
    let described: Vec<String> = response["headers"]
        .as_object()
        .into_iter()
        .flat_map(|headers| headers.keys().map(|name| name.to_ascii_lowercase()))
        .collect();
    let is_ours = |name: &&str| {
        ["rejoinder-", "ratelimit", "x-ratelimit-", "idempotent-", "retry-after", "x-request-id"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for name in headers.keys().map(http::HeaderName::as_str).filter(is_ours) {
        assert!(described.iter().any(|found| found == name), "{about}: the header {name} is not described");
    }
}

/// The operation of a request, with the template of its path. A path without a parameter there comes before one with it.
fn find(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let method = method.as_str().to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let names: Vec<&str> = template.split('/').collect();
        names.len() == parts.len()
            && names.iter().zip(&parts).all(|(name, part)| name.starts_with('{') || name == part)
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let fitting = paths.iter().filter(|(template, _)| fits(template));
    let (template, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(&method).map(|operation| (template.as_str(), operation))
}
