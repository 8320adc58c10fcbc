//! The servers that are written to, and which of them has which channels: one, or the masters of a Redis Cluster.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use plainwire_protocol::ChannelName;
use tokio::sync::{Notify, mpsc, watch};

use super::engine::Engine;
use super::keep::keep;
use super::keys::{Keys, LAST_SLOT};
use super::link::{Address, Link};
use super::subscriptions::{Wish, grant};
use super::writer::write;
use crate::waiting::Waiting;

/// Most appends sent at once, and bytes of them after which no further one is: Redis answers nobody else meanwhile.
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: u64 = 1 << 20;

/// A server that is written to.
pub(super) struct Master {
    pub(super) link: Link,
    pub(super) queue: Queue,
    /// Channels to be subscribed to or not, in order.
    pub(super) wishes: mpsc::UnboundedSender<Wish>,
}

/// Where appends wait.
#[derive(Default)]
pub(super) struct Queue {
    appends: Mutex<Appends>,
    bell: Notify,
}

#[derive(Default)]
struct Appends {
    waiting: VecDeque<Waiting>,
    /// Whether nobody will take any.
    is_over: bool,
}

/// Which master has which channels.
pub(super) struct Masters {
    prefix: String,
    /// Read by whoever appends, so that nothing is between two queues when it changes.
    routes: RwLock<Vec<Route>>,
    changes: watch::Sender<u64>,
    /// Rung when a server has not what it was thought to have.
    doubt: Notify,
}

/// Whose the slots are, up to one, after the route before it. Together they are without a gap.
pub(super) type Route = (u16, Arc<Master>);

impl Master {
    /// One that has yet to be [served](Master::serve), with what is wished of it.
    pub(super) fn new() -> (Arc<Master>, mpsc::UnboundedReceiver<Wish>) {
        let (wishes, wished) = mpsc::unbounded_channel();
        (Arc::new(Master { link: Link::new("Redis"), queue: Queue::default(), wishes }), wished)
    }

    /// Begins to send what waits, and to keep a connection if it is known where it is.
    pub(super) fn serve(
        self: &Arc<Master>,
        engine: &Arc<Engine>,
        wished: mpsc::UnboundedReceiver<Wish>,
        address: Option<Address>,
    ) {
        if let Some(address) = address {
            tokio::spawn(keep(Arc::downgrade(engine), self.clone(), address));
        }
        tokio::spawn(grant(Arc::downgrade(engine), Arc::downgrade(self), wished));
        tokio::spawn(write(engine.clone(), self.clone()));
    }

    /// Ends what is under way in the background.
    pub(super) fn close(&self) {
        self.link.close();
        self.queue.bell.notify_one();
    }
}

impl Queue {
    /// When the first began to wait.
    pub(super) fn first(&self) -> Option<Instant> {
        self.appends.lock().waiting.front().map(|waiting| waiting.since)
    }

    /// Resolves once something may have come.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// What is sent together next.
    pub(super) fn take(&self) -> Vec<Waiting> {
        let mut appends = self.appends.lock();
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += waiting.bytes;
            bytes <= MAX_BATCH_BYTES
        };
        let count = appends.waiting.iter().take(MAX_BATCH).take_while(fits).count().max(1);
        let count = count.min(appends.waiting.len());
        appends.waiting.drain(..count).collect()
    }

    /// Takes those out that are meant.
    pub(super) fn extract(&self, is_meant: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut appends = self.appends.lock();
        let (meant, others) = appends.waiting.drain(..).partition(is_meant);
        appends.waiting = others;
        Vec::from(meant as VecDeque<Waiting>)
    }

    /// Nobody will take any more. Gives those that wait.
    pub(super) fn end(&self) -> Vec<Waiting> {
        let mut appends = self.appends.lock();
        appends.is_over = true;
        appends.waiting.drain(..).collect()
    }

    /// Gives it back if nobody will take it.
    fn push(&self, waiting: Waiting, put: fn(&mut VecDeque<Waiting>, Waiting)) -> Option<Waiting> {
        let mut appends = self.appends.lock();
        if appends.is_over {
            return Some(waiting);
        }
        put(&mut appends.waiting, waiting);
        self.bell.notify_one();
        None
    }
}

impl Masters {
    pub(super) fn new(prefix: &str) -> Masters {
        Masters {
            prefix: prefix.to_owned(),
            routes: RwLock::default(),
            changes: watch::Sender::new(0),
            doubt: Notify::new(),
        }
    }

    /// The master of a channel.
    pub(super) fn of(&self, channel: &ChannelName) -> Arc<Master> {
        self.find(&self.routes.read(), channel).clone()
    }

    /// All of them, each once.
    pub(super) fn all(&self) -> Vec<Arc<Master>> {
        distinct(&self.routes.read())
    }

    /// Gives an append its place. Gives it back if everything is closed.
    pub(super) fn push(&self, waiting: Waiting) -> Option<Waiting> {
        let routes = self.routes.read();
        self.find(&routes, &waiting.append.channel).queue.push(waiting, VecDeque::push_back)
    }

    /// Takes appends back that were not looked at: they come before those that came later. Gives back those that nobody takes.
    pub(super) fn put_back(&self, again: Vec<Waiting>) -> Vec<Waiting> {
        let routes = self.routes.read();
        let put = |waiting: Waiting| {
            self.find(&routes, &waiting.append.channel).queue.push(waiting, VecDeque::push_front)
        };
        again.into_iter().rev().filter_map(put).collect()
    }

    /// Gives channels other masters; what waits goes along. What is under way meanwhile comes [back](Masters::put_back), and may then
    /// be after what was asked for later: neither was answered yet. Gives what was before.
    pub(super) fn change(&self, next: Vec<Route>) -> Vec<Route> {
        let mut routes = self.routes.write();
        let before = std::mem::replace(&mut *routes, next);
        for master in distinct(&before) {
            let is_elsewhere =
                |waiting: &Waiting| !Arc::ptr_eq(self.find(&routes, &waiting.append.channel), &master);
            for waiting in master.queue.extract(is_elsewhere) {
                let to = self.find(&routes, &waiting.append.channel);
                // Only masters without a slot are over.
                let taken = to.queue.push(waiting, VecDeque::push_back);
                debug_assert!(taken.is_none(), "a master with slots takes appends");
            }
        }
        self.changes.send_modify(|count| *count += 1);
        before
    }

    /// Told of each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A server says that a channel is elsewhere: it is time to ask where everything is.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// The master that had a channel by other routes.
    pub(super) fn find<'a>(&self, routes: &'a [Route], channel: &ChannelName) -> &'a Arc<Master> {
        if let [(_, only)] = routes {
            return only;
        }
        let slot = Keys::of(&self.prefix, channel).slot();
        let place = routes.partition_point(|(last, _)| *last < slot);
        &routes.get(place).expect("every slot has a master").1
    }
}

/// The routes where there is one master for everything.
pub(super) fn all_to(master: Arc<Master>) -> Vec<Route> {
    vec![(LAST_SLOT, master)]
}

fn distinct(routes: &[Route]) -> Vec<Arc<Master>> {
    let mut all: Vec<Arc<Master>> = Vec::new();
    for (_, master) in routes {
        if !all.iter().any(|known| Arc::ptr_eq(known, master)) {
            all.push(master.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::fixture::{keep_all, message, name};
    use crate::waiting::Room;
    use crate::{Append, NewMessage};

    fn append(channel: &str, number: u64) -> Waiting {
        let append = Append {
            channel: name(channel),
            policy: Arc::new(keep_all()),
            expect: None,
            chained: None,
            now: plainwire_protocol::Millis(0),
            messages: vec![message(number)],
            state: None,
            key: None,
        };
        Room::new().take(append).expect("there is room").0
    }

    fn taken(master: &Master) -> Vec<(String, u64)> {
        let number = |messages: &[NewMessage]| messages[0].data.to().expect("a number");
        let all = master.queue.take().into_iter();
        all.map(|waiting| (waiting.append.channel.to_string(), number(&waiting.append.messages))).collect()
    }

    /// `foo` is in the second half of the slots, `bar` in the first.
    #[test]
    fn what_waits_goes_along_with_its_channel_in_order() {
        let [(one, _), (other, _)] = [Master::new(), Master::new()];
        let masters = Masters::new("plainwire:");
        masters.change(all_to(one.clone()));
        for (channel, number) in [("foo", 1), ("bar", 2), ("foo", 3), ("bar", 4)] {
            assert!(masters.push(append(channel, number)).is_none());
        }
        masters.change(vec![(LAST_SLOT / 2, one.clone()), (LAST_SLOT, other.clone())]);
        assert!(masters.push(append("foo", 5)).is_none());
        assert!(masters.put_back(vec![append("foo", 6), append("bar", 7), append("foo", 8)]).is_empty());
        let named = |name: &str, numbers: &[u64]| -> Vec<_> {
            numbers.iter().map(|number| (name.to_owned(), *number)).collect()
        };
        assert_eq!(taken(&one), named("bar", &[7, 2, 4]));
        assert_eq!(taken(&other), named("foo", &[6, 8, 1, 3, 5]));
        assert!(taken(&one).is_empty());
    }

    #[test]
    fn nothing_waits_where_nobody_takes_it() {
        let (master, _) = Master::new();
        let masters = Masters::new("plainwire:");
        masters.change(all_to(master.clone()));
        assert!(masters.push(append("a", 1)).is_none());
        assert_eq!(master.queue.end().len(), 1);
        assert!(masters.push(append("a", 2)).is_some());
        assert_eq!(masters.put_back(vec![append("a", 3)]).len(), 1);
    }
}
