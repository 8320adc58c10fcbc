//! What is announced to this node.

use std::collections::HashMap;
use std::sync::Weak;

use async_nats::{Client, Message};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use plainwire_protocol::ChannelName;
use tokio::sync::{mpsc, oneshot};

use super::engine::Engine;
use crate::LogError;

/// What a channel's announcements are to be.
pub(super) enum Wish {
    /// They are to be heard, by this client.
    Heard(ChannelName, Client, oneshot::Sender<Result<(), LogError>>),
    Unheard(ChannelName),
}

/// Subscribes and unsubscribes, and hears. The client subscribes again by itself when it has connected again.
pub(super) async fn listen(engine: Weak<Engine>, mut wished: mpsc::UnboundedReceiver<Wish>) {
    let mut news: SelectAll<BoxStream<'static, (ChannelName, Message)>> = SelectAll::new();
    let mut subscribed: HashMap<ChannelName, oneshot::Sender<()>> = HashMap::new();
    loop {
        tokio::select! {
            wish = wished.recv() => {
                let (Some(wish), Some(engine)) = (wish, engine.upgrade()) else { return };
                match wish {
                    Wish::Heard(channel, client, asker) => {
                        let heard = match subscribed.contains_key(&channel) {
                            true => Ok(()),
                            false => subscribe(&engine, &channel, &client).await.map(|(heard, end)| {
                                news.push(heard);
                                subscribed.insert(channel, end);
                            }),
                        };
                        // It may have gone.
                        let _ = asker.send(heard);
                    }
                    // It may be followed again.
                    Wish::Unheard(channel) if engine.follows.contains(&channel) => {}
                    Wish::Unheard(channel) => drop(subscribed.remove(&channel)),
                }
            }
            Some((channel, message)) = news.next(), if !news.is_empty() => {
                let Some(engine) = engine.upgrade() else { return };
                engine.hear(&channel, &message);
            }
        }
    }
}

type News = (BoxStream<'static, (ChannelName, Message)>, oneshot::Sender<()>);

async fn subscribe(engine: &Engine, channel: &ChannelName, client: &Client) -> Result<News, LogError> {
    let subscribed = client.subscribe(engine.subjects.news(channel)).await;
    let messages = subscribed.map_err(|error| LogError::new(format!("NATS: {error}")))?;
    let (end, ended) = oneshot::channel();
    let channel = channel.clone();
    let heard = messages.map(move |message| (channel.clone(), message)).take_until(ended);
    Ok((heard.boxed(), end))
}
