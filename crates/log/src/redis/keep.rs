//! The connection: made, kept, and made again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, Value};

use super::engine::Engine;
use super::link::{Address, Live, failed};
use super::subscriptions::AT_ONCE;
use crate::LogError;

/// How often it is asked whether Redis is still there, and where.
pub(super) const PULSE: Duration = Duration::from_secs(1);
/// How long to wait before connecting again: random, up to a limit that doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Engine {
    /// Subscribes to every channel that is followed.
    async fn subscribe_all(&self, connection: &mut MultiplexedConnection) -> Result<(), LogError> {
        for some in self.follows.all().chunks(AT_ONCE) {
            let news: Vec<_> = some.iter().map(|channel| self.keys(channel).news()).collect();
            connection.subscribe(&news).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Looks at every channel that is followed: something may have been announced while nobody listened.
    async fn look_at_all(&self) {
        for some in self.follows.all().chunks(AT_ONCE) {
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
pub(super) async fn keep(engine: Weak<Engine>, address: Address) {
    let mut backoff = BACKOFF.0;
    let mut numbers = 0_u64..;
    loop {
        let Some(strong) = engine.upgrade().filter(|engine| !engine.link.is_closed()) else { return };
        let number = numbers.next().expect("numbers do not end");
        match connect(&strong, &address, number).await {
            Ok((to, live)) => {
                backoff = BACKOFF.0;
                tracing::info!(redis = %to, "connected to Redis");
                strong.link.up(live.clone());
                strong.look_at_all().await;
                let watched = watch(&strong, &address, &to, &live);
                let ended = strong.link.ended(number);
                tokio::pin!(watched, ended);
                futures_util::future::select(watched, ended).await;
                if let Err(error) = strong.link.now() {
                    tracing::warn!(%error, "the connection to Redis is gone");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection to Redis");
                strong.link.down(None, error);
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
    address: &Address,
    number: u64,
) -> Result<(redis::ConnectionAddr, Live), LogError> {
    let to = address.find().await?;
    let ears = Arc::downgrade(engine);
    let ear = move |push: PushInfo| {
        if let Some(engine) = ears.upgrade() {
            engine.hear(push, number);
        }
        Ok::<(), ()>(())
    };
    let mut connection = address.connect(&to, ear).await?;
    engine.scripts.load(&mut connection).await.map_err(|error| failed(&error))?;
    engine.subscribe_all(&mut connection).await?;
    Ok((to, Live { connection, number }))
}

/// Takes the pulse of a connection until it has none, or until the master is elsewhere.
async fn watch(engine: &Engine, address: &Address, to: &redis::ConnectionAddr, live: &Live) {
    loop {
        tokio::time::sleep(PULSE).await;
        let ping = engine.run::<Value>(live, &redis::cmd("PING")).await;
        if let Err(error) = ping {
            return engine.link.down(Some(live.number), error);
        }
        if address.may_move()
            && let Ok(now) = address.find().await
            && now != *to
        {
            let why = format!("the sentinels say that the master is at {now} now");
            return engine.link.down(Some(live.number), LogError::new(why));
        }
    }
}
