//! The functions of the store on both databases.

mod admission;
mod booking_holds;
mod byte_pages;
mod context_reads;
mod decisions;
mod delivery_claims;
mod epoch;
mod erasures;
mod failures;
mod identities;
mod integrity;
mod keys;
mod knowledge;
mod open_turns;
mod ownership;
mod passage_vectors;
mod plans;
mod pool;
mod schema;
mod stream_processes;
mod token_budgets;
mod usage;
mod webhook_endpoints;
