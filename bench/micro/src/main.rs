//! `plainwire-micro` lists the units; `plainwire-micro UNIT TIMES` does one so many times, for a tool that counts.

use std::process::ExitCode;

use plainwire_micro::UNITS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            for unit in UNITS {
                println!("{}\t{}", unit.name, unit.about);
            }
            true
        }
        [name, times] => repeat(name, times),
        _ => false,
    };
    if done {
        return ExitCode::SUCCESS;
    }
    eprintln!("usage: plainwire-micro [UNIT TIMES]; without arguments it lists the units");
    ExitCode::from(2)
}

/// Whether there is such a unit and such a number; if so, does the work.
fn repeat(name: &str, times: &str) -> bool {
    let (Some(unit), Ok(times)) = (UNITS.iter().find(|unit| unit.name == name), times.parse::<u64>()) else {
        return false;
    };
    let mut work = unit.prepare();
    for _ in 0..times {
        work();
    }
    true
}
