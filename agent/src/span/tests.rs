use std::collections::BTreeMap;

use super::*;
use crate::config::Globs;
use crate::event::{ApplicationSpan, Operation, Timeout};
use crate::test_calls::receive;

/// Attributes as text.
#[derive(Default)]
struct Shown(BTreeMap<&'static str, String>);

impl AttributeSink for Shown {
    fn text(&mut self, key: &'static str, value: &str) {
        self.0.insert(key, value.to_owned());
    }
    fn int(&mut self, key: &'static str, value: i64) {
        self.text(key, &value.to_string());
    }
    fn double(&mut self, key: &'static str, value: f64) {
        self.text(key, &value.to_string());
    }
    fn bool(&mut self, key: &'static str, value: bool) {
        self.text(key, &value.to_string());
    }
    fn bytes(&mut self, key: &'static str, value: &[u8]) {
        self.text(key, &format!("{value:?}"));
    }
}

fn settings(traces: Traces) -> SpanSettings {
    SpanSettings::new(Ids::new(7), traces)
}

fn shown(call: &Call<'_>, traces: Traces) -> BTreeMap<&'static str, String> {
    let settings = settings(traces);
    let mut shown = Shown::default();
    Span::new(call, &settings, (1_000, 2_000)).attributes(&mut shown);
    shown.0
}

/// What is there of these attributes.
fn some_of<'a>(
    shown: &'a BTreeMap<&'static str, String>,
    keys: &[&'static str],
) -> Vec<(&'static str, &'a str)> {
    let get = |key: &&'static str| Some((*key, shown.get(*key)?.as_str()));
    keys.iter().filter_map(get).collect()
}

#[test]
fn an_error_has_its_type_and_every_failure_its_errno() {
    let keys = ["posix_mq.errno", "error.type"];
    let mut call = receive();
    for (operation, ret, reentered, died, expected) in [
        (Operation::MqTimedreceive, 5, false, None, vec![]),
        (
            Operation::MqTimedreceive,
            -110,
            false,
            None,
            vec![("posix_mq.errno", "ETIMEDOUT")],
        ),
        (
            Operation::MqTimedsend,
            -110,
            false,
            None,
            vec![("posix_mq.errno", "ETIMEDOUT"), ("error.type", "ETIMEDOUT")],
        ),
        // Interrupted: seen as EINTR, or entered again, or the end of the thread.
        (
            Operation::MqTimedreceive,
            -512,
            false,
            None,
            vec![("posix_mq.errno", "EINTR")],
        ),
        (Operation::MqTimedreceive, -512, true, None, vec![]),
        (
            Operation::MqTimedreceive,
            -512,
            false,
            Some(9),
            vec![("error.type", "SIGKILL")],
        ),
        (
            Operation::MqOpen,
            -4000,
            false,
            None,
            vec![
                ("posix_mq.errno", "errno 4000"),
                ("error.type", "errno 4000"),
            ],
        ),
    ] {
        (call.operation, call.ret) = (operation, ret);
        (call.reentered, call.death_signal) = (reentered, died);
        let shown = shown(&call, Traces::default());
        assert_eq!(some_of(&shown, &keys), expected, "{ret}");
        let settings = settings(Traces::default());
        let is_error = Span::new(&call, &settings, (0, 0)).is_error;
        assert_eq!(is_error, shown.contains_key("error.type"), "{ret}");
    }
}

#[test]
fn what_another_attribute_says_is_left_out() {
    let keys = [
        "posix_mq.abs_timeout",
        "posix_mq.abs_timeout_sec",
        "posix_mq.abs_timeout_nsec",
        "posix_mq.nonblocking",
        "posix_mq.queue.full",
        "messaging.message.body.size",
        "messaging.destination.temporary",
    ];
    let mut call = receive();
    let valid = ("posix_mq.abs_timeout", "2026-11-24T06:00:00.000000250Z");
    assert_eq!(some_of(&shown(&call, Traces::default()), &keys), [valid]);
    call.nonblocking = Some(true);
    call.unlinked = true;
    call.depth = Some(10);
    call.timeout = Some(Timeout {
        sec: 5,
        nsec: 1_000_000_000,
    });
    let traces = Traces {
        body_size: true,
        ..Traces::default()
    };
    assert_eq!(
        some_of(&shown(&call, traces), &keys),
        [
            ("posix_mq.abs_timeout_sec", "5"),
            ("posix_mq.abs_timeout_nsec", "1000000000"),
            ("posix_mq.nonblocking", "true"),
            ("posix_mq.queue.full", "true"),
            ("messaging.message.body.size", "5"),
            ("messaging.destination.temporary", "true"),
        ]
    );
}

#[test]
fn a_child_has_a_link_too_and_keeps_it_as_a_root() {
    let mut call = receive();
    for (correlation, has_parent, has_link) in [
        (Correlation::Parent, true, true),
        (Correlation::Link, false, true),
        (Correlation::None, false, false),
    ] {
        let settings = settings(Traces {
            correlation,
            ..Traces::default()
        });
        call.sender.as_mut().unwrap().cause.is_parent = has_parent;
        let mut span = Span::new(&call, &settings, (0, 0));
        assert_eq!(span.parent_span_id.is_some(), has_parent, "{correlation}");
        assert_eq!(span.sender_link.is_some(), has_link, "{correlation}");
        if let Some(link) = span.sender_link {
            assert_eq!(span.parent_span_id.unwrap_or(link.span_id), link.span_id);
            span.become_root();
            assert_eq!(span.parent_span_id, None);
            assert_eq!(span.sender_link, Some(link));
            assert_eq!(span.trace_id == link.trace_id, has_parent);
        }
    }
}

#[test]
fn a_template_stands_for_the_queue_in_the_name_alone() {
    let settings = settings(Traces {
        destination_templates: Globs::new(&["ord*"]).unwrap(),
        ..Traces::default()
    });
    let call = receive();
    let span = Span::new(&call, &settings, (0, 0));
    assert_eq!(span.name(), ("mq_timedreceive_time32", Some("/ord*")));
    let mut shown = Shown::default();
    span.attributes(&mut shown);
    let keys = [
        "messaging.destination.name",
        "messaging.destination.template",
    ];
    assert_eq!(
        some_of(&shown.0, &keys),
        [
            ("messaging.destination.name", "/orders"),
            ("messaging.destination.template", "/ord*")
        ]
    );
}

const APPLICATION: ApplicationSpan = ApplicationSpan {
    trace: ApplicationTrace {
        id: [0xaa; 16],
        flags: 1,
    },
    id: [0xbb; 8],
};

#[test]
fn the_span_of_the_application_is_the_parent_if_it_is_sampled() {
    let settings = settings(Traces::default());
    let mut call = receive();
    let without = Span::new(&call, &settings, (0, 0));
    let sender = without.sender_link.unwrap();
    assert_eq!(without.parent_span_id, Some(sender.span_id));
    assert!(without.parent_is_remote);

    let mut with = receive();
    with.application = Some(APPLICATION);
    let span = Span::new(&with, &settings, (0, 0));
    assert_eq!((span.trace_id, span.trace_flags()), ([0xaa; 16], 1));
    assert_eq!(span.parent_span_id, Some([0xbb; 8]));
    assert_eq!(span.span_id, without.span_id);
    assert_eq!(
        (span.sender_link, span.application_link),
        (Some(sender), None)
    );
    assert!(!span.parent_is_remote);

    let mut unsampled = APPLICATION;
    unsampled.trace.flags = 2;
    with.application = Some(unsampled);
    let span = Span::new(&with, &settings, (0, 0));
    assert_eq!(span.trace_id, without.trace_id);
    assert_eq!(span.parent_span_id, without.parent_span_id);
    let link = Link {
        trace_id: [0xaa; 16],
        span_id: [0xbb; 8],
        trace_flags: 2,
    };
    assert_eq!(span.application_link, Some(link));

    // The receive of a message whose send is in the application's trace.
    let cause = &mut call.sender.as_mut().unwrap().cause;
    cause.application_trace = Some(APPLICATION.trace);
    let span = Span::new(&call, &settings, (0, 0));
    assert_eq!(span.trace_id, [0xaa; 16]);
    assert_eq!(span.parent_span_id, Some(sender.span_id));
    assert_eq!(span.sender_link.unwrap().trace_id, [0xaa; 16]);
}

#[test]
fn a_restart_is_in_the_trace_of_what_it_restarts() {
    let settings = settings(Traces::default());
    let mut call = receive();
    call.sender = None;
    call.restarts = Some(900_000);
    let link = Span::new(&call, &settings, (0, 0)).restart_link.unwrap();
    let interrupted = CallKey {
        tid: call.tid,
        start_ns: 900_000,
    };
    assert_eq!(link.trace_id, settings.ids.trace_id(interrupted));
    call.application = Some(APPLICATION);
    let link = Span::new(&call, &settings, (0, 0)).restart_link.unwrap();
    assert_eq!((link.trace_id, link.trace_flags), ([0xaa; 16], 1));
    assert_eq!(link.span_id, settings.ids.span_id(interrupted));
}
