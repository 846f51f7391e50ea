use super::*;
use crate::config::Traces;
use crate::ids::Ids;
use crate::span::SpanSettings;
use crate::test_calls::receive;

/// 2026-11-24T06:00:00Z, the second of the timeout in `receive`.
const TIMEOUT_SECOND: u64 = 1_795_500_000;

fn line(call: &Call<'_>, start_unix_ns: u64, colours: bool) -> String {
    let settings = SpanSettings {
        ids: Ids::new(7),
        traces: Traces::default(),
    };
    let span = Span::new(call, &settings, (start_unix_ns, start_unix_ns + 1_500));
    let names = HashMap::from([(99, "shop\x1b".to_owned())]);
    let mut line = String::new();
    write_span(&mut line, &span, Colours(colours), &names).unwrap();
    line
}

#[test]
fn a_line_reads_like_strace() {
    let start = (TIMEOUT_SECOND - 1) * 1_000_000_000;
    let day = line(&receive(), start, false);
    let (call, result) = day.split_once(" = ").unwrap();
    assert_eq!(
        call.trim_end(),
        "05:59:59.000000 orders/101             i386    \
         mq_timedreceive_time32(3</orders>, 64, until 06:00:00.000000250Z)"
    );
    assert_eq!(call.chars().count(), 16 + 23 + 8 + RESULT_COLUMN);
    assert_eq!(
        result,
        "5  prio 7  depth 1/10  1.5 µs  \u{2190} shop\\u{1b}/99 after 690.0 µs"
    );
}

#[test]
fn a_timeout_on_another_day_has_its_date() {
    let yesterday = line(&receive(), (TIMEOUT_SECOND - 86_400) * 1_000_000_000, false);
    assert!(
        yesterday.contains(", until 2026-11-24T06:00:00.000000250Z)"),
        "{yesterday}"
    );
}

#[test]
fn the_colour_is_that_of_the_outcome() {
    let mut call = receive();
    for (ret, colour) in [
        (5, "\x1b[32m5"),
        (-110, "\x1b[33m-1 ETIMEDOUT"),
        (-90, "\x1b[31m-1 EMSGSIZE"),
    ] {
        call.ret = ret;
        let coloured = line(&call, 0, true);
        assert!(coloured.contains(colour), "{coloured:?}");
        assert!(!line(&call, 0, false).contains('\x1b'));
    }
}

#[test]
fn names_of_threads_are_bounded_and_renewed() {
    let mut printer = Printer::new(Vec::new(), Colours(false));
    let mut call = receive();
    for tid in 0..MAX_NAMES as u32 + 10 {
        call.tid = tid;
        printer.remember(&call);
    }
    assert_eq!(printer.names.len(), 10);
    call.comm = "renamed".into();
    printer.remember(&call);
    assert_eq!(
        printer.names.get(&call.tid).map(String::as_str),
        Some("renamed")
    );
}
