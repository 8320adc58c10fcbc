//! The plots.

use super::charts::{self, Bar, Curve, Range, Title};
use super::figures::{Figures, PLAINWIRE, label, median};
use crate::model::{Metric, Placement, Run, Scenario, Transport};

/// A drawing, the file that it goes into, and what it shows.
pub(super) struct Plot {
    pub(super) file: &'static str,
    pub(super) title: Title,
    pub(super) svg: String,
}

/// All for which there are figures.
pub(super) fn all(figures: Figures<'_>) -> Vec<Plot> {
    let drawn = [
        cpu(figures, "cpu.svg", Scenario::OneByOne, "one channel, one message at a time"),
        cpu(figures, "piled-up.svg", Scenario::PiledUp, "one channel, 32 messages at hand at once"),
        memory(figures),
        scaling(figures),
        latency(figures),
        connections(figures),
    ];
    drawn.into_iter().flatten().collect()
}

/// A bar for each server, transport after transport.
fn bars<'a>(
    figures: Figures<'a>,
    scenario: Scenario,
    parts: impl Fn(&Run) -> Option<(f64, f64)>,
) -> Vec<(Transport, Vec<Bar>)> {
    let runs = figures.runs(Placement::OneCore, scenario);
    let of = |transport| {
        let these = runs.iter().filter(move |run: &&&'a Run| run.transport == Some(transport));
        let bars: Vec<_> = these
            .filter_map(|run| {
                let (user, kernel) = parts(run)?;
                let own = run.server == PLAINWIRE;
                Some(Bar { label: label(&run.server, run.transport), own, user, kernel })
            })
            .collect();
        (transport, bars)
    };
    Transport::ALL.into_iter().map(of).filter(|(_, bars)| !bars.is_empty()).collect()
}

fn cpu(figures: Figures<'_>, file: &'static str, scenario: Scenario, how: &'static str) -> Option<Plot> {
    let title = Title { what: "CPU per delivery", how };
    let bars = bars(figures, scenario, |run| {
        Some((median(run, Metric::UserPerDelivery)?, median(run, Metric::SystemPerDelivery)?))
    });
    let svg = charts::bars(title, "µs of the server's CPU", Some(("user space", "kernel")), &bars)?;
    Some(Plot { file, title, svg })
}

fn memory(figures: Figures<'_>) -> Option<Plot> {
    let title = Title { what: "Memory per idle connection", how: "nothing is sent" };
    // The kernel's is the whole system's: what else ended meanwhile can make it negative, and then nothing is to be drawn.
    let bars = bars(figures, Scenario::Idle, |run| {
        Some((median(run, Metric::UserBytes)?, median(run, Metric::KernelBytes).unwrap_or(0.0).max(0.0)))
    });
    let svg = charts::bars(title, "bytes", Some(("the server's own", "kernel, both ends")), &bars)?;
    Some(Plot { file: "memory.svg", title, svg })
}

fn connections(figures: Figures<'_>) -> Option<Plot> {
    let title = Title { what: "Connections opened per second", how: "all as fast as they are taken" };
    let bars = bars(figures, Scenario::Connect, |run| {
        // Over HTTP/2 most of what is opened are streams.
        run.transport.filter(|transport| !transport.is_http2())?;
        let seconds = median(run, Metric::ConnectSeconds).filter(|&seconds| seconds > 0.0)?;
        Some((run.subscribers as f64 / seconds, 0.0))
    });
    let svg = charts::bars(title, "connections a second", None, &bars)?;
    Some(Plot { file: "connections.svg", title, svg })
}

fn scaling(figures: Figures<'_>) -> Option<Plot> {
    let how = "µs of the server's CPU, one message at a time";
    let title = Title { what: "CPU per delivery against subscribers", how };
    let runs = figures.runs(Placement::OneCore, Scenario::Scaling);
    let panel = |transport: Transport| {
        let mut curves: Vec<Curve> = Vec::new();
        for run in runs.iter().filter(|run| run.transport == Some(transport)) {
            let Some(cost) = median(run, Metric::CpuPerDelivery) else { continue };
            let name = label(&run.server, run.transport);
            let point = (run.subscribers as f64, cost);
            match curves.iter_mut().find(|curve| curve.label == name) {
                Some(curve) => curve.points.push(point),
                None => {
                    curves.push(Curve { label: name, own: run.server == PLAINWIRE, points: vec![point] });
                }
            }
        }
        (transport, curves)
    };
    let panels: Vec<_> =
        Transport::ALL.into_iter().map(panel).filter(|(_, curves)| !curves.is_empty()).collect();
    let svg = charts::curves(title, "subscribers", &panels)?;
    Some(Plot { file: "scaling.svg", title, svg })
}

fn latency(figures: Figures<'_>) -> Option<Plot> {
    let how = "p50, p99 and p99.9, from the large dot to the small; in figures p99";
    let title = Title { what: "From publish to receipt", how };
    let runs = figures.runs(Placement::OneCore, Scenario::Latency);
    let of = |transport| {
        let these = runs.iter().filter(|run| run.transport == Some(transport));
        let ranges: Vec<_> = these
            .filter_map(|run| {
                let at = |metric| median(run, metric).filter(|&value| value > 0.0);
                let points = [at(Metric::LatencyP50)?, at(Metric::LatencyP99)?, at(Metric::LatencyP999)?];
                Some(Range { label: label(&run.server, run.transport), own: run.server == PLAINWIRE, points })
            })
            .collect();
        (transport, ranges)
    };
    let groups: Vec<_> =
        Transport::ALL.into_iter().map(of).filter(|(_, ranges)| !ranges.is_empty()).collect();
    let svg = charts::ranges(title, "µs, each line ten times the one before", &groups)?;
    Some(Plot { file: "latency.svg", title, svg })
}
