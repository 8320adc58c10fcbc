//! What a user would pick instead of Plainwire, each installed, started and spoken to as its own documentation says.

pub(crate) mod axum;
pub(crate) mod centrifugo;
mod install;
mod mercure;
mod nchan;
mod node;
#[cfg(test)]
mod smoke;

use crate::model::Server;

/// All of them, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn Server>> {
    vec![
        Box::new(nchan::Nchan::default()),
        Box::new(node::Ws::default()),
        Box::new(node::SocketIo::default()),
        Box::new(centrifugo::Centrifugo::default()),
        Box::new(mercure::Mercure::default()),
        Box::new(axum::Axum),
    ]
}
