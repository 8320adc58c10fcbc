//! Live updates inside an existing axum app.
//!
//! `cargo run -p plainwire --example embed_axum`, then `curl -N localhost:3000/live/orders?live=sse` and
//! `curl -X POST localhost:3000/order`. Given an argument, it listens there, and ends after one order.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use plainwire::{Config, From, Plainwire};

/// An ordinary handler of the app: it does its work, then tells whoever watches.
async fn order(State(live): State<Plainwire>) -> Result<String, StatusCode> {
    let published = live.publish("orders", &serde_json::json!({"item": "tea"})).await;
    let applied = published.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{}\n", applied.position))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Everybody may watch the orders; only the app itself publishes.
    let config =
        Config::parse("[server]\nengine = \"memory\"\n[channel.orders]\nallow.watch = true\n", "embed_axum")?;
    let live = Plainwire::start(config).await?;

    let app = Router::new()
        .route("/order", post(order))
        .nest_service("/live", live.service())
        .with_state(live.clone());

    let address = std::env::args().nth(1);
    let listener = tokio::net::TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut orders = live.watch("orders", From::Now).await?;
    let closing = live.clone();
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            if address.is_some() {
                let _ = orders.next_message().await;
            } else {
                let _ = tokio::signal::ctrl_c().await;
            }
            // Streams end here, so that the app's own shutdown need not wait for them.
            closing.shutdown().await;
        })
        .await?;
    Ok(())
}
