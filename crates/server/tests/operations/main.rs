//! What whoever runs the server is told: metrics, health, the access log, the admin listener, the OpenAPI document.

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod admin;
mod metrics;
mod scrape;
