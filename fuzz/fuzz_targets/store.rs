//! The body is `reliable_channel::fuzzing::store`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reliable_channel::fuzzing::store(data));
