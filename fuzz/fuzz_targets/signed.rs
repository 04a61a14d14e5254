//! The body is `reliable_channel::fuzzing::signed`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reliable_channel::fuzzing::signed(data));
