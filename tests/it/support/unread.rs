//! Requests of clients that read no response.

/// How a client reads nothing.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// Its requests are pipelined.
    Http1,
    /// Each of its requests is a stream with this window; the window of the connection is the largest.
    Http2 { window: u32 },
}

/// The bytes of a new connection with this number of requests for a path.
pub fn requests(protocol: Protocol, path: &str, key: &str, count: u32) -> Vec<u8> {
    match protocol {
        Protocol::Http1 => {
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
            request.repeat(usize::try_from(count).unwrap()).into_bytes()
        }
        Protocol::Http2 { window } => {
            let fields = [
                // GET, http.
                vec![0x82, 0x86],
                field(1, "x"),
                field(4, path),
                field(23, &format!("Bearer {key}")),
            ];
            let streams = (0..count).map(|number| frame(1, 5, 2 * number + 1, &fields.concat()));
            let settings = frame(4, 0, 0, &[&[0_u8, 4][..], &window.to_be_bytes()].concat());
            let window_update = frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes());
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            [preface, settings, window_update].into_iter().chain(streams).flatten().collect()
        }
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header with the name that has this index in HPACK's static table.
fn field(index: u8, value: &str) -> Vec<u8> {
    assert!(value.len() < 127, "the length is one byte");
    [&[0x40 | index, u8::try_from(value.len()).unwrap()][..], value.as_bytes()].concat()
}
