#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plainwire_fuzz::tokens::run(data));
