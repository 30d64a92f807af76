//! A conversation as one document.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde::Deserialize;
use utoipa::IntoParams;

use super::list::InvalidQuery;
use crate::domain::ids::ConversationId;
use crate::domain::transcript::{ExportFormat, ExportedConversation};
use crate::http::describe::{Errors, NotFound, WriteUnavailable};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Export, PathParam, QueryParams};
use crate::http::fields::{Choice, check_choice};
use crate::http::state::AppState;
use crate::service::export_conversation;

/// The formats of an export.
#[derive(Debug)]
pub(super) enum Formats {}

impl Choice for Formats {
    type Value = ExportFormat;

    fn words() -> Vec<&'static str> {
        ExportFormat::ALL.iter().map(|format| format.as_str()).collect()
    }
}

/// The query of an export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `json` by default.
    #[param(inline, value_type = Option<ExportFormat>)]
    format: Option<String>,
}

type ExportErrors = Errors<Platform, (Export, InvalidQuery, NotFound<ConversationId>, WriteUnavailable)>;

/// Export a conversation.
///
/// The document has all messages, with the calls of each reply. It is not in an envelope. If an error interrupts it, the
/// response ends without its last chunk. Each export is entered into the audit log.
#[utoipa::path(
    get, path = "/conversations/{id}/export", tag = "platform", operation_id = "exportConversation",
    security(("bearer" = ["export"])), params(("id" = inline(ConversationId), Path, description = "con_…"), ExportQuery),
    responses(
        (status = 200, description = "The document", content(
            (ExportedConversation = "application/json"),
            (String = "text/markdown"),
        ), headers(("Content-Disposition" = String, description = "`attachment`, with a name for the file"))),
        ExportErrors,
    ),
)]
pub(super) async fn export(
    State(state): State<AppState>,
    method: Method,
    Export(account, _): Export,
    PathParam(name): PathParam,
    QueryParams(query, _): QueryParams<ExportQuery>,
) -> Result<Response, ApiError<Platform>> {
    let format = check_choice::<Formats>("format", query.format.as_deref())?.unwrap_or(ExportFormat::Json);
    // The response to HEAD has no body.
    let (services, is_sent) = (&state.services, method != Method::HEAD);
    let (id, document) = export_conversation::export(services, &account, &name, format, is_sent).await?;
    let mut response = Body::from_stream(document).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    let disposition = format!("attachment; filename=\"{id}.{}\"", format.extension());
    // An id has letters, digits and an underscore, so this cannot fail.
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}
