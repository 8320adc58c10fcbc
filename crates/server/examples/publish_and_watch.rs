//! Streams that compose: a watch is a `futures::Stream`, so `filter`, `map` and `take` work on it as on any other.
//!
//! `cargo run -p plainwire --example publish_and_watch`

use std::future::ready;

use futures_util::StreamExt as _;
use plainwire::{Config, Event, From, Plainwire};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config =
        Config::parse("[server]\nengine = \"memory\"\n[channel.\"sensor/*\"]\n", "publish_and_watch")?;
    let live = Plainwire::start(config).await?;

    // The first three alarms, whenever they come. However slow this reader is, it holds one batch of messages at most.
    let watch = live.watch("sensor/attic", From::Now).await?;
    let alarms = watch
        .filter_map(|event| {
            ready(match event {
                Ok(Event::Message(message)) => message.data.to::<Value>().ok(),
                _ => None,
            })
        })
        .filter(|reading| ready(reading["celsius"].as_i64() > Some(40)))
        .map(|reading| format!("{} degrees in the attic", reading["celsius"]))
        .take(3);
    let printing = tokio::spawn(alarms.for_each(async |alarm| println!("{alarm}")));

    // A second reader that is never satisfied: the shutdown ends its stream.
    let all = live.watch("sensor/attic", From::Oldest).await?;
    let counting = tokio::spawn(all.filter(|event| ready(matches!(event, Ok(Event::Message(_))))).count());

    for celsius in [20, 41, 39, 45, 44, 50, 21] {
        let reading = json!({ "celsius": celsius });
        live.publish("sensor/attic", &reading).await?;
    }
    printing.await?;
    live.shutdown().await;
    println!("{} readings until the end", counting.await?);
    Ok(())
}
