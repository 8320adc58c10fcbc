//! The report: from the results to a page of Markdown and its plots.

mod charts;
mod figures;
mod goals;
mod plots;
mod svg;
mod tables;
#[cfg(test)]
mod tests;
mod transports;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

pub(crate) use figures::shown;
use figures::{Figures, counted, day, label, wrong};
use plots::Plot;
pub(crate) use tables::cell;

use crate::model::{Machine, PAYLOAD_BYTES, Results};

/// Writes `README.md` and the plots of `results` into the directory `out`.
pub(crate) fn write(results: &Results, out: &Path) -> Result<(), String> {
    let plots = plots::all(Figures(results));
    let page = page(results, &plots);
    let files = plots.iter().map(|plot| (plot.file, &plot.svg)).chain([("README.md", &page)]);
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    for (name, text) in files {
        let path = out.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Writes the report once more, from the `results.json` in `directory`.
pub(crate) fn write_again(directory: &Path) -> Result<(), String> {
    let path = directory.join("results.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let results = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    write(&results, directory)
}

fn page(results: &Results, plots: &[Plot]) -> String {
    let figures = Figures(results);
    let mut text = String::from("# Benchmarks\n\n");
    text += &surroundings(results);
    let _ = write!(text, "\n## Goals\n\n{}", goal_table(figures));
    let _ = write!(text, "\n## Ahead and behind\n\n{}", tables::losses(figures));
    let _ = write!(text, "\n## Lost, repeated, out of order\n\n{}", wrong_table(figures));
    text += &tables::failures(figures);
    if !plots.is_empty() {
        text += "\n## Plots\n\nServer on one core, clients on the other.\n";
        for plot in plots {
            let _ = write!(text, "\n![{}: {}]({})\n", plot.title.what, plot.title.how, plot.file);
        }
    }
    if let Some(section) = transports::section(figures) {
        let _ = write!(text, "\n## What a client costs on each transport\n\n{CLAIM}\n\n{section}");
    }
    let _ = write!(text, "\n## All figures\n\n{LEGEND}\n\n{}", tables::scenarios(figures));
    let _ = writeln!(text, "## How it is measured\n\n{}", method());
    text
}

/// What the transport table is read beside.
const CLAIM: &str = "It is said that forcing one-way traffic through WebSockets costs 30 to 40 % more memory. Plainwire, measured, server \
                     on one core:";

/// How to read the tables of all figures.
const LEGEND: &str = "Medians, and behind them the smallest and the largest of the repeats. *× bare* is the ratio of the column before it to \
                      the server that does nothing but `write`: over the same transport, or over SSE where it has no such.";

fn surroundings(results: &Results) -> String {
    let mut text = String::new();
    if results.quick {
        text += "> **A quick run**: sizes and repeats are cut down. It shows that everything works; its figures are not to be quoted.\n\n";
    }
    let Results { began, seconds, command, commit, repeats, machine, .. } = results;
    text += &circumstances(*began, *seconds, command, commit, &repeats.to_string(), machine);
    if !machine.file_system.is_empty() {
        let _ = writeln!(text, "| file system of durable publishes | {} |", cell(&machine.file_system));
    }
    text += "\nAbsolute figures depend on the machine: compare within one run.\n\n| server | version |\n| --- | --- |\n";
    for server in &results.servers {
        let said = match (&server.version, &server.left_out) {
            (Some(version), _) => version.clone(),
            (None, Some(reason)) => format!("left out: {reason}"),
            (None, None) => "left out".into(),
        };
        let _ = writeln!(text, "| {} | {} |", label(&server.name, None), cell(&said));
    }
    text
}

/// A table of when and where something was measured. More rows may follow.
pub(crate) fn circumstances(
    began: u64,
    seconds: u64,
    command: &str,
    commit: &str,
    repeats: &str,
    machine: &Machine,
) -> String {
    let memory = machine.memory as f64 / f64::from(1 << 30);
    let minutes = seconds as f64 / 60.0;
    let rows = [
        ("date", format!("{} (took {minutes:.0} minutes)", day(began))),
        ("command", format!("`{}`", anywhere(command))),
        ("commit", commit.to_owned()),
        ("repeats", repeats.to_owned()),
        ("processor", format!("{}, {} cores", machine.processor, machine.cores)),
        ("memory", format!("{memory:.1} GiB")),
        ("kernel", machine.kernel.clone()),
    ];
    let mut text = "| | |\n| --- | --- |\n".to_owned();
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "| {name} | {} |", cell(&value));
    }
    text
}

/// The command without where it put things: that is of one machine, and changes no figure.
fn anywhere(command: &str) -> String {
    let places = ["--out", "--work", "--plainwire"];
    let mut words = command.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if places.contains(&word) {
            words.next();
        } else if !places.iter().any(|place| word.starts_with(&format!("{place}="))) {
            kept.push(word);
        }
    }
    kept.join(" ")
}

fn goal_table(figures: Figures<'_>) -> String {
    let goals = goals::all(figures);
    let reached = |wanted| {
        goals
            .iter()
            .filter(|goal| goal.outcome.as_ref().is_some_and(|outcome| outcome.reached == wanted))
            .count()
    };
    let unmeasured = goals.iter().filter(|goal| goal.outcome.is_none()).count();
    let mut text =
        format!("{} reached, {} not reached, {unmeasured} not measured.\n\n", reached(true), reached(false));
    text += "| measure | goal | measured | |\n| --- | --- | ---: | --- |\n";
    for goal in goals {
        let (figure, verdict) = match goal.outcome {
            Some(outcome) if outcome.reached => (outcome.figure, "reached"),
            Some(outcome) => (outcome.figure, "**not reached**"),
            None => ("–".into(), "not measured"),
        };
        let _ = writeln!(text, "| {} | {} | {figure} | {verdict} |", goal.measure, goal.limit);
    }
    text
}

fn wrong_table(figures: Figures<'_>) -> String {
    let mut text = String::from(
        "Summed over all scenarios and repeats. Every subscriber checks that the messages of its channel come one after the other.\n\n\
         | server | lost | repeated | out of order |\n| --- | ---: | ---: | ---: |\n",
    );
    for server in &figures.0.servers {
        if let Some(counts) = wrong(figures.runs_of(&server.name)) {
            let [lost, repeated, disordered] = counts.map(counted);
            let _ = writeln!(text, "| {} | {lost} | {repeated} | {disordered} |", label(&server.name, None));
        }
    }
    text
}

/// How each figure comes about.
fn method() -> String {
    format!(
        "- **Payload**: {PAYLOAD_BYTES} bytes of JSON, with the number of the message and the time of sending. Everything runs over loopback, \
         without TLS.\n\
         - **Servers** are started anew for each scenario and transport, and to open connections for each repeat. Messages are in memory. \
         Each server has as many workers as cores; Node.js and Socket.IO have one thread wherever they run. \
         *bare write* has its sockets in a list and calls `write` for each with bytes made beforehand; what has piled up it \
         writes at once: the least that a server on sockets can do. Nchan's NDJSON is its raw stream, Centrifugo's its one-way HTTP stream.\n\
         - **CPU per delivery**: user and system time of the server's processes, divided by the messages that reached a subscriber. \
         Taking the published message is part of it. *One message at a time*: the next is published once every subscriber has the last. \
         *Piled up*: the server is stopped while 32 messages are sent to it, then goes on.\n\
         - **Own memory per idle connection**: growth of the anonymous memory of the server's processes, divided by the connections (over \
         HTTP/2: the streams, 100 a connection). What the first hundred connections leave behind is not part of it, nor is memory that \
         processes share, which Nchan has for messages. The kernel's is the growth of its slabs and of TCP's buffers, both ends of the \
         connection.\n\
         - **From publish to receipt**: from just before the publisher writes its request to when a subscriber has read the message, \
         by the same clock. The times of all subscribers and all messages of a repeat give its percentiles.\n\
         - **Stalled readers** stop to read, while 32 messages at a time go to everyone until their sockets are full.\n\
         - **Durable publishes**: requests acknowledged after a sync, beside appends of the same size to a file on the same disk with a \
         sync each.\n\
         - Configurations of the other servers are in [bench/peers](../../bench/peers), how they are started in \
         [bench/src/peers](../../bench/src/peers). The figures behind this page are in `results.json`."
    )
}
