//! The `Accept` header.

use http::{HeaderMap, header};

/// Whether a client asks for a stream of events: it names that type, and prefers no JSON. A wildcard does not ask for it.
pub(in crate::http) fn wants_event_stream(headers: &HeaderMap) -> bool {
    wants(headers, "text/event-stream")
}

/// Whether a client asks for JSON values on lines of their own, in the same way.
pub(in crate::http) fn wants_ndjson(headers: &HeaderMap) -> bool {
    wants(headers, "application/x-ndjson")
}

fn wants(headers: &HeaderMap, wanted: &str) -> bool {
    let (mut stream, mut json) = (0.0_f32, 0.0_f32);
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parameters = range.split(';').map(|parameter| parameter.trim().to_ascii_lowercase());
        let media_type = parameters.next().unwrap_or_default();
        let quality = parameters.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok());
        let quality: f32 = quality.unwrap_or(1.0);
        if media_type == wanted {
            stream = stream.max(quality);
        } else if media_type == "application/json" {
            json = json.max(quality);
        }
    }
    stream > 0.0 && stream >= json
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_stream_is_sent_only_to_clients_that_name_it() {
        let cases = [
            (vec![], false),
            (vec!["*/*"], false),
            (vec!["text/*"], false),
            (vec!["application/json"], false),
            (vec!["text/event-stream"], true),
            (vec!["Text/Event-Stream; charset=utf-8"], true),
            (vec!["application/json, text/event-stream"], true),
            (vec!["application/json, text/event-stream;q=0.9"], false),
            (vec!["text/event-stream, application/json; q=0.5"], true),
            (vec!["text/event-stream;q=0"], false),
            (vec!["*/*", "text/event-stream; Q=0.1"], true),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(wants_event_stream(&headers), expected, "{values:?}");
        }
    }
}
