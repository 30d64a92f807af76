//! What was sent to a webhook endpoint, and what is sent again.
