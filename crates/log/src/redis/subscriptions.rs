//! Which channels are announced to this node.

use std::sync::Weak;
use std::time::Instant;

use plainwire_protocol::ChannelName;
use redis::RedisError;
use tokio::sync::{mpsc, oneshot};

use super::engine::Engine;
use super::link::{Live, failed};
use super::masters::Master;
use crate::LogError;

/// Channels that are subscribed to with one request.
pub(super) const AT_ONCE: usize = 256;

/// What a channel's announcements are to be.
pub(super) enum Wish {
    Heard(ChannelName, oneshot::Sender<Result<(), LogError>>),
    Unheard(ChannelName),
    /// They are heard of from another master.
    Moved(ChannelName),
}

/// Subscribes and unsubscribes, what is wished together at once.
pub(super) async fn grant(
    engine: Weak<Engine>,
    master: Weak<Master>,
    mut wished: mpsc::UnboundedReceiver<Wish>,
) {
    let mut wishes = Vec::new();
    while wished.recv_many(&mut wishes, AT_ONCE).await > 0 {
        let (Some(engine), Some(master)) = (engine.upgrade(), master.upgrade()) else { return };
        let live = master.link.live(Instant::now() + engine.options.timeout).await;
        let (mut heard, mut unheard, mut askers) = (Vec::new(), Vec::new(), Vec::new());
        for wish in wishes.drain(..) {
            match wish {
                Wish::Heard(channel, asker) => {
                    heard.push(engine.keys(&channel).news());
                    askers.push(asker);
                }
                // It may be followed again.
                Wish::Unheard(channel) if engine.follows.contains(&channel) => {}
                Wish::Unheard(channel) | Wish::Moved(channel) => unheard.push(engine.keys(&channel).news()),
            }
        }
        unheard.retain(|news| !heard.contains(news));
        let result = match live {
            Ok(live) => change_subscriptions(&master, &live, &heard, &unheard).await,
            Err(error) => Err(error),
        };
        for asker in askers {
            // It may have gone.
            let _ = asker.send(result.clone());
        }
    }
}

async fn change_subscriptions(
    master: &Master,
    live: &Live,
    heard: &[String],
    unheard: &[String],
) -> Result<(), LogError> {
    let mut connection = live.connection.clone();
    let changes = async {
        if !unheard.is_empty() {
            connection.unsubscribe(unheard).await?;
        }
        if !heard.is_empty() {
            connection.subscribe(heard).await?;
        }
        Ok(())
    };
    changes.await.map_err(|error: RedisError| {
        master.link.down(Some(live.number), failed(&error));
        failed(&error)
    })
}
