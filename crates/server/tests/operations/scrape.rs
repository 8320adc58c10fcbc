//! A scrape of the metrics, and what it says.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Server};

/// Every series by its name and labels, as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) fn of(server: &Server) -> Scrape {
        let response = server.get("/_/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        let media_type = response.header("content-type").expect("a media type");
        assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
        Scrape::parse(response.text())
    }

    pub(crate) fn parse(text: &str) -> Scrape {
        assert!(text.ends_with("# EOF\n"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Scrape { series: series.collect(), text: text.to_owned() }
    }

    /// The value of a series, such as `name{label="value"}`.
    pub(crate) fn get(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no series {series} in\n{}", self.text))
    }

    /// The names of all series.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.series.keys().map(String::as_str).collect()
    }

    /// The series of a metric, and their sum.
    pub(crate) fn sum(&self, metric: &str) -> f64 {
        let of = |name: &str| name == metric || name.starts_with(&format!("{metric}{{"));
        self.series.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
    }
}

/// Scrapes until it is as it should be.
pub(crate) fn wait_for(server: &Server, what: &str, is: impl Fn(&Scrape) -> bool) -> Scrape {
    let late = Instant::now() + DEADLINE;
    loop {
        let scrape = Scrape::of(server);
        if is(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < late, "waited in vain for {what}:\n{}", scrape.text);
        thread::park_timeout(Duration::from_millis(10));
    }
}
