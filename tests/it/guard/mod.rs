//! The guard (reliability T-8), tried through all that a tenant can send a URL into: what is configured, a
//! webhook tool's call, a calendar on a server, a webhook's delivery. Canaries listen on this machine, and must never be reached.

mod address_encodings;
mod canary;
mod configuration;
mod outbound_calls;
mod proxy_environment;
