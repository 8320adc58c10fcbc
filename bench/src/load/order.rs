//! What the coordinator asks of a load generator, and what comes back: a line of JSON each way.

use serde::{Deserialize, Serialize};

use crate::model::{Publication, Subscription, Transport};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Open subscriptions. The one of index `i` listens to channel `i` modulo the number of channels.
    Open {
        /// How they are opened, one for each channel.
        subscriptions: Vec<Subscription>,
        /// Over which transport.
        transport: Transport,
        /// How many subscriptions.
        count: usize,
        /// How many of them share a connection, over HTTP/2.
        streams: usize,
        /// Whether they are never read once they stand.
        stalled: bool,
    },
    /// Open connections to publish over; channel `i` is published to by the publication of index `i`.
    Publishers {
        /// How one publishes, one for each channel.
        publications: Vec<Publication>,
        /// How many connections.
        connections: usize,
    },
    /// Publish `burst` messages to one channel at once and wait until all its subscribers have them; then to the next channel.
    Rounds {
        /// How often.
        rounds: usize,
        /// How many at once, at most as many as there are connections to publish over.
        burst: usize,
        /// These processes are stopped while a burst is sent, so that it is at hand for them at once.
        paused: Vec<i32>,
    },
    /// Publish over all connections, to one channel after the other, each connection as soon as its last publish was acknowledged.
    Stream {
        /// How many messages at most.
        messages: u64,
        /// For how long at most, in seconds.
        seconds: f64,
    },
    /// Publish at times that are fixed in advance, whatever becomes of the messages before.
    Rate {
        /// How many messages a second.
        per_second: f64,
        /// How many in all.
        messages: u64,
    },
    /// Publish and read at steady rates at the same time, whatever becomes of the messages and answers before.
    Steady {
        /// How many messages a second.
        publishes: f64,
        /// How many reads a second.
        reads: f64,
        /// What is read.
        target: String,
        /// For how long, in seconds.
        seconds: f64,
    },
    /// Close all connections.
    Close,
}

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// Subscriptions that stand now and did not before.
    pub(crate) opened: u64,
    /// Subscriptions that could not be opened.
    pub(crate) refused: u64,
    /// Subscriptions that the server ended.
    pub(crate) ended: u64,
    /// Publishes that were acknowledged.
    pub(crate) published: u64,
    /// Publishes that were not.
    pub(crate) unpublished: u64,
    /// Messages that arrived, repeated ones not counted.
    pub(crate) deliveries: u64,
    /// Deliveries that never came.
    pub(crate) lost: u64,
    /// Deliveries that came twice.
    pub(crate) repeated: u64,
    /// Subscribers that saw another order than they should have.
    pub(crate) out_of_order: u64,
    /// Publish to receipt.
    pub(crate) latency: Latency,
    /// Request to answer, of [`Order::Steady`].
    pub(crate) reads: Latency,
    /// Reads that were answered with success.
    pub(crate) answered: u64,
    /// Reads that were not.
    pub(crate) unanswered: u64,
    /// The first thing that went wrong.
    pub(crate) error: Option<String>,
}

/// Times from publish to receipt, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half of them are at most this.
    pub(crate) p50: f64,
    /// 99 % of them.
    pub(crate) p99: f64,
    /// 99.9 % of them.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
}
