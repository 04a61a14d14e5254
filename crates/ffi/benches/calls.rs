//! What a call through the C interface takes, and what a thousand managers take.
//!
//! `cargo bench -p reliable-channel-ffi`; `-- ROUNDS` for another number of rounds. Least and median of rounds of 1,000 pairs:
//! one manager wraps, another unwraps what came out, with an event callback that counts. Each time twice: by the clock, and
//! the processor time of the calling thread, which says little of what else the machine does.
#![allow(unsafe_code, reason = "C functions are called")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "what is passed outlives each call"
)]
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sds::abi::*;
use sds::rc::calls::*;
use sds::rc::channels::*;
use sds::rc::code::rc_code::RC_OK;
use sds::rc::event::*;
use sds::rc::hear::*;
use sds::rc::options::*;
use sds::rc::types::*;

static EVENTS: AtomicU64 = AtomicU64::new(0);
const PAIRS: usize = 1_000;

/// Where a text is. As the Go bindings do: it is read after the call.
struct Noted(*const u8, usize);

impl Noted {
    fn new() -> Self {
        Self(ptr::null(), 0)
    }

    fn text(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.0, self.1) }
    }
}

unsafe extern "C" fn keep(code: c_int, text: *const c_char, len: usize, into: *mut c_void) {
    let noted = Noted(text.cast(), len);
    assert_eq!(code, RET_OK, "{}", String::from_utf8_lossy(noted.text()));
    unsafe { *into.cast::<Noted>() = noted };
}

unsafe extern "C" fn ignore(code: c_int, text: *const c_char, len: usize, _: *mut c_void) {
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    assert_eq!(code, RET_OK, "{}", String::from_utf8_lossy(text));
}

unsafe extern "C" fn count(_: c_int, _: *const c_char, _: usize, _: *mut c_void) {
    EVENTS.fetch_add(1, Ordering::Relaxed);
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(20);
    // The first one starts the runtime.
    unsafe { SdsCleanupReliabilityManager(manager(), Some(ignore), ptr::null_mut()) };
    // Each in a process of its own: what one frees the next would take.
    if let Ok(case) = std::env::var("CASE") {
        match case.as_str() {
            "libsds" => managers(1_000, false),
            "libsds with channels" => managers(1_000, true),
            "rc" => rc_managers(1_000, false),
            _ => rc_managers(1_000, true),
        }
        return;
    }
    for case in ["libsds", "libsds with channels", "rc", "rc with channels"] {
        let program = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(program).env("CASE", case).status().unwrap().success());
    }
    for size in [256, 4_096] {
        rc_pairs(size, rounds);
    }
    for (size, events) in [(256, true), (256, false), (4_096, true)] {
        pairs(size, events, rounds);
    }
}

fn manager() -> *mut c_void {
    unsafe { SdsNewReliabilityManager(Some(ignore), ptr::null_mut()) }
}

fn pairs(size: usize, events: bool, rounds: usize) {
    let (sender, receiver) = (manager(), manager());
    if events {
        unsafe { SdsSetEventCallback(receiver, Some(count), ptr::null_mut()) };
    }
    let channel = CString::new("bench").unwrap();
    let content: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let (mut text, mut json) = (Noted::new(), Noted::new());
    let (mut wraps, mut unwraps) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (mut wrapping, mut unwrapping) = (Spent::default(), Spent::default());
        for pair in 0..PAIRS {
            let id = CString::new(format!("{round:032}{pair:032}")).unwrap();
            let start = content.as_ptr().cast_mut().cast();
            wrapping.add(|| unsafe {
                let into = (&raw mut text).cast();
                SdsWrapOutgoingMessage(sender, start, size, id.as_ptr(), channel.as_ptr(), Some(keep), into);
            });
            // What a binding does with the text is its own.
            let mut message = bytes(text.text());
            unwrapping.add(|| unsafe {
                let into = (&raw mut json).cast();
                SdsUnwrapReceivedMessage(receiver, message.as_mut_ptr().cast(), message.len(), Some(keep), into);
            });
            black_box(json.text());
            // An answer acknowledges what was sent, as in a conversation: else all of it would stay open.
            if pair % 8 == 7 {
                acknowledge(receiver, sender, &channel, round * PAIRS + pair);
            }
        }
        wraps.push(wrapping);
        unwraps.push(unwrapping);
    }
    show(
        &format!("{size} B, {}, a text of {} bytes", if events { "events heard" } else { "no events heard" }, text.1),
        &wraps,
        &unwraps,
    );
    for ctx in [sender, receiver] {
        unsafe { SdsCleanupReliabilityManager(ctx, Some(ignore), ptr::null_mut()) };
    }
}

fn show(title: &str, wraps: &[Spent], unwraps: &[Spent]) {
    let shown = |what: &str, spent: &[Spent]| {
        let mut clock: Vec<f64> = spent.iter().map(|spent| spent.clock.as_secs_f64() * 1e6 / PAIRS as f64).collect();
        let mut thread: Vec<f64> = spent.iter().map(|spent| spent.thread.as_secs_f64() * 1e6 / PAIRS as f64).collect();
        clock.sort_unstable_by(f64::total_cmp);
        thread.sort_unstable_by(f64::total_cmp);
        let middle = spent.len() / 2;
        println!(
            "  {what}: {:.1} us least, {:.1} median; processor time of the caller {:.1} least, {:.1} median",
            clock[0], clock[middle], thread[0], thread[middle]
        );
    };
    println!("{title}");
    shown("wrap", wraps);
    shown("unwrap", unwraps);
    let both: Vec<Spent> = wraps.iter().zip(unwraps).map(|(a, b)| a.and(b)).collect();
    shown("both", &both);
}

fn text(text: &str) -> rc_bytes {
    rc_bytes { data: text.as_ptr(), len: text.len() }
}

fn rc_manager_named(name: &str) -> *mut rc_manager {
    let mut made = ptr::null_mut();
    unsafe {
        let options = rc_options_new(text(name));
        assert_eq!(rc_open(options, &raw mut made), RC_OK);
        rc_options_free(options);
        made
    }
}

/// As [`pairs`], through `reliable_channel.h`, in the dialect of LIP-109: each round is a conversation of its own, for filters
/// grow with it. Events are asked for after each pair.
fn rc_pairs(size: usize, rounds: usize) {
    let content: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let content = rc_bytes { data: content.as_ptr(), len: size };
    let none = rc_bytes { data: ptr::null(), len: 0 };
    let (mut wraps, mut unwraps, mut len) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let (sender, receiver) = (rc_manager_named("alice"), rc_manager_named("bob"));
        for manager in [sender, receiver] {
            assert_eq!(unsafe { rc_join(manager, text("bench")) }, RC_OK);
        }
        let (mut wrapping, mut unwrapping) = (Spent::default(), Spent::default());
        for pair in 0..PAIRS {
            let mut made = rc_buffer { data: ptr::null_mut(), len: 0 };
            let into = &raw mut made;
            wrapping.add(|| unsafe {
                assert_eq!(rc_wrap(sender, text("bench"), none, content, ptr::null_mut(), into), RC_OK);
            });
            len = made.len;
            unwrapping.add(|| unsafe {
                let mut unwrapped = ptr::null_mut();
                let message = rc_bytes { data: made.data, len: made.len };
                assert_eq!(rc_unwrap(receiver, message, &raw mut unwrapped), RC_OK);
                black_box((*unwrapped).message.content.len);
                rc_unwrapped_free(unwrapped);
                rc_buffer_free(into);
            });
            if pair % 8 == 7 {
                rc_acknowledge(receiver, sender, none);
            }
            for manager in [sender, receiver] {
                rc_ask(manager);
            }
        }
        wraps.push(wrapping);
        unwraps.push(unwrapping);
        for manager in [sender, receiver] {
            assert_eq!(rc_close(manager), RC_OK);
        }
    }
    show(&format!("{size} B through rc_*, at the end a message of {len} bytes"), &wraps, &unwraps);
}

fn rc_acknowledge(from: *mut rc_manager, to: *mut rc_manager, none: rc_bytes) {
    let mut made = rc_buffer { data: ptr::null_mut(), len: 0 };
    unsafe {
        assert_eq!(rc_wrap(from, text("bench"), none, text("ok"), ptr::null_mut(), &raw mut made), RC_OK);
        let message = rc_bytes { data: made.data, len: made.len };
        assert_eq!(rc_unwrap(to, message, ptr::null_mut()), RC_OK);
        rc_buffer_free(&raw mut made);
    }
}

/// Takes all events there are.
fn rc_ask(manager: *mut rc_manager) {
    let mut event: *mut rc_event = ptr::null_mut();
    unsafe {
        while rc_next_event(manager, 0, &raw mut event) == RC_OK {
            rc_event_free(event);
        }
    }
}

/// As [`managers`], through `reliable_channel.h`.
fn rc_managers(number: usize, with_channel: bool) {
    let before = taken();
    let made: Vec<*mut rc_manager> = (0..number).map(|at| rc_manager_named(&format!("alice {at}"))).collect();
    let none = rc_bytes { data: ptr::null(), len: 0 };
    for &manager in &made {
        if with_channel {
            let mut bytes = rc_buffer { data: ptr::null_mut(), len: 0 };
            unsafe {
                assert_eq!(rc_join(manager, text("room")), RC_OK);
                assert_eq!(rc_wrap(manager, text("room"), none, text("text"), ptr::null_mut(), &raw mut bytes), RC_OK);
                rc_buffer_free(&raw mut bytes);
            }
        }
    }
    std::thread::sleep(Duration::from_secs(12));
    tell_taken(&format!("{number} managers of rc_*"), number, with_channel, before);
    for manager in made {
        assert_eq!(rc_close(manager), RC_OK);
    }
}

/// Time of calls: by the clock, and of this thread's processor.
#[derive(Clone, Copy, Default)]
struct Spent {
    clock: Duration,
    thread: Duration,
}

impl Spent {
    fn add(&mut self, call: impl FnOnce()) {
        let (began, thread) = (Instant::now(), processor_time());
        call();
        self.thread += processor_time() - thread;
        self.clock += began.elapsed();
    }

    fn and(self, other: &Self) -> Self {
        Self { clock: self.clock + other.clock, thread: self.thread + other.thread }
    }
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn bytes(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == b',').map(|digits| std::str::from_utf8(digits).unwrap().parse().unwrap()).collect()
}

fn acknowledge(from: *mut c_void, to: *mut c_void, channel: &CString, round: usize) {
    let id = CString::new(format!("answer {round}")).unwrap();
    let mut text = Noted::new();
    unsafe {
        let (start, into) = (b"ok".as_ptr().cast_mut().cast(), (&raw mut text).cast());
        SdsWrapOutgoingMessage(from, start, 2, id.as_ptr(), channel.as_ptr(), Some(keep), into);
    }
    let mut message = bytes(text.text());
    unsafe {
        let start = message.as_mut_ptr().cast();
        SdsUnwrapReceivedMessage(to, start, message.len(), Some(ignore), ptr::null_mut());
    }
}

/// What so many managers add to the process, with periodic tasks and, where asked for, a channel each.
fn managers(number: usize, with_channel: bool) {
    let before = taken();
    let made: Vec<*mut c_void> = (0..number).map(|_| manager()).collect();
    let (id, channel) = (CString::new("id").unwrap(), CString::new("room").unwrap());
    for &ctx in &made {
        unsafe {
            SdsSetEventCallback(ctx, Some(count), ptr::null_mut());
            SdsStartPeriodicTasks(ctx, Some(ignore), ptr::null_mut());
            if with_channel {
                let start = b"text".as_ptr().cast_mut().cast();
                SdsWrapOutgoingMessage(ctx, start, 4, id.as_ptr(), channel.as_ptr(), Some(ignore), ptr::null_mut());
            }
        }
    }
    // Threads that told the first events end after 10 s without any.
    std::thread::sleep(Duration::from_secs(12));
    tell_taken(&format!("{number} managers"), number, with_channel, before);
    for ctx in made {
        unsafe { SdsCleanupReliabilityManager(ctx, Some(ignore), ptr::null_mut()) };
    }
}

fn tell_taken(what: &str, number: usize, with_channel: bool, before: (u64, u64, usize)) {
    let after = taken();
    println!(
        "{what}{}: {:.1} KB each, {} further threads, {} further descriptors",
        if with_channel { " with a channel and a message each" } else { "" },
        (after.0.saturating_sub(before.0)) as f64 / number as f64,
        after.1 as i64 - before.1 as i64,
        after.2 as i64 - before.2 as i64,
    );
}

/// Kilobytes resident, threads, descriptors.
fn taken() -> (u64, u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    (number("VmRSS:"), number("Threads:"), std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count))
}
