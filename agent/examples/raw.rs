#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::let_underscore_must_use)]
use mqspan::kernel::*; use mqspan::event::*;
fn main() {
    let b = match std::env::args().nth(1).as_deref() { Some("fentry") => BackendChoice::Only(Backend::Fentry), Some("kprobe") => BackendChoice::Only(Backend::Kprobe), Some("tracepoint") => BackendChoice::Only(Backend::Tracepoint), _ => BackendChoice::Auto };
    let s = KernelSettings { syscalls: ["mq_open","mq_unlink","mq_timedsend","mq_timedreceive","mq_notify","mq_getsetattr"].map(str::to_owned).to_vec(), native: true, compat: true, ring_buffer_size: 8<<20, max_in_flight: 65536, filter: Default::default() };
    let t0 = std::time::Instant::now();
    let t = match Tracer::start(b, &s) { Ok(t) => t, Err(e) => { eprintln!("{e}"); std::process::exit(1) } };
    eprintln!("{} in {:?}; passed over {:?}", t.backend(), t0.elapsed(), t.passed_over().iter().map(|e| e.to_string()).collect::<Vec<_>>());
    let quiet = std::env::args().nth(2).is_some();
    let mut n = 0u64;
    let np = &mut n;
    let ring = t.ring(move |b| { *np += 1; if !quiet { println!("{:?}", Event::parse(b)); } else { std::hint::black_box(&Event::parse(b).is_ok()); } }).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(std::env::var("SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(3));
    while std::time::Instant::now() < end { ring.take(Wait::For(std::time::Duration::from_millis(20))).unwrap(); }
    println!("{:?}", t.counts());
}
