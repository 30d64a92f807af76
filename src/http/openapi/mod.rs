//! The description of both doors, made from the very declarations that the router is made from.

mod errors;
mod schemas;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder};

pub(super) use errors::{
    BaseErrors, BeginErrors, BillingErrors, BookingNotFound, CalendarNotFound, CalendarUnavailable,
    CallErrors, ConfigErrors, ConversationNotFound, CreateErrors, DeliveryInProgress, DeliveryNotFound,
    DocumentErrors, DocumentNotFound, EndpointDisabled, EndpointErrors, EndpointNotFound, EventsRemoved,
    FeedErrors, HistoryErrors, KnowledgeBaseNotFound, ManagedByFile, MessageNotFound, QueryErrors,
    ReadErrors, RefreshErrors, ReplyErrors, SearchErrors, SendErrors, SwitchErrors, TooManyReaders,
    ToolNotFound, TurnNotFound, UpdateErrors, UploadErrors, WriteErrors,
};
pub(super) use schemas::{
    Acknowledgement, BasePage, BookingPage, CalendarPage, ConversationPage, CreatedConversation,
    DeliveryPage, DocumentPage, EndpointPage, EndpointWithSecret, EventPage, FoundPassages, LedgerPage,
    MessagePage, OneBalance, OneBase, OneBooking, OneCalendar, OneConversation, OneDelivery, OneDocument,
    OneDocumentWithText, OneEndpoint, OneLink, OneReplay, OneTool, OneTrace, OneTurn, RefreshedTool,
    TestedCall, ToolPage,
};

use super::{platform, widget};

/// The `OpenAPI` 3.1 document of this server.
#[must_use]
pub fn openapi() -> OpenApi {
    let widget = widget::routes(&|_, routes| routes).into_openapi();
    let platform = platform::routes().into_openapi();
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    let head = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Rejoinder")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(env!("CARGO_PKG_DESCRIPTION")))
                .license(Some(License::new("MIT OR Apache-2.0")))
                .build(),
        )
        .tags(Some([
            tag("widget", "A chat widget in a browser; a conversation's UUID is its only credential."),
            tag("platform", "A back end with a bearer key."),
        ]))
        .build();
    let mut document = head.nest("/api", widget).nest("/v1", platform);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key of the workspace: `sk_…`, made by `rejoinder keys create`."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(key));
    document
}
