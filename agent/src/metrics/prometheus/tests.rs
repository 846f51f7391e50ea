//! Reads the text format back with an independent parser.

use std::collections::BTreeMap;

use super::*;
use crate::config::Histograms;
use crate::histogram::{Distribution, Forms};
use crate::metrics::catalog::{Definition, MetricKind};
use crate::metrics::proto::{
    DurationPoint, Period, durations, int, number, numbers, text as label,
};
use crate::resource::AttributeValue;

/// Values as text, by name and labels.
type Samples = BTreeMap<(String, Vec<(String, String)>), String>;

/// Parses the text format, independently of the writer. Panics on anything that the format forbids
/// and on a duplicate series.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    assert!(text.ends_with('\n'));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap();
        let name = &line[..end];
        let mut labels = Vec::new();
        let mut rest = &line[end..];
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (key, after) = rest.split_once("=\"").unwrap();
                let (value, after) = unescape(after);
                labels.push((key.to_owned(), value));
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').unwrap().to_owned();
        value.parse::<f64>().unwrap();
        let old = samples.insert((name.to_owned(), labels), value);
        assert_eq!(old, None, "{line}");
    }
    samples
}

/// Unescapes the text up to the closing quote. Returns it and the rest after the quote.
fn unescape(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("escape {c:?}"),
            }),
            c => value.push(c),
        }
    }
    panic!("no closing quote");
}

fn define(name: &'static str, kind: MetricKind, unit: &'static str) -> Definition {
    Definition {
        name,
        kind,
        unit,
        attributes: "",
        description: "",
    }
}

fn get<'a>(samples: &'a Samples, name: &str, labels: &[(&str, &str)]) -> &'a str {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    &samples[&(name.to_owned(), labels)]
}

#[test]
fn names_have_unit_and_total() {
    for (name, kind, unit, expected) in [
        (
            "a.b.sent.messages",
            MetricKind::Counter,
            "{message}",
            "a_b_sent_messages_total",
        ),
        (
            "a.run_time",
            MetricKind::Counter,
            "s",
            "a_run_time_seconds_total",
        ),
        (
            "a.duration",
            MetricKind::Histogram,
            "s",
            "a_duration_seconds",
        ),
        (
            "a.memory",
            MetricKind::UpDownCounter,
            "By",
            "a_memory_bytes",
        ),
        ("a.depth", MetricKind::Gauge, "{message}", "a_depth"),
    ] {
        let definition = define(name, kind, unit);
        let metric = if kind == MetricKind::Histogram {
            durations(&definition, Histograms::Explicit, Vec::new())
        } else {
            numbers(&definition, Vec::new())
        };
        assert_eq!(super::name(&metric), expected);
    }
}

#[test]
fn any_queue_name_comes_back_and_breaks_no_line() {
    let names = [
        "/plain",
        "/quote\"} 9\n# TYPE x counter\nx 1",
        "/back\\slash\\n",
        "/ends with \\",
        "/{a=\"b\",c} 7",
        "/ümlaut \u{fffd} \u{2028}",
    ];
    let definition = Definition {
        description: "Two\nlines \\ \"here\"",
        ..define("q.depth", MetricKind::Gauge, "{message}")
    };
    let points = names.into_iter().enumerate().map(|(at, name)| {
        let label = label("messaging.destination.name", name);
        number(Period::default(), vec![label], at as u64)
    });
    let metric = numbers(&definition, points.collect());
    let text = text(&[metric], &Resource::default(), Format::Text);
    assert!(text.contains("# HELP q_depth Two\\nlines \\\\ \"here\"\n"));
    let samples = parse(&text);
    assert_eq!(samples.len(), names.len() + 1);
    for (at, name) in names.into_iter().enumerate() {
        let value = get(&samples, "q_depth", &[("messaging_destination_name", name)]);
        assert_eq!(value, at.to_string());
    }
}

#[test]
fn an_array_becomes_json_in_its_label() {
    let addresses = ["10.0.0.1", "fe80::1\"\n"].map(str::to_owned);
    let attributes = vec![("host.ip".into(), AttributeValue::Strings(addresses.into()))];
    let resource = Resource { attributes };
    let samples = parse(&text(&[], &resource, Format::Text));
    let label = ("host_ip", r#"["10.0.0.1","fe80::1\"\n"]"#);
    assert_eq!(get(&samples, "target_info", &[label]), "1");
}

#[test]
fn buckets_add_up() {
    let mut histogram = Distribution::new(Forms::EXPLICIT);
    for ns in [1, 5_000_000, 5_000_001, 80_000_000, 60_000_000_000] {
        histogram.record(ns);
    }
    let point = DurationPoint {
        period: Period::default(),
        attributes: vec![int("posix_mq.ipc_namespace", 7)],
        durations: &histogram,
        exemplars: Vec::new(),
    };
    let definition = define("m.duration", MetricKind::Histogram, "s");
    let metric = durations(&definition, Histograms::Explicit, [point]);
    let samples = parse(&text(&[metric], &Resource::default(), Format::Text));
    let bucket = |le: &str| {
        let labels = [("posix_mq_ipc_namespace", "7"), ("le", le)];
        get(&samples, "m_duration_seconds_bucket", &labels)
    };
    assert_eq!(bucket("1e-06"), "1");
    assert_eq!(bucket("1.65e-06"), "1");
    assert_eq!(bucket("0.00012"), "1");
    assert_eq!(bucket("100"), "5");
    assert_eq!(bucket("0.005"), "2");
    assert_eq!(bucket("0.01"), "3");
    assert_eq!(bucket("0.075"), "3");
    assert_eq!(bucket("0.1"), "4");
    assert_eq!(bucket("10"), "4");
    assert_eq!(bucket("+Inf"), "5");
    let labels = [("posix_mq_ipc_namespace", "7")];
    assert_eq!(get(&samples, "m_duration_seconds_count", &labels), "5");
    let sum: f64 = get(&samples, "m_duration_seconds_sum", &labels)
        .parse()
        .unwrap();
    assert!((sum - 60.090_000_002).abs() < 1e-9, "{sum}");
}

#[test]
fn empty_metrics_are_left_out_and_numbers_without_labels_have_no_braces() {
    let empty = numbers(&define("a.empty", MetricKind::Counter, "s"), Vec::new());
    let mut point = number(Period::default(), Vec::new(), 0);
    point.value = Some(Number::AsDouble(1.5));
    let definition = Definition {
        description: "x",
        ..define("a.time", MetricKind::Counter, "s")
    };
    let number = numbers(&definition, vec![point]);
    let mut resource = Resource::default();
    resource.set_text("service.name", "mq\"span");
    let text = text(&[empty, number], &resource, Format::Text);
    assert_eq!(
        text,
        "# HELP target_info Target metadata\n# TYPE target_info gauge\n\
         target_info{service_name=\"mq\\\"span\"} 1\n\
         # HELP a_time_seconds_total x\n# TYPE a_time_seconds_total counter\n\
         a_time_seconds_total 1.5\n"
    );
}

#[test]
fn openmetrics_has_exemplars_and_an_end() {
    let mut histogram = Distribution::new(Forms::EXPLICIT);
    for ns in [2_000_000_000, 3_000_000_000, 200_000_000_000] {
        histogram.record(ns);
    }
    let exemplar = |value, number| Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: 1_795_500_000_000_000_007,
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        value: Some(ExemplarValue::AsDouble(value)),
    };
    let point = DurationPoint {
        period: Period::default(),
        attributes: Vec::new(),
        durations: &histogram,
        exemplars: vec![exemplar(2.0, 0xab), exemplar(200.0, 0x0c)],
    };
    let duration = define("m.duration", MetricKind::Histogram, "s");
    let count = Definition {
        description: "of \"all\"",
        ..define("m.sent", MetricKind::Counter, "{message}")
    };
    let metrics = [
        durations(&duration, Histograms::Explicit, [point]),
        numbers(&count, vec![number(Period::default(), Vec::new(), 3)]),
    ];
    let text = |format| super::text(&metrics, &Resource::default(), format);
    let open = text(Format::OpenMetrics);
    for line in [
        "# TYPE target info",
        "target_info 1",
        "# TYPE m_duration_seconds histogram",
        "m_duration_seconds_bucket{le=\"1.0\"} 0",
        "m_duration_seconds_bucket{le=\"2.5\"} 1 # {trace_id=\"abababababababababababababababab\",\
         span_id=\"abababababababab\"} 2 1795500000.000000007",
        "m_duration_seconds_bucket{le=\"5.0\"} 2",
        "m_duration_seconds_bucket{le=\"+Inf\"} 3 # {trace_id=\"0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c\",\
         span_id=\"0c0c0c0c0c0c0c0c\"} 200 1795500000.000000007",
        "# HELP m_sent of \\\"all\\\"",
        "# TYPE m_sent counter",
        "m_sent_total 3",
    ] {
        assert!(open.lines().any(|found| found == line), "{line}\n{open}");
    }
    assert!(open.ends_with("\n# EOF\n"));
    let plain = text(Format::Text);
    assert!(
        !plain.contains(" # {") && !plain.contains("# EOF"),
        "{plain}"
    );
    assert!(plain.contains("m_duration_seconds_bucket{le=\"1\"} 0\n"));
    assert!(plain.contains("# TYPE m_sent_total counter\n"));
}
