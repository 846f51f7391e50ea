use super::*;

#[test]
fn user_and_password_become_basic_authorization() {
    for (userinfo, expected) in [
        ("user:pass", "Basic dXNlcjpwYXNz"),
        ("us%40er:p%3Ass%2Fw%25", "Basic dXNAZXI6cDpzcy93JQ=="),
        ("%C3%BC:%C3%B6", "Basic w7w6w7Y="),
        ("token", "Basic dG9rZW46"),
        ("a:b:c", "Basic YTpiOmM="),
    ] {
        let text = format!("https://{userinfo}@host:4317");
        let endpoint: Endpoint = text.parse().unwrap();
        let value = endpoint.basic_authorization().unwrap();
        assert_eq!(value.expose(), expected, "{userinfo}");
        assert_eq!(endpoint.url(), "https://host:4317");
        assert!(!format!("{endpoint} {endpoint:?}").contains(userinfo));
    }
    for userinfo in ["user:pa%zz", "user:%ff", "us%3Aer:secret", "user:%0A"] {
        let text = format!("https://{userinfo}@host:4317");
        let error = text.parse::<Endpoint>().unwrap_err();
        assert!(!error.contains("er:"), "{error}");
    }
    assert!(Endpoint::default().basic_authorization().is_none());
}

#[test]
fn accepted() {
    for (text, insecure, url) in [
        ("http://localhost:4317", false, "http://localhost:4317"),
        ("http://localhost:4317/", false, "http://localhost:4317"),
        (
            "https://otel.example.com:443",
            false,
            "https://otel.example.com:443",
        ),
        (
            "HTTPS://otel.example.com",
            false,
            "https://otel.example.com:443",
        ),
        ("http://otel", true, "http://otel:80"),
        ("collector:4317", true, "http://collector:4317"),
        ("collector:4317", false, "https://collector:4317"),
        ("127.0.0.1:4317", true, "http://127.0.0.1:4317"),
        ("[::1]:4317", true, "http://[::1]:4317"),
        ("http://[::1]:4317", false, "http://[::1]:4317"),
        ("https://[2001:db8::1]", false, "https://[2001:db8::1]:443"),
        ("https://u:p@host:1", false, "https://host:1"),
        (
            "http://2001:db8::1:4317",
            false,
            "http://[2001:db8::1]:4317",
        ),
        ("http://::1:4317/", false, "http://[::1]:4317"),
        ("2001:db8::1:4317", true, "http://[2001:db8::1]:4317"),
        ("https://2001:db8::1", false, "https://[2001:db8::1]:443"),
        (
            "http://1:2:3:4:5:6:7:8:4317",
            false,
            "http://[1:2:3:4:5:6:7:8]:4317",
        ),
        (
            "http://1:2:3:4:5:6:7:8",
            false,
            "http://[1:2:3:4:5:6:7:8]:80",
        ),
        ("https://u:p@fd00::a:1", false, "https://[fd00::a]:1"),
        (
            "http://::ffff:10.0.0.1:4317",
            false,
            "http://[::ffff:10.0.0.1]:4317",
        ),
    ] {
        let mut endpoint: Endpoint = text.parse().unwrap();
        let warnings = endpoint.settle(insecure, Protocol::Grpc);
        assert_eq!(endpoint.url(), url, "{text}");
        assert_eq!(endpoint.origin(), url, "{text}");
        assert_eq!(warnings, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn refused_without_showing_a_password() {
    for (text, shown) in [
        ("localhost", "localhost"),
        ("http://", "http://"),
        ("http://:4317", "http://:4317"),
        (":4317", ":4317"),
        ("localhost:", "localhost:"),
        ("localhost:0", "localhost:0"),
        ("http://localhost:99999", "http://localhost:99999"),
        ("localhost:port", "localhost:port"),
        ("grpc://localhost:4317", "grpc://localhost:4317"),
        ("dns:///localhost:4317", "dns:///localhost:4317"),
        ("http:/localhost:4317", "http:/localhost:4317"),
        (" localhost:4317", " localhost:4317"),
        ("local host:4317", "local host:4317"),
        ("localhost:4317/v1/traces", "localhost:4317/v1/traces"),
        ("ftp://user:secret@host:1", "ftp://[REDACTED]@host:1"),
        (
            "http://user:sec@ret@host:99999",
            "http://[REDACTED]@host:99999",
        ),
        ("user:secret@host", "[REDACTED]@host"),
        ("unix:/run/otel.sock", "unix:/run/otel.sock"),
        ("unix:otel.sock", "unix:otel.sock"),
        ("unix-abstract:otel", "unix-abstract:otel"),
    ] {
        let error = text.parse::<Endpoint>().unwrap_err();
        assert_eq!(error, format!("found `{shown}`, expected {FORM}"), "{text}");
    }
    let long = format!("unix:///{}", "x".repeat(107));
    for unix in ["unix://run/x", "unix://", &long] {
        let error = unix.parse::<Endpoint>().unwrap_err();
        let expected = "; PATH is absolute, up to 107 bytes";
        assert_eq!(error, format!("found `{unix}`, expected {FORM}{expected}"));
    }
    let empty = "".parse::<Endpoint>().unwrap_err();
    assert_eq!(empty, format!("found an empty endpoint, expected {FORM}"));
}

#[test]
fn oddities_are_warned_about() {
    let mut endpoint: Endpoint = "https://host:4318/v1/traces?x=1".parse().unwrap();
    let warnings = endpoint.settle(true, Protocol::Grpc);
    assert_eq!(
        warnings,
        [
            "the path `/v1/traces?[REDACTED]` is ignored, because OTLP over gRPC has none",
            "port 4318 is usually OTLP over HTTP; set `exporters.otlp.protocol: http/protobuf`, or the port of `grpc`, usually 4317",
            "`tls.insecure` has no effect, because the endpoint says `https`",
        ]
    );
    let mut endpoint: Endpoint = "http://host:4317/x/v1/traces/?x=1".parse().unwrap();
    let warnings = endpoint.settle(false, Protocol::HttpProtobuf);
    assert_eq!(
        warnings,
        [
            "the query is ignored, because paths of requests are appended",
            "spans go to `/x/v1/traces/v1/traces`, because the path of requests is appended; leave `/v1/traces` out",
            "port 4317 is usually OTLP over gRPC; set `exporters.otlp.protocol: grpc`, or the port of `http/protobuf`, usually 4318",
        ]
    );
    let mut endpoint: Endpoint = "unix:///run/otel.sock".parse().unwrap();
    for protocol in Protocol::ALL {
        assert!(endpoint.settle(true, protocol).is_empty());
    }
}

#[test]
fn paths_of_requests() {
    for (text, is_for_spans, shown, paths) in [
        (
            "http://h:1",
            false,
            "http://h:1",
            ["/v1/traces", "/v1/logs"],
        ),
        (
            "http://h:1/",
            false,
            "http://h:1",
            ["/v1/traces", "/v1/logs"],
        ),
        (
            "http://h:1/a/b",
            false,
            "http://h:1/a/b",
            ["/a/b/v1/traces", "/a/b/v1/logs"],
        ),
        (
            "http://h:1/a/",
            false,
            "http://h:1/a",
            ["/a/v1/traces", "/a/v1/logs"],
        ),
        ("unix:///s", false, "unix:///s", ["/v1/traces", "/v1/logs"]),
        (
            "http://h:1/v1/traces",
            true,
            "http://h:1",
            ["/v1/traces", "/v1/logs"],
        ),
        (
            "http://h:1/a/v1/traces",
            true,
            "http://h:1/a",
            ["/a/v1/traces", "/a/v1/logs"],
        ),
        ("http://h:1", true, "http://h:1", ["/", "/v1/logs"]),
        ("http://h:1/", true, "http://h:1", ["/", "/v1/logs"]),
        (
            "http://h:1/in/",
            true,
            "http://h:1/in/",
            ["/in/", "/v1/logs"],
        ),
        (
            "http://h:1/v1/traces?k=s",
            true,
            "http://h:1/v1/traces?[REDACTED]",
            ["/v1/traces?k=s", "/v1/logs"],
        ),
        (
            "http://h:1?k=s",
            true,
            "http://h:1/?[REDACTED]",
            ["/?k=s", "/v1/logs"],
        ),
    ] {
        let mut endpoint: Endpoint = text.parse().unwrap();
        if is_for_spans {
            endpoint.is_for_spans();
        }
        let warnings = endpoint.settle(false, Protocol::HttpProtobuf);
        assert!(warnings.is_empty(), "{text}: {warnings:?}");
        let of = ["traces", "logs"].map(|signal| endpoint.http_path(signal));
        assert_eq!(of, paths, "{text}");
        assert_eq!(endpoint.to_string(), shown, "{text}");
        assert!(!endpoint.url().contains('?'), "{}", endpoint.url());
    }
}

#[test]
fn a_socket_is_a_plain_host() {
    let endpoint: Endpoint = "unix:///run/otel.sock".parse().unwrap();
    assert_eq!(endpoint.address(), &Address::Unix("/run/otel.sock".into()));
    assert!(!endpoint.is_tls());
    assert_eq!(endpoint.origin(), "http://localhost");
    assert_eq!(endpoint.url(), "unix:///run/otel.sock");
    assert_eq!(endpoint.to_string(), "unix:///run/otel.sock");
}

#[test]
fn parts_and_masking() {
    let endpoint: Endpoint = "https://user:p%40ss@host:1".parse().unwrap();
    assert_eq!(endpoint.userinfo(), Some("user:p%40ss"));
    assert!(endpoint.is_tls());
    let address = Address::Tcp {
        host: "host".to_owned(),
        port: 1,
    };
    assert_eq!(endpoint.address(), &address);
    assert_eq!(endpoint.to_string(), "https://[REDACTED]@host:1");
    assert_eq!(format!("{endpoint:?}"), "https://[REDACTED]@host:1");
}
