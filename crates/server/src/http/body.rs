//! Bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Live;
use crate::channels::Relay;
use crate::metrics::{Rejection, Transport};
use crate::stream::{Opening, Outbound};

/// The body of an answer: all of it, or a stream.
pub struct Body {
    kind: Kind,
    about: About,
}

/// What is told of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// How it delivers.
    pub(crate) transport: Transport,
    /// Why it refuses, if it does.
    pub(crate) rejection: Option<Rejection>,
}

enum Kind {
    Whole(Option<Bytes>),
    /// A stream that has not begun.
    Opening(Box<Opening>),
    Stream(Pin<Box<Outbound>>),
    /// What only a worker can serve, which takes the connection.
    Live(Box<Live>),
    /// Never ends and never says anything.
    Held,
}

impl Body {
    fn new(kind: Kind) -> Body {
        Body { kind, about: About { transport: Transport::Other, rejection: None } }
    }

    /// The same, as what delivers in this way.
    pub(crate) fn of(mut self, transport: Transport) -> Body {
        self.about.transport = transport;
        self
    }

    /// The same, as what refuses for this reason.
    pub(crate) fn refusing(mut self, rejection: Rejection) -> Body {
        self.about.rejection = Some(rejection);
        self
    }

    pub(crate) fn about(&self) -> About {
        self.about
    }

    /// How many bytes it has; `None` if that is not known.
    pub(crate) fn whole_length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => None,
        }
    }

    /// Whether the answer is not known yet: a worker will give it.
    pub(crate) fn is_poll(&self) -> bool {
        matches!(&self.kind, Kind::Live(live) if matches!(**live, Live::Poll(_)))
    }

    pub(crate) fn empty() -> Body {
        Body::new(Kind::Whole(None))
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
        Body::new(Kind::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }

    pub(crate) fn stream(opening: Opening) -> Body {
        Body::new(Kind::Opening(Box::new(opening)))
    }

    /// For a request whose connection a worker can take.
    pub(crate) fn live(live: Live) -> Body {
        Body::new(Kind::Live(Box::new(live)))
    }

    pub(crate) fn held() -> Body {
        Body::new(Kind::Held)
    }

    /// The same, told of news by a relay.
    pub(crate) fn relayed(mut self, relay: &Arc<dyn Relay>) -> Body {
        if let Kind::Opening(opening) = &mut self.kind {
            opening.relay = Some(relay.clone());
        }
        self
    }

    /// What a worker may serve in place of this body.
    pub(crate) fn into_live(self) -> Result<Box<Live>, Body> {
        match self.kind {
            Kind::Opening(opening) => Ok(Box::new(Live::Stream(*opening))),
            Kind::Live(live) => Ok(live),
            kind => Err(Body { kind, about: self.about }),
        }
    }

    /// All of a body that is there as a whole.
    pub(crate) fn into_whole(self) -> Option<Bytes> {
        match self.kind {
            Kind::Whole(bytes) => Some(bytes.unwrap_or_default()),
            _ => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let kind = &mut self.get_mut().kind;
        if let Kind::Opening(_) = kind
            && let Kind::Opening(opening) = std::mem::replace(kind, Kind::Held)
        {
            *kind = Kind::Stream(Box::pin(Outbound::new(*opening)));
        }
        match kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(outbound) => {
                outbound.as_mut().poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Opening(_) | Kind::Held => Poll::Pending,
            Kind::Live(_) => unreachable!("such a body is made only where a worker takes it"),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}
