//! Looking figures up in the results, and writing them down.

use crate::model::{Metric, Placement, Repeats, Results, Run, Scenario, Transport};

/// The server that the benchmark is about.
pub(super) const PLAINWIRE: &str = "plainwire";
/// The server that does nothing but `write`: the limit.
pub(super) const BARE: &str = "bare";

/// The results, to be asked.
#[derive(Clone, Copy)]
pub(super) struct Figures<'a>(pub(super) &'a Results);

impl<'a> Figures<'a> {
    /// All runs of a scenario, servers in the order of the results, their transports in the order of the report.
    pub(super) fn runs(self, placement: Placement, scenario: Scenario) -> Vec<&'a Run> {
        let place = |run: &Run| self.0.servers.iter().position(|server| server.name == run.server);
        let these = |run: &&Run| run.placement == placement && run.scenario == scenario;
        let mut runs: Vec<_> = self.0.runs.iter().filter(these).collect();
        runs.sort_by_key(|run| (place(run), run.transport, run.subscribers));
        runs
    }

    /// All runs of a server.
    pub(super) fn runs_of(self, server: &str) -> impl Iterator<Item = &'a Run> + Clone {
        self.0.runs.iter().filter(move |run| run.server == server)
    }

    /// One run: of several sizes the largest.
    pub(super) fn run(
        self,
        server: &str,
        placement: Placement,
        scenario: Scenario,
        transport: Option<Transport>,
    ) -> Option<&'a Run> {
        let these = |run: &&Run| run.server == server && run.transport == transport;
        self.runs(placement, scenario).into_iter().rfind(these)
    }

    /// The median of a metric, with the server on one core.
    pub(super) fn median(
        self,
        server: &str,
        scenario: Scenario,
        transport: impl Into<Option<Transport>>,
        metric: Metric,
    ) -> Option<f64> {
        median(self.run(server, Placement::OneCore, scenario, transport.into())?, metric)
    }

    /// The bare server's run to compare a run with: over the same transport, or over SSE where it has no such.
    pub(super) fn bare(self, run: &Run) -> Option<&'a Run> {
        let over = |transport| self.run(BARE, run.placement, run.scenario, transport);
        over(run.transport).or_else(|| over(Some(Transport::Sse)))
    }

    /// The median of a metric of the bare server over this transport, or over SSE, with the server on one core.
    pub(super) fn bare_median(self, scenario: Scenario, transport: Transport, metric: Metric) -> Option<f64> {
        let over = |transport| self.median(BARE, scenario, transport, metric);
        over(transport).or_else(|| over(Transport::Sse))
    }
}

/// The repeats of a metric, if there are any. What a failed run measured until it failed is not a figure.
pub(super) fn repeats(run: &Run, metric: Metric) -> Option<&Repeats> {
    run.metrics.get(&metric).filter(|repeats| !repeats.0.is_empty() && run.failure.is_none())
}

/// How many deliveries were lost, repeated and out of order in these runs, failed ones too; nothing if nobody counted.
pub(super) fn wrong<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Option<[f64; 3]> {
    let sum = |metric| {
        let counts = runs.clone().filter_map(|run| run.metrics.get(&metric)).flat_map(|repeats| &repeats.0);
        counts.copied().reduce(|one, other| one + other)
    };
    Some([sum(Metric::Lost)?, sum(Metric::Repeated)?, sum(Metric::OutOfOrder)?])
}

/// The median of a metric, if it was measured.
pub(super) fn median(run: &Run, metric: Metric) -> Option<f64> {
    repeats(run, metric).map(Repeats::median)
}

/// What a server is called in tables and plots. Node.js alone answers what `ws` does not do.
pub(super) fn label(server: &str, transport: Option<Transport>) -> String {
    match (server, transport) {
        (PLAINWIRE, _) => "Plainwire",
        (BARE, _) => "bare write",
        ("nchan", _) => "Nchan",
        ("ws", Some(Transport::WebSocket) | None) => "Node.js ws",
        ("ws", _) => "Node.js",
        ("socket.io", _) => "Socket.IO",
        ("centrifugo", _) => "Centrifugo",
        ("mercure", _) => "Mercure",
        (other, _) => other,
    }
    .to_owned()
}

/// A figure with three digits that count, thousands apart.
pub(crate) fn shown(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    grouped(&format!("{value:.digits$}"))
}

/// A number of things, thousands apart.
pub(super) fn counted(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

fn grouped(text: &str) -> String {
    let whole = text.split('.').next().unwrap_or(text);
    let sign = usize::from(whole.starts_with('-'));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > sign && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &text[whole.len()..]
}

/// A median, and behind it the smallest and the largest value where there are several.
pub(super) fn spread(repeats: &Repeats) -> String {
    match repeats.0.len() {
        0 => "–".into(),
        1 => shown(repeats.median()),
        _ => format!("{} ({}–{})", shown(repeats.median()), shown(repeats.min()), shown(repeats.max())),
    }
}

/// The day of a time in seconds since 1970, as `2026-03-01`.
pub(super) fn day(seconds: u64) -> String {
    // Years are counted from March, so that the day which only some years have is the last one.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{:04}-{month:02}-{date:02}", era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_count() {
        let cases = [(0.0, "0"), (0.0834, "0.083"), (6.194, "6.19"), (9.996, "10.0"), (14.85, "14.8")];
        let large = [
            (99.96, "100"),
            (999.6, "1,000"),
            (137_421.3, "137,421"),
            (-1234.0, "-1,234"),
            (-12.34, "-12.3"),
        ];
        for (value, text) in cases.into_iter().chain(large) {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn the_spread_stands_behind_the_median() {
        assert_eq!(spread(&Repeats(vec![3.0, 1.0, 2.0])), "2.00 (1.00–3.00)");
        assert_eq!(spread(&Repeats(vec![3.0])), "3.00");
        assert_eq!(spread(&Repeats(vec![])), "–");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(951_868_800), "2000-03-01");
        assert_eq!(day(1_767_225_599), "2025-12-31");
        assert_eq!(day(1_795_260_283), "2026-11-21");
    }
}
