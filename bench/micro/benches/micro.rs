//! Times every unit: `cargo bench --package plainwire-micro`.

use criterion::{Criterion, criterion_group, criterion_main};
use plainwire_micro::UNITS;

fn time(criterion: &mut Criterion) {
    for unit in UNITS {
        let mut work = unit.prepare();
        criterion.bench_function(unit.name, |bencher| bencher.iter(&mut work));
    }
}

criterion_group!(benches, time);
criterion_main!(benches);
