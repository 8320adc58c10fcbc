//! A table for each scenario, and what they say of wins and losses.

use std::fmt::Write as _;

use super::figures::{BARE, Figures, PLAINWIRE, counted, label, median, repeats, shown, spread, wrong};
use crate::model::{Metric, Placement, Run, Scenario};

/// A column: its heading and its metric. The first column is also given as a ratio to the bare server.
type Column = (&'static str, Metric);

const CPU: &[Column] = &[
    ("CPU, µs", Metric::CpuPerDelivery),
    ("user space, µs", Metric::UserPerDelivery),
    ("kernel, µs", Metric::SystemPerDelivery),
    ("deliveries a second", Metric::DeliveriesPerSecond),
];

/// Every scenario: its heading, what was done, its columns.
const SCENARIOS: [(Scenario, &str, &str, &[Column]); 9] = [
    (
        Scenario::OneByOne,
        "One message at a time",
        "one channel, the next message is published once everyone has the last",
        CPU,
    ),
    (
        Scenario::Wide,
        "One message at a time, many subscribers",
        "the same with ten times the subscribers",
        CPU,
    ),
    (Scenario::ManyChannels, "Many channels", "each message goes to the few subscribers of its channel", CPU),
    (Scenario::PiledUp, "32 messages piled up", "one channel, 32 messages are at hand at once", CPU),
    (Scenario::Scaling, "Cost against subscribers", "one channel, one message at a time", CPU),
    (
        Scenario::Latency,
        "From publish to receipt",
        "one channel, ten messages a second, µs",
        &[
            ("p99", Metric::LatencyP99),
            ("p50", Metric::LatencyP50),
            ("p99.9", Metric::LatencyP999),
            ("longest", Metric::LatencyMax),
        ],
    ),
    (
        Scenario::Idle,
        "Memory",
        "bytes for each idle subscription",
        &[("own", Metric::UserBytes), ("kernel, both ends", Metric::KernelBytes)],
    ),
    (
        Scenario::Connect,
        "Opening connections",
        "all as fast as they are taken",
        &[
            ("seconds", Metric::ConnectSeconds),
            ("CPU per connection, µs", Metric::CpuPerConnection),
            ("refused", Metric::Refused),
        ],
    ),
    (
        Scenario::Stalled,
        "Stalled readers",
        "1,000 that read, without and with 1,000 more that do not",
        &[
            ("p99 without, µs", Metric::LatencyP99),
            ("p99 with, µs", Metric::LatencyP99Stalled),
            ("memory before, bytes", Metric::MemoryBefore),
            ("after", Metric::MemoryAfter),
            ("after, with stalled", Metric::MemoryAfterStalled),
        ],
    ),
];

/// All scenarios that were measured.
pub(super) fn scenarios(figures: Figures<'_>) -> String {
    let mut text = String::new();
    for (scenario, heading, done, columns) in SCENARIOS {
        let tables: String = [Placement::OneCore, Placement::BothFree]
            .into_iter()
            .filter_map(|placement| table(figures, placement, scenario, columns))
            .collect();
        if !tables.is_empty() {
            let _ = write!(text, "### {heading}\n\n{}.\n\n{tables}", capital(done));
        }
    }
    text + &durable(figures)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn table(
    figures: Figures<'_>,
    placement: Placement,
    scenario: Scenario,
    columns: &[Column],
) -> Option<String> {
    let mut runs = figures.runs(placement, scenario);
    if runs.is_empty() {
        return None;
    }
    let first = columns[0].1;
    // Within a transport the best comes first; a failed run has no figure and comes last.
    let rank = |run: &Run| median(run, first).unwrap_or(f64::INFINITY);
    let size = |run: &Run| if scenario == Scenario::Scaling { run.subscribers } else { 0 };
    runs.sort_by(|one, other| {
        (one.transport, size(one))
            .cmp(&(other.transport, size(other)))
            .then(rank(one).total_cmp(&rank(other)))
    });
    let mut text = match placement {
        Placement::OneCore => "Server on one core, clients on the other:\n\n".to_owned(),
        Placement::BothFree => "Both on all cores:\n\n".to_owned(),
    };
    let mut headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    if is_beside_bare(scenario) {
        headings.insert(1, "× bare");
    }
    let _ = writeln!(text, "| transport | server | subscribers | {} |", headings.join(" | "));
    let _ = writeln!(text, "| --- | --- | ---: |{}", " ---: |".repeat(headings.len()));
    for run in runs {
        let _ = writeln!(text, "{}", row(figures, run, columns));
    }
    Some(text + "\n")
}

/// Whether a ratio to the bare server says something: it needs next to no memory.
fn is_beside_bare(scenario: Scenario) -> bool {
    scenario != Scenario::Idle
}

fn row(figures: Figures<'_>, run: &Run, columns: &[Column]) -> String {
    let name = label(&run.server, run.transport);
    let name = if run.server == PLAINWIRE { format!("**{name}**") } else { name };
    let transport = run.transport.map_or("–".into(), |transport| transport.to_string());
    let name = name + &faults(run);
    let mut text = format!("| {transport} | {name} | {} |", counted(run.subscribers as f64));
    if let Some(failure) = &run.failure {
        let _ = write!(text, " failed: {} |", cell(failure));
        return text + &" |".repeat(columns.len() - usize::from(!is_beside_bare(run.scenario)));
    }
    for (number, (_, metric)) in columns.iter().enumerate() {
        let _ = write!(text, " {} |", repeats(run, *metric).map_or("–".into(), spread));
        if number == 0 && is_beside_bare(run.scenario) {
            let _ = write!(
                text,
                " {} |",
                beside(figures, run, *metric).map_or("–".into(), |ratio| format!("{ratio:.2}"))
            );
        }
    }
    text
}

/// What went wrong in a run that has figures: they are worth less then.
fn faults(run: &Run) -> String {
    match wrong([run].into_iter()) {
        Some([lost, repeated, disordered]) if lost + repeated + disordered > 0.0 => {
            format!(
                " ({} lost, {} repeated, {} out of order)",
                counted(lost),
                counted(repeated),
                counted(disordered)
            )
        }
        _ => String::new(),
    }
}

/// The runs that failed, and why.
pub(super) fn failures(figures: Figures<'_>) -> String {
    let failed = figures.0.runs.iter().filter_map(|run| {
        let transport = run.transport.map_or(String::new(), |transport| format!(", {transport}"));
        let scenario = SCENARIOS.iter().find(|(scenario, ..)| *scenario == run.scenario);
        let heading = scenario.map_or("Durable publishes", |(_, heading, ..)| heading);
        let place = if run.placement == Placement::OneCore { "one core" } else { "all cores" };
        let name = label(&run.server, run.transport);
        Some(format!("- {name}, {heading}{transport}, {place}: {}\n", cell(run.failure.as_ref()?)))
    });
    let failed: String = failed.collect();
    if failed.is_empty() { failed } else { format!("\n## What failed\n\n{failed}") }
}

/// The ratio to the bare server with as many subscribers.
fn beside(figures: Figures<'_>, run: &Run, metric: Metric) -> Option<f64> {
    let bare = match run.scenario {
        Scenario::Scaling => *figures.runs(run.placement, run.scenario).iter().find(|bare| {
            bare.server == BARE && bare.transport == run.transport && bare.subscribers == run.subscribers
        })?,
        _ => figures.bare(run)?,
    };
    Some(median(run, metric)? / median(bare, metric).filter(|&value| value > 0.0)?)
}

/// A text that fits into a cell.
pub(crate) fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn durable(figures: Figures<'_>) -> String {
    let runs: Vec<_> = [Placement::OneCore, Placement::BothFree]
        .into_iter()
        .flat_map(|placement| figures.runs(placement, Scenario::Durable))
        .collect();
    if runs.is_empty() {
        return String::new();
    }
    let columns = [
        ("64 publishers", Metric::DurablePublishes),
        ("one publisher", Metric::DurableOneByOne),
        ("a file, a sync per message", Metric::FileSyncs),
    ];
    let mut text = String::from(
        "### Durable publishes\n\nAcknowledged publishes a second, each on the disk before the answer.\n\n\
         | server | where |",
    );
    columns.iter().for_each(|(heading, _)| {
        let _ = write!(text, " {heading} |");
    });
    text += "\n| --- | --- | ---: | ---: | ---: |\n";
    for run in runs {
        let place = if run.placement == Placement::OneCore { "one core" } else { "all cores" };
        let _ = write!(text, "| {} | {place} |", label(&run.server, None));
        for (_, metric) in columns {
            let _ = write!(text, " {} |", repeats(run, metric).map_or("–".into(), spread));
        }
        text.push('\n');
    }
    text + "\n"
}

/// What is compared with the others: the scenario, its metric, what it is called, and whether more is better.
const COMPARED: [(Scenario, Metric, &str); 9] = [
    (Scenario::OneByOne, Metric::CpuPerDelivery, "µs of CPU per delivery, one message at a time"),
    (Scenario::Wide, Metric::CpuPerDelivery, "µs of CPU per delivery, many subscribers"),
    (Scenario::ManyChannels, Metric::CpuPerDelivery, "µs of CPU per delivery, many channels"),
    (Scenario::PiledUp, Metric::CpuPerDelivery, "µs of CPU per delivery, 32 piled up"),
    (Scenario::Latency, Metric::LatencyP50, "µs from publish to receipt at p50"),
    (Scenario::Latency, Metric::LatencyP99, "µs from publish to receipt at p99"),
    (Scenario::Latency, Metric::LatencyP999, "µs from publish to receipt at p99.9"),
    (Scenario::Idle, Metric::UserBytes, "bytes of own memory per idle connection"),
    (Scenario::Connect, Metric::ConnectSeconds, "seconds to open all connections"),
];

/// How often Plainwire is ahead of another server, and each case where it is not. The bare server is a limit, not one of them.
pub(super) fn losses(figures: Figures<'_>) -> String {
    let (mut ahead, mut behind) = (0_u32, Vec::new());
    for placement in [Placement::OneCore, Placement::BothFree] {
        for (scenario, metric, what) in COMPARED {
            let runs = figures.runs(placement, scenario);
            for theirs in runs.iter().filter(|run| run.server != PLAINWIRE && run.server != BARE) {
                let ours = figures.run(PLAINWIRE, placement, scenario, theirs.transport);
                let pair = ours.and_then(|ours| median(ours, metric)).zip(median(theirs, metric));
                match pair {
                    Some((ours, theirs)) if ours < theirs => ahead += 1,
                    Some((ours, better)) => behind.push(loss(theirs, what, ours, better)),
                    None => {}
                }
            }
        }
    }
    let total = ahead as usize + behind.len();
    if total == 0 {
        return "Nothing was measured of Plainwire and of another server alike.\n".into();
    }
    let mut text = format!("Of {total} comparisons with the other servers Plainwire is ahead in {ahead}");
    if behind.is_empty() {
        return text + ".\n";
    }
    let _ = write!(text, ", and not in {}:\n\n", behind.len());
    text + &behind.concat()
}

fn loss(theirs: &Run, what: &str, ours: f64, better: f64) -> String {
    let transport = theirs.transport.map_or(String::new(), |transport| format!(", {transport}"));
    let place = if theirs.placement == Placement::OneCore { "one core" } else { "all cores" };
    let name = label(&theirs.server, theirs.transport);
    format!("- {what}{transport}, {place}: {name} {}, Plainwire {}\n", shown(better), shown(ours))
}
