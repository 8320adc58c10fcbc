//! Measures Plainwire beside what a user would pick instead: `cargo xtask bench`.

mod model;
mod peers;
mod report;

fn main() {}
