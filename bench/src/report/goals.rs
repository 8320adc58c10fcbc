//! What was to be reached, and whether it was.

use super::figures::{BARE, Figures, PLAINWIRE, counted, label, median, shown, wrong};
use crate::model::{Metric, Placement, Scenario, Transport};

/// One goal over one transport.
pub(super) struct Goal {
    /// What is measured.
    pub(super) measure: String,
    /// What it may be.
    pub(super) limit: String,
    /// What it is; nothing if it was not measured.
    pub(super) outcome: Option<Outcome>,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) figure: String,
    pub(super) reached: bool,
}

impl Goal {
    fn new(measure: impl Into<String>, limit: impl Into<String>, outcome: Option<Outcome>) -> Self {
        Self { measure: measure.into(), limit: limit.into(), outcome }
    }

    /// A value that may be at most so much.
    fn at_most(measure: String, most: f64, unit: &str, value: Option<f64>) -> Self {
        let outcome =
            value.map(|value| Outcome { figure: format!("{} {unit}", shown(value)), reached: value <= most });
        Self::new(measure, format!("≤ {} {unit}", shown(most)), outcome)
    }

    /// A value that may be at most so many times another.
    fn within(measure: String, factor: f64, other: &str, values: Option<(f64, f64)>) -> Self {
        let outcome = values.map(|(value, other)| Outcome {
            figure: format!("{:.2} × ({} to {})", value / other, shown(value), shown(other)),
            reached: value <= factor * other,
        });
        Self::new(measure, format!("≤ {factor:.2} × {other}"), outcome)
    }
}

const STREAMS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Ndjson];
const HTTP1: [Transport; 4] = [Transport::WebSocket, Transport::Sse, Transport::Ndjson, Transport::LongPoll];

/// All goals, in the order of the issue that set them.
pub(super) fn all(figures: Figures<'_>) -> Vec<Goal> {
    let mut goals = one_by_one(figures);
    goals.extend(piled_up(figures));
    goals.extend(other_transports(figures));
    goals.extend(memory(figures));
    goals.extend(connections(figures));
    goals.extend(latency(figures));
    goals.extend(stalled(figures));
    goals.push(durable(figures));
    goals.extend(scaling(figures));
    goals.push(correct(figures));
    goals
}

/// Our median beside the bare server's.
fn beside_bare(
    figures: Figures<'_>,
    scenario: Scenario,
    transport: Transport,
    metric: Metric,
) -> Option<(f64, f64)> {
    let ours = figures.median(PLAINWIRE, scenario, transport, metric)?;
    Some((ours, figures.bare_median(scenario, transport, metric)?))
}

fn one_by_one(figures: Figures<'_>) -> Vec<Goal> {
    let of = |transport| {
        let scenario = Scenario::OneByOne;
        let total = beside_bare(figures, scenario, transport, Metric::CpuPerDelivery);
        let user = figures.median(PLAINWIRE, scenario, transport, Metric::UserPerDelivery);
        [
            Goal::within(format!("CPU per delivery, {transport}"), 1.10, "bare write", total),
            Goal::at_most(format!("of it in user space, {transport}"), 0.4, "µs", user),
            least(figures, transport),
        ]
    };
    [Transport::WebSocket, Transport::Sse].into_iter().flat_map(of).collect()
}

/// Whether no other server, the bare one apart, delivers for less.
fn least(figures: Figures<'_>, transport: Transport) -> Goal {
    let runs = figures.runs(Placement::OneCore, Scenario::OneByOne);
    let others = runs.iter().filter(|run| run.transport == Some(transport));
    let others = others.filter(|run| run.server != PLAINWIRE && run.server != BARE);
    let costs = others.filter_map(|run| Some((median(run, Metric::CpuPerDelivery)?, &run.server)));
    let best = costs.min_by(|one, other| one.0.total_cmp(&other.0));
    let ours = figures.median(PLAINWIRE, Scenario::OneByOne, transport, Metric::CpuPerDelivery);
    let outcome = ours.zip(best).map(|(ours, (theirs, server))| Outcome {
        figure: format!("{} to {} of {}", shown(ours), shown(theirs), label(server, Some(transport))),
        reached: ours < theirs,
    });
    Goal::new(format!("CPU per delivery, {transport}"), "less than every other server", outcome)
}

fn piled_up(figures: Figures<'_>) -> Vec<Goal> {
    let of = |transport| {
        let values = beside_bare(figures, Scenario::PiledUp, transport, Metric::CpuPerDelivery);
        Goal::within(
            format!("CPU per delivery, 32 piled up, {transport}"),
            1.30,
            "bare batched write",
            values,
        )
    };
    STREAMS.map(of).into()
}

fn other_transports(figures: Figures<'_>) -> Vec<Goal> {
    let cost =
        |server, transport| figures.median(server, Scenario::OneByOne, transport, Metric::CpuPerDelivery);
    let sse = cost(PLAINWIRE, Transport::Sse);
    let poll = cost(PLAINWIRE, Transport::LongPoll);
    let name = |transport| format!("CPU per delivery, {transport}");
    vec![
        Goal::within(name(Transport::Ndjson), 1.20, "our SSE", cost(PLAINWIRE, Transport::Ndjson).zip(sse)),
        Goal::within(name(Transport::LongPoll), 1.20, "our SSE", poll.zip(sse)),
        Goal::within(
            name(Transport::LongPoll),
            0.50,
            "Nchan's",
            poll.zip(cost("nchan", Transport::LongPoll)),
        ),
    ]
}

fn memory(figures: Figures<'_>) -> Vec<Goal> {
    let of = |transport, most| {
        let bytes = figures.median(PLAINWIRE, Scenario::Idle, transport, Metric::UserBytes);
        Goal::at_most(format!("own memory per idle connection, {transport}"), most, "bytes", bytes)
    };
    let streams = [Transport::SseHttp2, Transport::NdjsonHttp2];
    HTTP1
        .map(|transport| of(transport, 1_000.0))
        .into_iter()
        .chain(streams.map(|over| of(over, 4_000.0)))
        .collect()
}

fn connections(figures: Figures<'_>) -> Vec<Goal> {
    let of = |transport| {
        let refused = figures.median(PLAINWIRE, Scenario::Connect, transport, Metric::Refused);
        let seconds = beside_bare(figures, Scenario::Connect, transport, Metric::ConnectSeconds);
        [
            Goal::within(
                format!("seconds to open all connections, {transport}"),
                1.50,
                "bare write",
                seconds,
            ),
            Goal::at_most(format!("of them refused, {transport}"), 0.0, "connections", refused),
        ]
    };
    let measured = HTTP1.into_iter().filter(|&transport| {
        let run = figures.run(PLAINWIRE, Placement::OneCore, Scenario::Connect, Some(transport));
        run.is_some() || matches!(transport, Transport::WebSocket | Transport::Sse)
    });
    measured.flat_map(of).collect()
}

fn latency(figures: Figures<'_>) -> Vec<Goal> {
    let of = |transport| {
        let values = beside_bare(figures, Scenario::Latency, transport, Metric::LatencyP99);
        Goal::within(format!("p99 from publish to receipt, {transport}"), 1.20, "bare write", values)
    };
    [Transport::WebSocket, Transport::Sse].map(of).into()
}

fn stalled(figures: Figures<'_>) -> Vec<Goal> {
    let runs = figures.runs(Placement::OneCore, Scenario::Stalled);
    let ours: Vec<_> = runs.iter().filter(|run| run.server == PLAINWIRE).collect();
    let of = |transport: Option<Transport>| {
        let over = transport.map_or(String::new(), |transport| format!(", {transport}"));
        let value = |metric| figures.median(PLAINWIRE, Scenario::Stalled, transport, metric);
        let p99 = value(Metric::LatencyP99Stalled).zip(value(Metric::LatencyP99));
        let stalled = figures.run(PLAINWIRE, Placement::OneCore, Scenario::Stalled, transport);
        let grown = value(Metric::MemoryAfterStalled).zip(value(Metric::MemoryAfter)).zip(stalled);
        let each = grown.map(|((with, without), run)| (with - without) / run.subscribers as f64);
        let idle = figures.median(PLAINWIRE, Scenario::Idle, transport, Metric::UserBytes);
        [
            Goal::within(format!("p99 beside 1,000 stalled readers, µs{over}"), 1.20, "without them", p99),
            Goal::within(format!("bytes for each stalled reader{over}"), 1.50, "an idle one", each.zip(idle)),
        ]
    };
    if ours.is_empty() {
        return of(Some(Transport::Sse)).into();
    }
    ours.iter().flat_map(|run| of(run.transport)).collect()
}

fn durable(figures: Figures<'_>) -> Goal {
    let value = |metric| figures.median(PLAINWIRE, Scenario::Durable, None, metric);
    let outcome =
        value(Metric::DurablePublishes).zip(value(Metric::FileSyncs)).map(|(ours, syncs)| Outcome {
            figure: format!("{:.1} × ({} to {})", ours / syncs, shown(ours), shown(syncs)),
            reached: ours >= 10.0 * syncs,
        });
    Goal::new("publishes a second, synced, 64 publishers", "≥ 10 × one sync per message", outcome)
}

fn scaling(figures: Figures<'_>) -> Vec<Goal> {
    let of = |transport: Transport| {
        let runs = figures.runs(Placement::OneCore, Scenario::Scaling);
        let ours = runs.iter().filter(|run| run.server == PLAINWIRE && run.transport == Some(transport));
        let costs: Vec<_> =
            ours.filter_map(|run| Some((run.subscribers, median(run, Metric::CpuPerDelivery)?))).collect();
        let values = || costs.iter().map(|(_, cost)| *cost);
        let ends = values().reduce(f64::min).zip(values().reduce(f64::max)).filter(|_| costs.len() > 1);
        let outcome = ends.map(|(least, most)| Outcome {
            figure: format!(
                "{:.0} % ({} to {}), {} to {} subscribers",
                (most / least - 1.0) * 100.0,
                shown(least),
                shown(most),
                counted(costs[0].0 as f64),
                counted(costs[costs.len() - 1].0 as f64)
            ),
            reached: most <= 1.15 * least,
        });
        Goal::new(
            format!("CPU per delivery from few to many subscribers, {transport}"),
            "flat within 15 %",
            outcome,
        )
    };
    [Transport::WebSocket, Transport::Sse].map(of).into()
}

/// Whether nothing of ours was ever lost, repeated or out of order, in all repeats of all runs.
fn correct(figures: Figures<'_>) -> Goal {
    let faults = wrong(figures.runs_of(PLAINWIRE));
    let outcome = faults.map(|[lost, repeated, disordered]| Outcome {
        figure: format!("{} / {} / {}", counted(lost), counted(repeated), counted(disordered)),
        reached: lost + repeated + disordered == 0.0,
    });
    Goal::new("lost / repeated / out of order, everywhere", "0 / 0 / 0", outcome)
}
