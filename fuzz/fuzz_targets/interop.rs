//! The body is `reliable_channel::fuzzing::interop`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reliable_channel::fuzzing::interop(data));
