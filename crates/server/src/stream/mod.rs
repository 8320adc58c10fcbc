//! Streams: a client's feeds in some framing, with heartbeats and an end.
//!
//! Two loops drive them: a worker, which owns the sockets of HTTP/1.1 streams and WebSockets, and [`Outbound`], which is asked for
//! bytes by whoever owns the connection: HTTP/2, and servers that embed us.

mod framing;
mod outbound;
mod pace;
mod standing;

use std::sync::Arc;

use plainwire_hub::Start;

pub(crate) use framing::{Framing, Resume};
pub(crate) use outbound::{End, LEEWAY_LOOK, Outbound};
pub(crate) use pace::{Due, Pace, jittered};
pub(crate) use standing::Standing;

use crate::access::Caller;
use crate::access_log::Record;
use crate::channels::{OpenChannel, Relay};
use crate::limits::StreamGuard;
use crate::metrics::Http;
use crate::node::Node;

/// A stream that has not begun: whoever drives it begins it.
pub(crate) struct Opening {
    pub(crate) node: Arc<Node>,
    pub(crate) caller: Caller,
    pub(crate) watched: Vec<(OpenChannel, Start)>,
    pub(crate) framing: Framing,
    /// Counts it, if there is anything to count it for.
    pub(crate) guard: Option<StreamGuard>,
    /// The version of HTTP that it is for.
    pub(crate) http: Http,
    /// Its request, if that is told of.
    pub(crate) record: Option<Arc<Record>>,
    /// What tells it of news, if that is not the channels.
    pub(crate) relay: Option<Arc<dyn Relay>>,
}
