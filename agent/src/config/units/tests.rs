use super::*;
use proptest::prelude::{any, prop_assert_eq, proptest};

#[test]
fn durations() {
    for (text, nanos) in [
        ("0", 0),
        ("0s", 0),
        ("5s", 5_000_000_000),
        ("200ms", 200_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2.s", 2_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("3µs", 3_000),
        ("3μs", 3_000),
        ("0.000000001s", 1),
        ("18446744073709551615ns", u64::MAX),
    ] {
        let parsed = text.parse::<HumanDuration>().unwrap();
        assert_eq!(parsed.0, Duration::from_nanos(nanos), "{text}");
    }
    for text in [
        "",
        "5",
        "s",
        ".",
        ".s",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5S",
        "1..5s",
        "1.5.2s",
        "5sec",
        "1d",
        "0.5ns",
        "18446744073709551616ns",
        "99999999999h",
        "1e3s",
        "5s,",
        "00",
    ] {
        let error = text.parse::<HumanDuration>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("found `{text}`, expected {DURATION_FORM}"),
            "{text}"
        );
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("0B", 0),
        ("512B", 512),
        ("512", 512),
        ("4KiB", 4096),
        ("64MiB", 64 << 20),
        ("1GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
    for text in [
        "",
        "MiB",
        "-1",
        "1.5MiB",
        "4 KiB",
        "4KB",
        "4kib",
        "4k",
        "18446744073709551616",
        "16777216TiB",
    ] {
        let error = text.parse::<Size>().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("found `{text}`, expected {SIZE_FORM}"),
            "{text}"
        );
    }
}

#[test]
fn shortest_forms() {
    for text in ["0s", "5s", "1m", "1m30s", "200ms", "1h2m3s4ms5us6ns"] {
        assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), text);
    }
    for text in ["0B", "1B", "1023B", "1KiB", "1025B", "64MiB", "3TiB"] {
        assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
    }
}

proptest! {
    #[test]
    fn durations_round_trip(nanos in any::<u64>()) {
        let duration = HumanDuration(Duration::from_nanos(nanos));
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn sizes_round_trip(count in any::<u32>(), shift in 0_u32..32) {
        let size = Size(u64::from(count) << shift);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn no_text_panics(text in ".*") {
        let duration = text.parse::<HumanDuration>();
        let size = text.parse::<Size>();
        prop_assert_eq!(duration.is_err() && size.is_err() || !text.is_empty(), true);
    }
}
