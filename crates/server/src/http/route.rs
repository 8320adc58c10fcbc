//! What the path of a request means.

use plainwire_protocol::{NameError, Problem, Target};

use super::asset::Asset;
use super::{Service, client, conformance, console, examples};
use crate::access::STREAMS;
use crate::node::Mode;

/// What a path stands for.
pub(super) enum Route<'a> {
    /// A channel, and perhaps a command on it.
    Channel(Target),
    /// One of the server's own, all of which are in [`OWN`].
    Own(Own),
    /// An embedded file.
    Asset(&'static Asset),
    /// A folder of embedded files that was named without a slash at the end: where its page is, relative to that name.
    Moved(String),
    /// A running stream's new credential.
    Renewal(&'a str),
    /// What stock Socket.IO clients ask.
    #[cfg(feature = "socketio")]
    SocketIo,
    /// A route for outside conformance suites.
    Conformance(conformance::Route),
}

/// What the server answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Live,
    Ice,
    Health,
    Ready,
    Metrics,
    OpenApi,
}

/// The server's own routes, by what follows [`PREFIX`]. They are found here only, and a test compares them with the OpenAPI document.
pub(super) const OWN: &[(&str, Own)] = &[
    ("live", Own::Live),
    ("ice", Own::Ice),
    ("health", Own::Health),
    ("ready", Own::Ready),
    ("metrics", Own::Metrics),
    ("openapi.json", Own::OpenApi),
];

/// What paths begin with that are no channel's.
pub(super) const PREFIX: &str = "/_/";

impl Service {
    pub(super) fn route<'a>(&self, path: &'a str) -> Result<Route<'a>, Problem> {
        if let Some(asset) = console::asset(path).filter(|_| self.node.mode() == Mode::Dev) {
            return Ok(Route::Asset(asset));
        }
        if let Some(name) = path.strip_prefix(PREFIX) {
            let found = self.own(name).map(Route::Own);
            let found = found.or_else(|| path.strip_prefix(STREAMS).map(Route::Renewal));
            let found = found.or_else(|| client::file(name).map(Route::Asset));
            let found = found.or_else(|| self.conformance(name).map(Route::Conformance));
            let found = found.or_else(|| self.example(name));
            return found.ok_or_else(|| {
                Problem::new(404, "no_such_route", format!("the server has no route '{path}'"))
            });
        }
        match Target::parse(path) {
            Ok(target) => Ok(Route::Channel(target)),
            #[cfg(feature = "socketio")]
            Err(_) if path == crate::socketio::PATH && self.node.config().server.socketio => {
                Ok(Route::SocketIo)
            }
            Err(NameError::Empty) if path == "/" => {
                Err(Problem::new(404, "no_such_route", "nothing is here; channels are at '/NAME'"))
            }
            Err(error) => Err(Problem::new(400, "channel_name", error)),
        }
    }

    fn example<'a>(&self, name: &str) -> Option<Route<'a>> {
        let found = examples::file(name).map(Route::Asset);
        found.or_else(|| examples::page_of(name).map(Route::Moved)).filter(|_| self.node.mode() == Mode::Dev)
    }

    fn own(&self, name: &str) -> Option<Own> {
        let (_, own) = *OWN.iter().find(|(known, _)| *known == name)?;
        (own != Own::Metrics || self.node.config().server.public_metrics).then_some(own)
    }

    fn conformance(&self, name: &str) -> Option<conformance::Route> {
        conformance::route(name).filter(|_| self.node.config().server.conformance)
    }
}
