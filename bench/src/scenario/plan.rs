//! Which scenarios are run with which server, over which transports, and where.

use super::Sizes;
use crate::model::{Placement, Scenario, Server, Transport};

/// The largest number of subscribers: one process has 20,000 descriptors.
const LARGEST: usize = 18_000;
/// The numbers of subscribers to compare with one another.
const SCALE: [usize; 5] = [100, 1_000, 5_000, 10_000, LARGEST];
/// The servers that all of it is done with; of others, some parts over one transport only.
const OURS: [&str; 2] = ["plainwire", "bare"];

/// One scenario with one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The server's place among the servers.
    pub(crate) server: usize,
    pub(crate) placement: Placement,
    pub(crate) scenario: Scenario,
    pub(crate) transport: Option<Transport>,
    pub(crate) subscribers: usize,
    pub(crate) channels: usize,
}

impl Part {
    /// Whether two parts differ in nothing but the server.
    pub(crate) fn is_alike(&self, other: &Part) -> bool {
        *self == Part { server: self.server, ..*other }
    }
}

/// What is asked for: everything, unless something is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) placements: Vec<Placement>,
}

/// All parts, in order: what is to be compared is done close together.
pub(crate) fn parts(servers: &[Box<dyn Server>], sizes: &Sizes, wanted: &Wanted) -> Vec<Part> {
    let mut parts = Vec::new();
    let transports = || Transport::ALL.map(Some).into_iter().chain([None]);
    for placement in [Placement::OneCore, Placement::BothFree] {
        for &scenario in scenarios(placement) {
            for (transport, subscribers) in transports().flat_map(|transport| {
                subscribers(scenario, sizes).into_iter().map(move |count| (transport, count))
            }) {
                let channels = if scenario == Scenario::ManyChannels { subscribers / 10 } else { 1 };
                let able = (0..servers.len())
                    .filter(|&server| can(servers[server].as_ref(), placement, scenario, transport));
                parts.extend(able.map(|server| Part {
                    server,
                    placement,
                    scenario,
                    transport,
                    subscribers,
                    channels,
                }));
            }
        }
    }
    parts.retain(|part| wanted.has(part));
    parts
}

impl Wanted {
    fn has(&self, part: &Part) -> bool {
        let transport = |transport| self.transports.contains(&transport);
        let is_idle = part.scenario == Scenario::Connect && self.scenarios.contains(&Scenario::Idle);
        (self.scenarios.is_empty() || self.scenarios.contains(&part.scenario) || is_idle)
            && (self.transports.is_empty() || part.transport.is_none_or(transport))
            && (self.placements.is_empty() || self.placements.contains(&part.placement))
    }
}

/// [`Scenario::Idle`] is measured along with [`Scenario::Connect`].
fn scenarios(placement: Placement) -> &'static [Scenario] {
    match placement {
        Placement::OneCore => &[
            Scenario::OneByOne,
            Scenario::PiledUp,
            Scenario::Connect,
            Scenario::Latency,
            Scenario::Wide,
            Scenario::ManyChannels,
            Scenario::Scaling,
            Scenario::Stalled,
            Scenario::Durable,
        ],
        Placement::BothFree => &[Scenario::OneByOne, Scenario::PiledUp, Scenario::Latency],
    }
}

fn subscribers(scenario: Scenario, sizes: &Sizes) -> Vec<usize> {
    match scenario {
        Scenario::Connect | Scenario::Idle | Scenario::Wide | Scenario::ManyChannels => vec![sizes.many],
        Scenario::OneByOne | Scenario::PiledUp | Scenario::Latency | Scenario::Stalled => vec![sizes.few],
        Scenario::Scaling => SCALE.into_iter().filter(|&count| count <= sizes.many * 2).collect(),
        Scenario::Durable => vec![0],
    }
}

/// Whether a part is done: what the server can, and of the long scenarios, with others than ours, the first transport alone.
fn can(server: &dyn Server, placement: Placement, scenario: Scenario, transport: Option<Transport>) -> bool {
    let Some(transport) = transport else { return scenario == Scenario::Durable && server.can_be_durable() };
    let all = server.transports();
    let is_ours = OURS.contains(&server.name());
    let is_first = all.first() == Some(&transport);
    let is_main = matches!(transport, Transport::WebSocket | Transport::Sse);
    let sensible = match scenario {
        Scenario::Durable => false,
        // The limit does no more than keep what a socket refuses: there is nothing to learn from it.
        Scenario::Stalled if server.name() == "bare" => false,
        // Our own are held against each other over each transport; the others over their first.
        Scenario::Scaling | Scenario::Wide | Scenario::Stalled => is_first || is_ours && is_main,
        Scenario::ManyChannels => is_first || is_main,
        _ if placement == Placement::BothFree => is_first || is_main,
        _ => true,
    };
    sensible && all.contains(&transport)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ours::{Bare, Plainwire};

    fn servers() -> Vec<Box<dyn Server>> {
        vec![Box::new(Plainwire { binary: "plainwire".into() }), Box::new(Bare)]
    }

    #[test]
    fn every_row_of_the_table_is_planned() {
        let parts = parts(&servers(), &Sizes::FULL, &Wanted::default());
        let has = |scenario, transport, subscribers| {
            parts.iter().any(|part| {
                (part.server, part.scenario, part.transport, part.subscribers)
                    == (0, scenario, transport, subscribers)
            })
        };
        for transport in Transport::ALL.map(Some) {
            assert!(has(Scenario::OneByOne, transport, 1_000), "{transport:?}");
            assert!(has(Scenario::PiledUp, transport, 1_000), "{transport:?}");
            assert!(has(Scenario::Connect, transport, 10_000), "{transport:?}");
        }
        assert!(has(Scenario::Durable, None, 0));
        assert!(SCALE.iter().all(|&count| has(Scenario::Scaling, Some(Transport::Sse), count)));
    }

    #[test]
    fn no_server_is_asked_for_what_it_cannot() {
        let all = parts(&servers(), &Sizes::FULL, &Wanted::default());
        let bare = all.iter().filter(|part| part.server == 1);
        assert!(bare.clone().all(|part| part.transport.is_some_and(|transport| !transport.is_http2())));
        assert!(bare.count() > 0);
    }

    #[test]
    fn what_is_wanted_is_all_there_is() {
        let wanted = Wanted { scenarios: vec![Scenario::Wide], ..Wanted::default() };
        let parts = parts(&servers(), &Sizes::QUICK, &wanted);
        assert!(!parts.is_empty() && parts.iter().all(|part| part.scenario == Scenario::Wide));
    }
}
