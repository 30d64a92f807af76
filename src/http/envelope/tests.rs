//! Snapshots of every problem in every envelope, as readable tables.

use std::fmt::Write as _;
use std::time::Duration;

use http::header;
use http_body_util::BodyExt as _;

use super::*;
use crate::domain::event::{CursorExpiry, EventCursor, ExpiredCursor};
use crate::domain::identity::InvalidIdentity;
use crate::http::platform::EnqueueOptions;
use crate::http::widget::{AutomateOptions, ReplyOptions};

fn problems() -> Vec<Problem> {
    let retry_after = Duration::from_millis(1_500);
    let field = |field, text: &str| FieldError { field, text: text.to_owned() };
    let one = vec![field("text", "One is wrong.")];
    let three = vec![field("b", "First."), field("a", "Second."), field("b", "Third.")];
    let mut errors = vec![
        Error::Invalid(one),
        Error::Invalid(three),
        Error::Unauthenticated,
        Error::MissingScope("messages:write"),
        Error::OriginRefused,
        Error::TestRefused,
        Error::InvalidIdentity(InvalidIdentity::Expired),
        Error::CursorExpired(ExpiredCursor {
            expiry: CursorExpiry::Removed,
            resume: EventCursor { epoch: 0, number: 41 },
        }),
        Error::DeliveryUnderWay,
        Error::InsufficientBalance,
        Error::LimitReached { retry_after },
        Error::Overloaded { text: "The server is overloaded", retry_after },
        Error::IdempotencyKeyInFlight { retry_after },
        Error::IdempotencyKeyReused,
        Error::IdempotencyKeyMalformed,
        Error::Conflict("It is there already.".to_owned()),
        Error::NotConfigured("This server cannot keep secrets."),
        Error::Unavailable { outcome_unknown: false, source: Some("secret".into()) },
        Error::Unavailable { outcome_unknown: true, source: None },
        Error::internal("secret"),
    ];
    errors.extend(crate::domain::ids::not_found_errors("con_9s2kd81"));
    errors.extend(Failure::ALL.iter().map(|failure| Error::Processing(*failure)));
    let transport_errors = [
        TransportError::RouteNotFound,
        TransportError::MethodNotAllowed,
        TransportError::BodyTooLarge { limit: 65_536 },
        TransportError::BodyTimeout,
        TransportError::BodyIncomplete,
        TransportError::Panic,
    ];
    errors.into_iter().map(Problem::from).chain(transport_errors.map(Problem::from)).collect()
}

async fn table<O: RouteOptions>() -> String {
    let mut table = String::new();
    for problem in problems() {
        let response = ApiError::<O>::from(problem).into_response();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header_value =
            |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let code = header_value("rejoinder-error");
        write!(table, "{} {code}", head.status.as_u16()).unwrap();
        for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::CONNECTION] {
            if head.headers.contains_key(&name) {
                write!(table, " [{name}: {}]", header_value(name.as_str())).unwrap();
            }
        }
        writeln!(table, "\n    {}", std::str::from_utf8(&body).unwrap()).unwrap();
    }
    table
}

#[tokio::test]
async fn widget_api_errors() {
    insta::assert_snapshot!(table::<Widget>().await);
}

#[tokio::test]
async fn widget_message_errors() {
    insta::assert_snapshot!(table::<ReplyOptions>().await);
}

#[tokio::test]
async fn automate_errors() {
    insta::assert_snapshot!(table::<AutomateOptions>().await);
}

#[tokio::test]
async fn platform_api_errors() {
    insta::assert_snapshot!(table::<Platform>().await);
}

#[tokio::test]
async fn platform_message_errors() {
    insta::assert_snapshot!(table::<EnqueueOptions>().await);
}
