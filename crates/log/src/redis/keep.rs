//! The connection: made, kept, and made again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use plainwire_protocol::ChannelName;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, Value};

use super::engine::Engine;
use super::link::{Address, Live, failed};
use super::masters::Master;
use super::subscriptions::AT_ONCE;
use crate::LogError;

/// How often it is asked whether Redis is still there, and where.
pub(super) const PULSE: Duration = Duration::from_secs(1);
/// How long to wait before connecting again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Engine {
    /// The channels of a master that are followed.
    fn followed_at(&self, master: &Arc<Master>) -> Vec<ChannelName> {
        let mut all = self.follows.all();
        all.retain(|channel| Arc::ptr_eq(&self.masters.of(channel), master));
        all
    }

    /// Subscribes to every channel of a master that is followed.
    async fn subscribe_all(
        &self,
        master: &Arc<Master>,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), LogError> {
        for some in self.followed_at(master).chunks(AT_ONCE) {
            let news: Vec<_> = some.iter().map(|channel| self.keys(channel).news()).collect();
            connection.subscribe(&news).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Looks at every channel of a master that is followed: something may have been announced while nobody listened.
    async fn look_at_all(&self, master: &Arc<Master>) {
        for some in self.followed_at(master).chunks(AT_ONCE) {
            let looks = some.iter().map(|channel| self.look(channel));
            for looked in futures_util::future::join_all(looks).await {
                if let Err(error) = looked {
                    tracing::warn!(%error, "cannot look at a channel");
                }
            }
        }
    }
}

/// Keeps a connection for as long as the engine is there.
pub(super) async fn keep(engine: Weak<Engine>, master: Arc<Master>, address: Address) {
    let mut backoff = BACKOFF.0;
    let mut numbers = 0_u64..;
    loop {
        let Some(strong) = engine.upgrade().filter(|_| !master.link.is_closed()) else { return };
        let number = numbers.next().expect("numbers do not end");
        match connect(&strong, &master, &address, number).await {
            Ok((to, live)) => {
                backoff = BACKOFF.0;
                tracing::info!(redis = %to, "connected to Redis");
                master.link.up(live.clone());
                strong.look_at_all(&master).await;
                let watched = watch(&strong, &master, &address, &to, &live);
                let ended = master.link.ended(number);
                tokio::pin!(watched, ended);
                futures_util::future::select(watched, ended).await;
                if let Err(error) = master.link.now() {
                    tracing::warn!(%error, "the connection to Redis is gone");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection to Redis");
                master.link.down(None, error);
            }
        }
        drop(strong);
        tokio::time::sleep(backoff.mul_f64(fastrand::f64())).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// A connection with everything that a connection has: scripts, and subscriptions.
async fn connect(
    engine: &Arc<Engine>,
    master: &Arc<Master>,
    address: &Address,
    number: u64,
) -> Result<(redis::ConnectionAddr, Live), LogError> {
    let to = address.find().await?;
    let (ears, heard) = (Arc::downgrade(engine), Arc::downgrade(master));
    let ear = move |push: PushInfo| {
        if let (Some(engine), Some(master)) = (ears.upgrade(), heard.upgrade()) {
            engine.hear(&master, push, number);
        }
        Ok::<(), ()>(())
    };
    let mut connection = address.connect(&to, ear).await?;
    engine.scripts.load(&mut connection).await.map_err(|error| failed(&error))?;
    engine.subscribe_all(master, &mut connection).await?;
    Ok((to, Live { connection, number }))
}

/// Takes the pulse of a connection until it has none, or until the master is elsewhere.
async fn watch(engine: &Engine, master: &Master, address: &Address, to: &redis::ConnectionAddr, live: &Live) {
    loop {
        tokio::time::sleep(PULSE).await;
        let ping = engine.run::<Value>(master, live, &redis::cmd("PING")).await;
        if let Err(error) = ping {
            return master.link.down(Some(live.number), error);
        }
        if address.may_move()
            && let Ok(now) = address.find().await
            && now != *to
        {
            let why = format!("the sentinels say that the master is at {now} now");
            return master.link.down(Some(live.number), LogError::new(why));
        }
    }
}
