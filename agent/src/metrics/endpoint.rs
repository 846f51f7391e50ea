//! `/metrics` for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::prometheus;
use super::source::Source;

/// The path `/metrics`.
pub fn router(source: Arc<Source>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(source)
}

async fn metrics(State(source): State<Arc<Source>>) -> Response {
    match source.collect(0).await {
        Some(collected) => (
            [(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)],
            prometheus::text(&collected, source.resource()),
        )
            .into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the kernel's counters cannot be read yet\n",
        )
            .into_response(),
    }
}
