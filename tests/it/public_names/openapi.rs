//! The `OpenAPI` document as a list of lines: each parameter, body field, status, header and response field with its type, whatever
//! its schemas are called and however they are described.

use serde_json::Value;

use crate::support::described::operations;

/// One line for each name of the document.
pub(super) fn names(document: &Value) -> Vec<String> {
    let mut reader = Reader { document, open: Vec::new(), found: Vec::new() };
    for (method, path, operation) in operations(document) {
        reader.operation(&format!("{method} {path}"), operation);
    }
    for (name, operations) in fields(&document["webhooks"]) {
        reader.operation(&format!("WEBHOOK {name}"), &operations["post"]);
    }
    let headers = fields(&document["components"]["headers"]);
    reader.found.extend(headers.map(|(header, _)| format!("every response header {header}")));
    reader.found
}

struct Reader<'a> {
    document: &'a Value,
    /// The schemas that are being read, so that a recursive one ends.
    open: Vec<&'a str>,
    found: Vec<String>,
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

impl<'a> Reader<'a> {
    fn operation(&mut self, name: &str, operation: &'a Value) {
        self.found.push(format!("{name} operation {}", operation["operationId"].as_str().unwrap_or("-")));
        for scheme in items(&operation["security"]).flat_map(fields) {
            self.found.push(format!("{name} security {}", scheme.0));
        }
        for parameter in items(&operation["parameters"]) {
            let (location, parameter_name) = (&parameter["in"], &parameter["name"]);
            let prefix =
                format!("{name} {} {}", location.as_str().unwrap(), parameter_name.as_str().unwrap());
            self.schema(&prefix, &parameter["schema"], parameter["required"] == true);
        }
        let body = &operation["requestBody"];
        for (kind, content) in fields(&body["content"]) {
            self.schema(&format!("{name} body {kind} $"), &content["schema"], body["required"] == true);
        }
        for (status, response) in fields(&operation["responses"]) {
            self.found.push(format!("{name} {status}"));
            // Those of every response are listed once.
            for (header, _) in fields(&response["headers"]).filter(|(_, header)| header["$ref"].is_null()) {
                self.found.push(format!("{name} {status} header {header}"));
            }
            for (kind, content) in fields(&response["content"]) {
                for (code, _) in fields(&content["examples"]).filter(|_| status.as_str() >= "400") {
                    self.found.push(format!("{name} {status} error {code}"));
                }
                if status.as_str() < "400" {
                    self.schema(&format!("{name} {status} {kind} $"), &content["schema"], true);
                }
            }
        }
    }

    fn schema(&mut self, prefix: &str, schema: &'a Value, is_required: bool) {
        if let Some(reference) = schema["$ref"].as_str() {
            if self.open.contains(&reference) {
                return;
            }
            let pointer = reference.trim_start_matches('#');
            let target =
                self.document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
            self.open.push(reference);
            self.schema(prefix, target, is_required);
            self.open.pop();
            return;
        }
        for part in ["allOf", "oneOf", "anyOf"].into_iter().flat_map(|key| items(&schema[key])) {
            self.schema(prefix, part, is_required);
        }
        let mut kinds: Vec<_> = match &schema["type"] {
            Value::String(kind) => vec![kind.as_str()],
            kinds => items(kinds).filter_map(Value::as_str).collect(),
        };
        kinds.sort_unstable();
        if !kinds.is_empty() {
            let optional = if is_required { "" } else { "?" };
            self.found.push(format!("{prefix}{optional} {}", kinds.join("|")));
        }
        let required: Vec<_> = items(&schema["required"]).filter_map(Value::as_str).collect();
        for (field, value) in fields(&schema["properties"]) {
            self.schema(&format!("{prefix}.{field}"), value, required.contains(&field.as_str()));
        }
        if schema["items"].is_object() {
            self.schema(&format!("{prefix}[]"), &schema["items"], true);
        }
    }
}
