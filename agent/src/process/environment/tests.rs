use super::*;

fn parsed(environ: &str) -> Environment {
    Environment::parse(environ.as_bytes(), true).0
}

fn attributes(text: &str) -> Vec<(String, String)> {
    let environment = parsed(&format!("OTEL_RESOURCE_ATTRIBUTES={text}\0"));
    let pairs = environment.iter();
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}

#[test]
fn the_name_of_its_own_variable_wins() {
    let both = parsed(
        "PATH=/bin\0OTEL_RESOURCE_ATTRIBUTES=service.name=a,service.namespace=shop\0OTEL_SERVICE_NAME=b\0",
    );
    assert_eq!(both.get("service.name"), Some("b"));
    assert_eq!(both.get("service.namespace"), Some("shop"));
    let one = parsed("OTEL_SERVICE_NAME=\0OTEL_RESOURCE_ATTRIBUTES=service.name=a%2Cb\0");
    assert_eq!(one.get("service.name"), Some("a,b"));
}

#[test]
fn all_that_a_process_says_of_itself_is_taken() {
    for (text, expected) in [
        (
            "service.name=a, deployment.environment.name = test ,team=x%20y",
            pairs([
                ("deployment.environment.name", "test"),
                ("service.name", "a"),
                ("team", "x y"),
            ]),
        ),
        // The last of equal ones, also if it says nothing.
        ("a=1,b=2,a=3", pairs([("a", "3"), ("b", "2")])),
        ("a=1,a=", vec![]),
        (
            "%61%2C%3D=%3D%2C,b=c=d,",
            pairs([("a,=", "=,"), ("b", "c=d")]),
        ),
        ("\u{e4}=\u{fc}%C3%BC", pairs([("\u{e4}", "\u{fc}\u{fc}")])),
        ("", vec![]),
    ] {
        assert_eq!(attributes(text), expected, "{text}");
    }
}

#[test]
fn values_are_cut_on_a_character() {
    // Two bytes each, from the second byte on.
    let name = format!("a{}", "\u{e4}".repeat(50_000));
    let encoded = format!("a{}", "%C3%A4".repeat(50_000));
    let want = format!("a{}", "\u{e4}".repeat(127));
    assert_eq!(want.len(), VALUE_MAX_BYTES - 1);
    for environ in [
        format!("OTEL_SERVICE_NAME={name}\0"),
        format!("OTEL_RESOURCE_ATTRIBUTES=service.name={encoded}\0"),
    ] {
        assert_eq!(parsed(&environ).get("service.name"), Some(&*want));
    }
    assert_eq!(
        attributes(&format!("team={encoded}")),
        pairs([("team", &want)])
    );
    let odd = [b"OTEL_SERVICE_NAME=".as_slice(), &[0xff; 600]].concat();
    let (odd, _) = Environment::parse(&odd, true);
    let replaced = "\u{fffd}".repeat(VALUE_MAX_BYTES / 3);
    assert_eq!(odd.get("service.name"), Some(&*replaced));
}

#[test]
fn one_malformed_pair_discards_all() {
    for text in [
        "service.name",
        "service.name=a,b",
        "service.name=%zz",
        "service.name=a,b=%e4",
        "service.name=a,%zz=b",
        "service.name=a,=b",
        "process.pid",
    ] {
        assert_eq!(attributes(text), [], "{text}");
    }
    assert_eq!(parsed("XOTEL_SERVICE_NAME=a\0"), Environment::default());
}

#[test]
fn a_process_cannot_say_what_others_know_better() {
    let text = "process.pid=1,container.id=x,k8s.pod.uid=y,k8s.pod.name=z,host.id=h,host.name=n,\
                os.type=plan9,telemetry.distro.name=other,process.owner=root,%70rocess.vpid=1,team=a";
    assert_eq!(attributes(text), pairs([("team", "a")]));
}

#[test]
fn there_are_not_too_many_and_they_are_not_too_long() {
    let many: Vec<_> = (0..1000).map(|number| format!("k{number:03}=v")).collect();
    let found = attributes(&format!("{},service.version=1", many.join(",")));
    assert_eq!(found.len(), MAX_ATTRIBUTES + 1);
    assert_eq!(found[MAX_ATTRIBUTES - 1].0, "k063");
    assert_eq!(
        found[MAX_ATTRIBUTES],
        ("service.version".to_owned(), "1".to_owned())
    );

    let long = "v".repeat(VALUE_MAX_BYTES);
    let large: Vec<_> = (0..60)
        .map(|number| format!("k{number:02}={long}"))
        .collect();
    let found = attributes(&format!("{},service.version={long}", large.join(",")));
    let others = &found[..found.len() - 1];
    let bytes: usize = others
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert_eq!(
        bytes,
        MAX_BYTES / (VALUE_MAX_BYTES + 3) * (VALUE_MAX_BYTES + 3)
    );
    assert_eq!(found.last().unwrap().1, long);

    let (fits, key) = ("k".repeat(KEY_MAX_BYTES), "k".repeat(KEY_MAX_BYTES + 1));
    assert_eq!(
        attributes(&format!("{key}=v,{fits}=v")),
        pairs([(&fits, "v")])
    );
}

#[test]
fn what_is_cut_is_not_taken_for_whole() {
    let told = |environ: &str| {
        let (environment, is_all) = Environment::parse(environ.as_bytes(), false);
        let name = environment.get("service.name").map(str::to_owned);
        (name, is_all)
    };
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(told("A=1\0OTEL_SERVICE_NAME=sho"), (None, false));
    assert_eq!(told("OTEL_SERVICE_NAME=shop\0B=2"), (name("shop"), false));
    assert_eq!(
        told("OTEL_RESOURCE_ATTRIBUTES=service.name=sho"),
        (None, false)
    );
    let both = "OTEL_SERVICE_NAME=shop\0OTEL_RESOURCE_ATTRIBUTES=\0B";
    assert_eq!(told(both), (name("shop"), true));
    assert_eq!(
        told("OTEL_RESOURCE_ATTRIBUTES=service.name=shop,team=a"),
        (name("shop"), false)
    );
    let (_, is_all) = Environment::parse(b"A=1", true);
    assert!(is_all);
}

#[test]
fn of_a_cut_value_there_may_be_enough() {
    // Four bytes each, of which the last may be cut anywhere.
    let raw = "\u{1f407}".repeat(100);
    let encoded = "%F0%9F%90%87".repeat(100);
    let kept = "\u{1f407}".repeat(VALUE_MAX_BYTES / 4);
    for (variable, value) in [
        ("OTEL_SERVICE_NAME=", &raw),
        ("OTEL_RESOURCE_ATTRIBUTES=a=1,service.name=", &raw),
        ("OTEL_RESOURCE_ATTRIBUTES=a=1,service.name=", &encoded),
    ] {
        let environ = format!("{variable}{value}").into_bytes();
        for cut in 0..40 {
            let (found, is_all) = Environment::parse(&environ[..environ.len() - cut], false);
            assert_eq!(found.get("service.name"), Some(&*kept), "{variable} {cut}");
            assert!(!is_all);
        }
        let few = VALUE_MAX_BYTES / 4 * (value.len() / 100);
        for len in 0..few {
            let (found, _) = Environment::parse(&environ[..variable.len() + len], false);
            assert_eq!(found.get("service.name"), None, "{variable} {len}");
        }
    }
    // What is malformed before its end is so in any case.
    let long = "v".repeat(2 * VALUE_MAX_BYTES);
    for text in [format!("a=%zz,b={long}"), format!("a=1,b=%zz{long}")] {
        let environ = format!("OTEL_RESOURCE_ATTRIBUTES={text}");
        let (found, _) = Environment::parse(environ.as_bytes(), false);
        assert_eq!(found, Environment::default(), "{text}");
    }
}
