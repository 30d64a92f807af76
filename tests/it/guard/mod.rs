//! The outbound guard (reliability T-8), tested with one table of encodings through everything that accepts a tenant's URL: the
//! HTTP client, the configuration, tool calls, calendars and webhook deliveries. A canary listens on this machine and must never
//! be reached.

mod address_encodings;
mod canary;
mod client;
mod configuration;
mod outbound_calls;
mod proxy_environment;
