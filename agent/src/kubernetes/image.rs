//! The version in the name of an image.

/// `service.version` of the semantic conventions: `<tag>@<digest>`, or only one
/// of the two, of a reference `[host[:port]/]path[:tag][@digest]` (for the
/// grammar see `reference.go` of the distribution project).
pub(super) fn version(reference: &str) -> Option<String> {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, digest),
        None => (reference, ""),
    };
    // A colon before the last slash belongs to a port.
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map_or("", |(_, tag)| tag);
    match (tag, digest) {
        ("", "") => None,
        (tag, "") => Some(tag.to_owned()),
        ("", digest) => Some(digest.to_owned()),
        (tag, digest) => Some(format!("{tag}@{digest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests() {
        for (reference, expected) in [
            ("shop", None),
            ("shop:1.4.2", Some("1.4.2")),
            ("127.0.0.1:5000/team/shop", None),
            ("127.0.0.1:5000/team/shop:1.4.2", Some("1.4.2")),
            ("team/shop@sha256:0a1b", Some("sha256:0a1b")),
            (
                "127.0.0.1:5000/shop:1.4@sha256:0a1b",
                Some("1.4@sha256:0a1b"),
            ),
            ("", None),
        ] {
            assert_eq!(version(reference).as_deref(), expected, "{reference}");
        }
    }
}
