//! The headers of responses, each with its schema.

use utoipa::PartialSchema as _;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Type};

use crate::domain::ids::TurnId;
use crate::domain::render::NoReplyReason;
use crate::domain::schema::{EVENT_CURSOR, pattern, words};

/// A header by its name in lower case: the name as the documentation writes it, and its description. None of a header without a
/// meaning of its own.
pub(in crate::http) fn describe_header(name: &str) -> Option<(&'static str, Header)> {
    let (name, text, schema): (_, _, RefOr<Schema>) = match name {
        "rejoinder-error" => ("Rejoinder-Error", "The stable code of the error", text()),
        "rejoinder-resume" => {
            ("Rejoinder-Resume", "The cursor to resume from", pattern(format!("^{EVENT_CURSOR}$")).into())
        }
        "rejoinder-turn" => {
            ("Rejoinder-Turn", "The id of the message's turn, if it has one", TurnId::schema())
        }
        "rejoinder-reason" => {
            let reasons = NoReplyReason::ALL.iter().map(|reason| reason.as_str());
            ("Rejoinder-Reason", "The reason that there will be no reply", words(reasons).into())
        }
        "rejoinder-warning" => ("Rejoinder-Warning", "Names what was sent and has no effect", text()),
        "idempotent-replayed" => (
            "Idempotent-Replayed",
            "`true` if this is the stored response of the same Idempotency-Key",
            words(["true"]).into(),
        ),
        "retry-after" => ("Retry-After", "The seconds to wait before the next attempt", count(1)),
        "www-authenticate" => ("WWW-Authenticate", "The scheme of the key", words(["Bearer"]).into()),
        _ => return None,
    };
    Some((name, header(text, schema)))
}

/// The headers of every response of both APIs.
pub(super) fn common() -> [(&'static str, Header); 8] {
    [
        ("X-Request-Id", header("The id of the request in the server's log", text())),
        ("Cache-Control", header("No response is stored", words(["no-store"]).into())),
        ("X-Content-Type-Options", header("No browser guesses the type", words(["nosniff"]).into())),
        (
            "RateLimit",
            header(
                "The requests that remain of the nearest limit, and the seconds until it is full again",
                pattern(r#"^"[^"]*";r=[0-9]+;t=[0-9]+$"#).into(),
            ),
        ),
        (
            "RateLimit-Policy",
            header(
                "The nearest limit: its requests, and its period in seconds",
                pattern(r#"^"[^"]*";q=[0-9]+;w=[0-9]+$"#).into(),
            ),
        ),
        ("X-RateLimit-Limit", header("The requests of the nearest limit", count(1))),
        ("X-RateLimit-Remaining", header("The requests that remain of it", count(0))),
        (
            "X-RateLimit-Reset",
            header(
                "The Unix time at which it is full again or, once exceeded, lets a request pass",
                count(0),
            ),
        ),
    ]
}

/// A header of this schema.
pub(in crate::http) fn header(description: &str, schema: RefOr<Schema>) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

fn text() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

fn count(minimum: i32) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(minimum)).into()
}
