//! The errors that several operations have in common, which the document contains once.

use std::collections::HashMap;

use http::StatusCode;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::Components;
use utoipa::openapi::{Ref, RefOr, Response};

use super::complete::operations;

/// Replaces equal errors by references to one of them, which is named by its status.
pub(super) fn share_errors(paths: &mut Paths, components: &mut Components) {
    let text = |response: &RefOr<Response>| serde_json::to_string(response).unwrap_or_default();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for_each_error(paths, &mut |_, response| *counts.entry(text(response)).or_default() += 1);
    let mut names: HashMap<String, String> = HashMap::new();
    for_each_error(paths, &mut |status, response| {
        let text = text(response);
        if counts.get(&text).is_none_or(|count| *count == 1) {
            return;
        }
        let name = names.entry(text).or_insert_with(|| {
            let name = unused_name(status, components);
            components.responses.insert(name.clone(), response.clone());
            name
        });
        *response = RefOr::Ref(Ref::new(format!("#/components/responses/{name}")));
    });
}

fn for_each_error(paths: &mut Paths, edit: &mut dyn FnMut(&str, &mut RefOr<Response>)) {
    for operation in operations(paths) {
        for (status, response) in &mut operation.responses.responses {
            if status.as_str() >= "400" {
                edit(status, response);
            }
        }
    }
}

/// The name of the next response with this status: `NotFound`, `NotFound2`, and so on.
fn unused_name(status: &str, components: &Components) -> String {
    let reason = StatusCode::from_bytes(status.as_bytes()).ok().and_then(|status| status.canonical_reason());
    let reason = reason.unwrap_or("Error").replace(' ', "");
    let mut name = reason.clone();
    let mut number = 1;
    while components.responses.contains_key(&name) {
        number += 1;
        name = format!("{reason}{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::http::openapi;

    #[test]
    fn equal_errors_of_operations_are_one_response() {
        let document = serde_json::to_value(openapi()).unwrap();
        let shared = document["components"]["responses"].as_object().unwrap();
        let mut used = BTreeSet::new();
        let mut own = BTreeSet::new();
        let items = document["paths"].as_object().unwrap().values().filter_map(Value::as_object);
        for operation in items.flat_map(|item| item.values()) {
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                match response["$ref"].as_str() {
                    Some(reference) => drop(used.insert(reference.rsplit('/').next().unwrap())),
                    None if status.as_str() < "400" => {}
                    None => assert!(own.insert(response.to_string()), "{status} is there twice: {response}"),
                }
            }
        }

        assert_eq!(used, shared.keys().map(String::as_str).collect());
        assert!(shared.values().all(|response| !own.contains(&response.to_string())));
    }
}
