#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| phean_fuzz::targets::protocol(input));
