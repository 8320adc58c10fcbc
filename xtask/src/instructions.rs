//! The instructions of each unit of bench/micro, counted, and compared with those that are on record.
//!
//! Times differ from run to run and from machine to machine; counts hardly do, so that a few percent are seen. Valgrind gives
//! every x86-64 machine with AVX2 the same processor to see, so what looks for a faster way there finds the same. A
//! count still depends on the compiler, on libc and on the code around: that is what the tolerance is for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::command::output;
use crate::install;
use crate::workspace::root;

/// The counts on record.
const RECORD: &str = "bench/micro/instructions.toml";
/// How much a unit may exceed its record, in percent.
const TOLERANCE: u64 = 5;
/// The same where the record was made with another compiler or libc, which move counts by themselves: a newer toolchain should not
/// fail whoever changed nothing.
const TOLERANCE_ELSEWHERE: u64 = 25;
/// From how much less on a record is out of date, in percent: the room up to it would hide that it gets slower again.
const OUT_OF_DATE: u64 = 10;
/// How often a unit is done in each of its runs. What it takes to start a process, and to make what a unit needs, is in all
/// three, so the differences have it no more. The steps are whole rounds of the unit with the longest round, 512.
const TIMES: [u64; 3] = [128, 640, 1152];
/// How far the two differences may lie apart, in a thousandth: if they do, the unit is not the same work each time.
const UNSTEADY: u64 = 5;

/// Without the processor's instructions for strings in libc's `memset` and `memcpy`: Valgrind counts one for each byte, and libc
/// chooses by the processor's model from which length on it takes them.
const NO_STRINGS: &str =
    "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000";

/// Counts all units and compares; with `--update` writes the record instead.
pub(crate) fn check(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let update = match arguments {
        [] => false,
        ["--update"] => true,
        _ => return Err("the step `instructions` takes `--update` and nothing else".into()),
    };
    let valgrind = install::valgrind()?;
    let counted = Record { setting: Setting::here(&valgrind)?, counts: count_all(&valgrind, program)? };
    let path = root().join(RECORD);
    if update {
        fs::write(&path, counted.to_text()).map_err(|error| format!("{RECORD}: {error}"))?;
        let table = table(&counted.counts, &counted.counts, TOLERANCE);
        println!("{table}{RECORD} is written: say in the commit why");
        return Ok(());
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("{RECORD}: {error}"))?;
    compare(&Record::parse(&text)?, &counted)
}

/// What the counts are, and what they hold for.
#[derive(Debug, PartialEq)]
struct Record {
    setting: Setting,
    counts: Counts,
}

/// Units and instructions, in the order of the units.
type Counts = Vec<(String, u64)>;

/// What makes a difference to counts and is no part of the repository.
#[derive(Debug, PartialEq)]
struct Setting {
    architecture: String,
    tools: String,
}

impl Setting {
    fn here(valgrind: &Path) -> Result<Setting, String> {
        let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
        let rustc = first(output(Command::new("rustc").arg("--version"))?);
        // `rustc 1.95.0 (59807616e 2026-04-14)`: its number is enough.
        let rustc: Vec<&str> = rustc.split(' ').take(2).collect();
        let libc = first(output(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default());
        let mut tools = vec![rustc.join(" "), libc, first(output(Command::new(valgrind).arg("--version"))?)];
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if processor.split_whitespace().any(|feature| feature == "avx2") {
            tools.push("AVX2".into());
        }
        Ok(Setting { architecture: std::env::consts::ARCH.into(), tools: tools.join(", ") })
    }
}

impl Record {
    fn to_text(&self) -> String {
        let mut text = format!(
            "# Instructions for each unit of work, by `cargo xtask test instructions -- --update`.\n\
             architecture = \"{}\"\n\
             tools = \"{}\"\n\n\
             [instructions]\n",
            self.setting.architecture, self.setting.tools
        );
        for (unit, count) in &self.counts {
            let _ = writeln!(text, "{unit} = {count}");
        }
        text
    }

    /// Reads what [`Record::to_text`] writes, which is as much of TOML as is needed.
    fn parse(text: &str) -> Result<Record, String> {
        let (mut architecture, mut tools, mut counts) = (None, None, Vec::new());
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let wrong = || format!("{RECORD}:{number}: not understood: `{line}`");
            if line.is_empty() || line.starts_with('#') || line == "[instructions]" {
                continue;
            }
            let (name, value) = line.split_once(" = ").ok_or_else(wrong)?;
            match name {
                "architecture" => architecture = Some(value.trim_matches('"').to_owned()),
                "tools" => tools = Some(value.trim_matches('"').to_owned()),
                unit => counts.push((unit.to_owned(), value.parse().map_err(|_| wrong())?)),
            }
        }
        match (architecture, tools) {
            (Some(architecture), Some(tools)) => {
                Ok(Record { setting: Setting { architecture, tools }, counts })
            }
            _ => Err(format!("{RECORD}: `architecture` or `tools` is missing")),
        }
    }
}

fn count_all(valgrind: &Path, program: &Path) -> Result<Counts, String> {
    let listing = output(&mut Command::new(program))?;
    let units = listing.lines().filter_map(|line| line.split('\t').next());
    let counts: Counts = units
        .map(|unit| {
            // Side by side: a count does not depend on what else the machine does.
            let [first, second, third] = thread::scope(|scope| {
                TIMES
                    .map(|times| scope.spawn(move || count(valgrind, program, unit, times)))
                    .map(|run| run.join().expect("counting does not panic"))
            });
            Ok((unit.to_owned(), for_each(unit, [first?, second?, third?])?))
        })
        .collect::<Result<_, String>>()?;
    if counts.is_empty() { Err("there are no units".into()) } else { Ok(counts) }
}

/// The instructions of a whole process that does a unit so many times.
///
/// Of Valgrind's tools that count, this is by far the fastest: it adds a block's instructions up at once.
fn count(valgrind: &Path, program: &Path, unit: &str, times: u64) -> Result<u64, String> {
    let mut command = Command::new(valgrind);
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--log-fd=1"]);
    // The environment is on the stack, and moves what follows it.
    command.arg(program).arg(unit).arg(times.to_string()).env_clear().env("GLIBC_TUNABLES", NO_STRINGS);
    let said = output(&mut command)?;
    total(&said).ok_or_else(|| format!("valgrind did not say how many instructions it counted:\n{said}"))
}

/// The number in cachegrind's line `==1== I   refs:      1,234`, or `I refs:` since Valgrind 3.21.
fn total(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains(" I ") && line.contains("refs:"))?;
    line.rsplit(' ').next()?.replace(',', "").parse().ok()
}

/// The instructions for each time, from those of three runs.
fn for_each(unit: &str, totals: [u64; 3]) -> Result<u64, String> {
    let first = totals[1].saturating_sub(totals[0]) / (TIMES[1] - TIMES[0]);
    let second = totals[2].saturating_sub(totals[1]) / (TIMES[2] - TIMES[1]);
    let apart = first.abs_diff(second);
    // A whole instruction may be due to rounding.
    if apart > 1 && apart * 1000 > first.max(second) * UNSTEADY {
        return Err(format!(
            "{unit}: {first} instructions at first and {second} later; it must be the same work"
        ));
    }
    let all = totals[2].saturating_sub(totals[0]);
    let times = TIMES[2] - TIMES[0];
    Ok((all + times / 2) / times)
}

/// Prints the counts beside those on record. Fails if a unit exceeds what it may take, or if the units differ.
fn compare(record: &Record, counted: &Record) -> Result<(), String> {
    let same_tools = record.setting.tools == counted.setting.tools;
    let tolerance = if same_tools { TOLERANCE } else { TOLERANCE_ELSEWHERE };
    let table = table(&record.counts, &counted.counts, tolerance);
    if record.setting.architecture != counted.setting.architecture {
        println!("{table}not compared: the record is of {}", record.setting.architecture);
        return Ok(());
    }
    let names = |counts: &Counts| counts.iter().map(|(unit, _)| unit.clone()).collect::<Vec<_>>();
    let update = "`cargo xtask test instructions -- --update` writes a new record";
    if names(&record.counts) != names(&counted.counts) {
        return Err(format!("{table}{RECORD} has other units; {update}"));
    }
    let pairs = || record.counts.iter().zip(&counted.counts);
    if pairs().any(|((_, recorded), (_, measured))| *measured > allowed(*recorded, tolerance)) {
        let mut reason =
            format!("{table}more instructions than allowed. If that is what it must cost, {update}");
        if !same_tools {
            let (then, now) = (&record.setting.tools, &counted.setting.tools);
            let _ = write!(
                reason,
                "\nThe record is by {then}, this count by {now}: that may be all there is to it."
            );
        }
        return Err(reason);
    }
    print!("{table}");
    if pairs().any(|((_, recorded), (_, measured))| is_out_of_date(*recorded, *measured)) {
        println!("notice: it got cheaper; {update}, so that it stays so");
    }
    Ok(())
}

fn allowed(recorded: u64, tolerance: u64) -> u64 {
    recorded * (100 + tolerance) / 100
}

fn is_out_of_date(recorded: u64, measured: u64) -> bool {
    measured * 100 < recorded * (100 - OUT_OF_DATE)
}

/// A line for each unit of either.
fn table(recorded: &Counts, measured: &Counts, tolerance: u64) -> String {
    let find =
        |counts: &Counts, unit: &str| counts.iter().find(|(name, _)| name == unit).map(|(_, count)| *count);
    let mut text = format!("{:<20}{:>10}{:>10}{:>8}\n", "unit", "allowed", "measured", "ratio");
    for (unit, measured) in measured {
        let Some(recorded) = find(recorded, unit) else {
            let _ = writeln!(text, "{unit:<20}{:>10}{measured:>10}{:>8}  not on record", "", "");
            continue;
        };
        let allowed = allowed(recorded, tolerance);
        let ratio = *measured as f64 / recorded.max(1) as f64;
        let verdict = match *measured {
            measured if measured > allowed => "  MORE THAN ALLOWED",
            measured if is_out_of_date(recorded, measured) => "  cheaper than on record",
            _ => "",
        };
        let _ = writeln!(text, "{unit:<20}{allowed:>10}{measured:>10}{ratio:>8.3}{verdict}");
    }
    for (unit, count) in recorded.iter().filter(|(unit, _)| find(measured, unit).is_none()) {
        let _ = writeln!(
            text,
            "{unit:<20}{:>10}{:>10}{:>8}  on record, but gone",
            allowed(*count, tolerance),
            "",
            ""
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(counts: &[(&str, u64)]) -> Record {
        let setting = Setting { architecture: "x86_64".into(), tools: "rustc 1.0.0, valgrind-3.0.0".into() };
        Record { setting, counts: counts.iter().map(|(unit, count)| ((*unit).to_owned(), *count)).collect() }
    }

    fn line<'a>(text: &'a str, unit: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(unit)).unwrap()
    }

    #[test]
    fn five_percent_more_pass_and_the_next_instruction_fails() {
        let before = record(&[("a", 1000), ("b", 2000)]);
        assert_eq!(compare(&before, &record(&[("a", 1050), ("b", 1)])), Ok(()));
        let reason = compare(&before, &record(&[("a", 1051), ("b", 2000)])).unwrap_err();
        let words: Vec<&str> = line(&reason, "a ").split_whitespace().collect();
        assert_eq!(words, ["a", "1050", "1051", "1.051", "MORE", "THAN", "ALLOWED"]);
        assert!(!line(&reason, "b ").contains("MORE"), "{reason}");
        assert!(reason.contains("-- --update"), "{reason}");
    }

    #[test]
    fn units_must_be_those_on_record() {
        let before = record(&[("a", 1000)]);
        let reason = compare(&before, &record(&[("a", 1000), ("new", 5)])).unwrap_err();
        assert!(line(&reason, "new").contains("not on record"), "{reason}");
        let reason = compare(&before, &record(&[])).unwrap_err();
        assert!(line(&reason, "a ").contains("gone"), "{reason}");
    }

    #[test]
    fn ten_percent_less_is_worth_a_notice() {
        assert!(!is_out_of_date(1000, 900));
        assert!(is_out_of_date(1000, 899));
        assert!(
            line(&table(&vec![("a".into(), 1000)], &vec![("a".into(), 899)], TOLERANCE), "a ")
                .contains("cheaper")
        );
    }

    #[test]
    fn other_tools_are_told_of_when_it_fails() {
        let mut after = record(&[("a", 2000)]);
        assert!(!compare(&record(&[("a", 1000)]), &after).unwrap_err().contains("rustc"));
        after.setting.tools = "rustc 2.0.0, valgrind-3.0.0".into();
        assert!(compare(&record(&[("a", 1000)]), &after).unwrap_err().contains("rustc 2.0.0"));
        assert_eq!(compare(&record(&[("a", 1600)]), &after), Ok(()), "they may be 25 % apart");
        assert!(compare(&record(&[("a", 1599)]), &after).is_err());
        after.setting.architecture = "aarch64".into();
        assert_eq!(compare(&record(&[("a", 1000)]), &after), Ok(()));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = record(&[("a", 1000), ("b-c", 2)]);
        assert_eq!(Record::parse(&written.to_text()), Ok(written));
        assert!(Record::parse("architecture = \"x\"\n").unwrap_err().contains("missing"));
        assert!(Record::parse("a = many\n").unwrap_err().contains(":1:"));
    }

    #[test]
    fn cachegrind_is_understood() {
        assert_eq!(total("==1== Cachegrind\n==1== \n==1== I   refs:      1,321,099\n"), Some(1_321_099));
        assert_eq!(total("==1== I refs:        84\n"), Some(84));
        assert_eq!(total("==1== Cachegrind, a profiler\n"), None);
    }

    #[test]
    fn starting_drops_out_and_unsteady_work_is_refused() {
        let totals = |start: u64, each: u64| TIMES.map(|times| start + each * times);
        assert_eq!(for_each("a", totals(1_000_000, 321)), Ok(321));
        let mut growing = totals(1_000_000, 1000);
        growing[2] += (TIMES[2] - TIMES[1]) * 6;
        assert!(for_each("a", growing).unwrap_err().contains("same work"));
    }
}
