//! The plots.

use super::charts::{self, Bar, Curve, Range};
use super::figures::{Figures, PLAINWIRE, label, median};
use crate::model::{Metric, Placement, Run, Scenario, Transport};

/// A drawing, the file that it goes into, and what it shows.
pub(super) struct Plot {
    pub(super) file: &'static str,
    pub(super) caption: &'static str,
    pub(super) svg: String,
}

/// All for which there are figures.
pub(super) fn all(figures: Figures<'_>) -> Vec<Plot> {
    let drawn = [
        cpu(
            figures,
            "cpu.svg",
            Scenario::OneByOne,
            "CPU per delivery, one message at a time to 1,000 subscribers",
        ),
        cpu(
            figures,
            "piled-up.svg",
            Scenario::PiledUp,
            "CPU per delivery, 32 messages piled up, 1,000 subscribers",
        ),
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

fn cpu(figures: Figures<'_>, file: &'static str, scenario: Scenario, caption: &'static str) -> Option<Plot> {
    let bars = bars(figures, scenario, |run| {
        Some((median(run, Metric::UserPerDelivery)?, median(run, Metric::SystemPerDelivery)?))
    });
    let svg = charts::bars(caption, "µs of the server's CPU", Some(("user space", "kernel")), &bars)?;
    Some(Plot { file, caption, svg })
}

fn memory(figures: Figures<'_>) -> Option<Plot> {
    let caption = "Memory per idle connection";
    let bars = bars(figures, Scenario::Idle, |run| {
        Some((median(run, Metric::UserBytes)?, median(run, Metric::KernelBytes).unwrap_or(0.0)))
    });
    let svg = charts::bars(caption, "bytes", Some(("the server's own", "kernel, both ends")), &bars)?;
    Some(Plot { file: "memory.svg", caption, svg })
}

fn connections(figures: Figures<'_>) -> Option<Plot> {
    let caption = "Connections opened per second";
    let bars = bars(figures, Scenario::Connect, |run| {
        let seconds = median(run, Metric::ConnectSeconds).filter(|&seconds| seconds > 0.0)?;
        Some((run.subscribers as f64 / seconds, 0.0))
    });
    let svg = charts::bars(caption, "connections a second", None, &bars)?;
    Some(Plot { file: "connections.svg", caption, svg })
}

fn scaling(figures: Figures<'_>) -> Option<Plot> {
    let caption = "CPU per delivery against subscribers";
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
    let svg = charts::curves(caption, "subscribers", "µs of the server's CPU per delivery", &panels)?;
    Some(Plot { file: "scaling.svg", caption, svg })
}

fn latency(figures: Figures<'_>) -> Option<Plot> {
    let caption = "From publish to receipt: p50, p99 and p99.9";
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
    let svg = charts::ranges(caption, "µs, each line ten times the one before", &groups)?;
    Some(Plot { file: "latency.svg", caption, svg })
}
