//! Bodies that are made to cost much, and bytes that are no requests.

use bytes::Bytes;

/// A document's name, its type and its bytes.
pub type Document = (&'static str, &'static str, Bytes);

pub fn documents() -> [Document; 5] {
    let words: Vec<_> = (0..60_000).map(|number| format!("word{} ", number % 5_000)).collect();
    let object = |number| format!("{number} 0 obj << /Kids [{} 0 R] >> endobj\n", number + 1);
    let objects: Vec<_> = (1..20_000).map(object).collect();
    let pdf = format!("%PDF-1.7\n{}trailer << /Root 1 0 R >>", objects.concat());
    [
        ("words", "text/plain", words.concat().into()),
        ("nested", "text/html", "<div>".repeat(60_000).into()),
        ("table", "text/html", ("<table>".to_owned() + &"<tr><td>a<td>b".repeat(20_000)).into()),
        ("lists", "text/markdown", "- > ".repeat(20_000).into()),
        ("objects", "application/pdf", pdf.into()),
    ]
}

pub fn broken_requests(key: &str) -> [Vec<u8>; 8] {
    let line = "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let head = format!("{line}authorization: Bearer {key}\r\n");
    let with_body = |body: &str| format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    [
        with_body("{\"sender_id\": "),
        with_body(&"[".repeat(60_000)),
        with_body("{\"sender_id\": \"\\ud800\", \"sender_type\": 7, \"text\": null}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nZZ\r\nno chunk\r\n0\r\n\r\n").into_bytes(),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n").into_bytes(),
        format!("{head}content-length: 99999999999\r\n\r\n{{").into_bytes(),
        format!("GET /v1/balance HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(600_000)).into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a handshake of TLS\r\n\r\n".to_vec(),
    ]
}
