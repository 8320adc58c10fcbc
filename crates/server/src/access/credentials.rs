//! Keys and revocations that change while the server runs.

use std::sync::Weak;

use crate::node::Node;

/// Keeps keys up to date, and has every stream look again when they change. Ends when the node stops.
pub(crate) async fn watch_credentials(node: Weak<Node>) {
    let Some((auth, stopping)) = node.upgrade().map(|node| (node.access().auth().clone(), node.stopping()))
    else {
        return;
    };
    let mut revisions = auth.revisions();
    let told = async {
        while revisions.changed().await.is_ok() {
            let Some(node) = node.upgrade() else { return };
            node.access_changed();
        }
    };
    tokio::select! {
        () = auth.keep_up(stopping) => {}
        () = told => {}
    }
}
