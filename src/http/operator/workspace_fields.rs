//! The fields of workspaces that no other resource has.

use std::time::Duration;

use serde_json::value::RawValue;
use utoipa::openapi::Type;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema};

use crate::domain::allow_hosts::AllowHosts;
use crate::domain::invalid_field::check_slug;
use crate::domain::retention::{RetentionPatch, parse_days};
use crate::domain::schema::formatted;
use crate::http::fields::{
    Amount, AnyText, Clearable, FieldType, Violation, clearable_schema, nested_values, strings,
};
use crate::service::workspaces::PricingPatch;

/// The most private hosts of a workspace.
const MAX_HOSTS: usize = 100;

/// The slug of a workspace.
#[derive(Debug)]
pub(super) enum Slug {}

impl FieldType for Slug {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let Some(slug) = AnyText::check(raw)? else { return Ok(None) };
        let rule = "must be 1 to 64 lower-case letters, digits, hyphens or underscores";
        if check_slug(&slug).is_ok() { Ok(Some(slug)) } else { Err(Violation::rule(rule)) }
    }

    fn schema() -> Schema {
        let pattern = Some("^[a-z0-9_-]{1,64}$");
        ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build().into()
    }
}

/// Prices of a reply by the type of its conversation.
#[derive(Debug)]
pub(super) enum Prices {}

impl FieldType for Prices {
    type Value = PricingPatch;

    fn check(raw: &RawValue) -> Result<Option<PricingPatch>, Violation> {
        let [widget, test, api] = nested_values::<Amount, 3>(raw, ["widget", "test", "api"])?;
        Ok(Some(PricingPatch { widget, test, api }))
    }

    fn schema() -> Schema {
        let object = ObjectBuilder::new().schema_type(Type::Object);
        let object = object.property("widget", <Amount>::schema()).property("test", <Amount>::schema());
        let object = object.property("api", <Amount>::schema());
        object.additional_properties(Some(AdditionalProperties::FreeForm(false))).build().into()
    }
}

/// A period of a retention in days.
#[derive(Debug)]
enum Period {}

impl FieldType for Period {
    type Value = Duration;

    fn check(raw: &RawValue) -> Result<Option<Duration>, Violation> {
        let period = AnyText::check(raw)?.and_then(|text| parse_days(&text));
        let rule = || Violation::rule("must be from 1d to 36525d, such as \"365d\"");
        period.map(Some).ok_or_else(rule)
    }

    fn schema() -> Schema {
        // 1 to 36525.
        let days = "[1-9][0-9]{0,3}|[12][0-9]{4}|3[0-5][0-9]{3}|36[0-4][0-9]{2}|365[01][0-9]|3652[0-5]";
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^({days})d$"))).build().into()
    }
}

/// The periods of a retention; null removes one.
#[derive(Debug)]
pub(super) enum RetentionPeriods {}

impl FieldType for RetentionPeriods {
    type Value = RetentionPatch;

    fn check(raw: &RawValue) -> Result<Option<RetentionPatch>, Violation> {
        let [conversations, journals, bookings] =
            nested_values::<Clearable<Period>, 3>(raw, ["conversations", "journals", "bookings"])?;
        Ok(Some(RetentionPatch { conversations, journals, bookings }))
    }

    fn schema() -> Schema {
        let object = ObjectBuilder::new().schema_type(Type::Object);
        let period = clearable_schema::<Clearable<Period>>;
        let object = object.property("conversations", period());
        let object = object.property("journals", period()).property("bookings", period());
        object.additional_properties(Some(AdditionalProperties::FreeForm(false))).build().into()
    }
}

/// A list of private hosts.
#[derive(Debug)]
pub(super) enum Hosts {}

impl FieldType for Hosts {
    type Value = Vec<String>;

    fn check(raw: &RawValue) -> Result<Option<Vec<String>>, Violation> {
        let hosts = strings(raw)?;
        if hosts.len() > MAX_HOSTS {
            return Err(Violation::rule(format!("must not have more than {MAX_HOSTS} hosts")));
        }
        let rule = "must be a list of hosts, each `host` or `host:port`, without scheme or path";
        let hosts = AllowHosts::parse(&hosts).map_err(|_| Violation::rule(rule))?;
        Ok(Some(hosts.entries()))
    }

    fn schema() -> Schema {
        ArrayBuilder::new().items(formatted("host")).max_items(Some(MAX_HOSTS)).build().into()
    }
}
