//! References to container images: `[host[:port]/]path[:tag][@digest]`.
//!
//! Grammar: `reference.go` of the distribution project. What does not fit it is
//! no reference; no runtime could start it.

use std::sync::Arc;

/// `NameTotalLengthMax`.
const NAME_MAX_BYTES: usize = 255;
const TAG_MAX_BYTES: usize = 128;
/// SHA-512 takes 135.
const DIGEST_MAX_BYTES: usize = 255;

/// An image by its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reference<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let path_at = rest.rfind('/').map_or(0, |slash| slash + 1);
        let colon = rest.get(path_at..)?.find(':').map(|at| path_at + at);
        let (name, tag) = match colon {
            Some(at) => (rest.get(..at)?, Some(rest.get(at + 1..)?)),
            None => (rest, None),
        };
        let is_whole = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        is_whole.then_some(Self { name, tag, digest })
    }
}

/// What a container's image gives to the resource of its processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Image {
    /// `container.image.name`, empty if unknown.
    pub(super) name: String,
    /// `container.image.tags`.
    pub(super) tags: Arc<[String]>,
    /// `container.image.repo_digests`.
    pub(super) repo_digests: Arc<[String]>,
    /// `service.version`: `<tag>@<digest>`, or only one of the two.
    pub(super) version: Option<String>,
}

impl Image {
    /// From the reference in a pod's specification and the `imageID` in its
    /// status, which is empty until the container has been started.
    pub(super) fn new(reference: &str, id: &str) -> Self {
        let Some(image) = Reference::parse(reference) else {
            return Self::default();
        };
        // Docker's kubelet writes `docker-pullable://`. An image that came from
        // no repository has a bare digest, which is none of a repository.
        let id = id.split_once("://").map_or(id, |(_, id)| id);
        let pulled = Reference::parse(id).filter(|pulled| pulled.digest.is_some());
        let repo_digests = pulled.or(Some(image)).and_then(|of| {
            let digest = of.digest?;
            Some(format!("{}@{digest}", of.name))
        });
        let version = match (image.tag, image.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (tag, digest) => tag.or(digest).map(str::to_owned),
        };
        Self {
            name: image.name.to_owned(),
            tags: image.tag.map(str::to_owned).into_iter().collect(),
            repo_digests: repo_digests.into_iter().collect(),
            version,
        }
    }
}

/// A path of lower-case components, which a host and its port may precede.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = part.as_bytes();
        is_end(bytes.first())
            && is_end(bytes.last())
            && bytes.iter().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte)
            })
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, name),
    };
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && host.is_none_or(|host| host.bytes().all(|byte| byte.is_ascii_graphic()))
        && path.split('/').all(is_part)
}

/// Whether the first component is a host by `reference.go`: it has a dot, a port
/// or capitals, or it is `localhost`.
fn is_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_tag(tag: &str) -> bool {
    (1..=TAG_MAX_BYTES).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// `<algorithm>:<hexadecimal digits>`, at least 32 of them.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, digits)) = digest.split_once(':') else {
        return false;
    };
    let is_algorithm = algorithm
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte));
    is_algorithm
        && algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
        && (32..=DIGEST_MAX_BYTES).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// Name, tags, repository digests and version, lists joined by blanks.
    fn image(reference: &str, id: &str) -> [String; 4] {
        let image = Image::new(reference, id);
        let version = image.version.unwrap_or_default();
        [
            image.name,
            image.tags.join(" "),
            image.repo_digests.join(" "),
            version,
        ]
    }

    #[test]
    fn names_tags_and_digests() {
        let both = format!("1.4@{DIGEST}");
        let with_digest = |name: &str| format!("{name}@{DIGEST}");
        #[rustfmt::skip]
        let table: [(String, [&str; 4]); 10] = [
            ("shop".to_owned(), ["shop", "", "", ""]),
            ("shop:1.4.2".to_owned(), ["shop", "1.4.2", "", "1.4.2"]),
            ("127.0.0.1:5000/team/shop".to_owned(), ["127.0.0.1:5000/team/shop", "", "", ""]),
            ("127.0.0.1:5000/team/shop:1.4.2".to_owned(), ["127.0.0.1:5000/team/shop", "1.4.2", "", "1.4.2"]),
            ("[2001:db8::1]:5000/shop:1".to_owned(), ["[2001:db8::1]:5000/shop", "1", "", "1"]),
            ("localhost/a__b/c--d.e:v_1".to_owned(), ["localhost/a__b/c--d.e", "v_1", "", "v_1"]),
            ("Registry/shop".to_owned(), ["Registry/shop", "", "", ""]),
            (with_digest("team/shop"), ["team/shop", "", &with_digest("team/shop"), DIGEST]),
            (with_digest("127.0.0.1:5000/shop:1.4"), ["127.0.0.1:5000/shop", "1.4", &with_digest("127.0.0.1:5000/shop"), &both]),
            ("gcr.io/opentelemetry/operator:v1".to_owned(), ["gcr.io/opentelemetry/operator", "v1", "", "v1"]),
        ];
        for (reference, expected) in table {
            assert_eq!(image(&reference, ""), expected, "{reference}");
        }
    }

    #[test]
    fn the_status_has_the_digest_of_what_was_pulled() {
        let pulled = format!("registry.test/library/shop@{DIGEST}");
        for (id, digest) in [
            (pulled.clone(), &*pulled),
            (format!("docker-pullable://{pulled}"), &pulled),
            (DIGEST.to_owned(), ""),
            (format!("docker://{DIGEST}"), ""),
            ("nonsense@".to_owned(), ""),
            (String::new(), ""),
        ] {
            assert_eq!(image("shop:1", &id), ["shop", "1", digest, "1"], "{id}");
        }
    }

    #[test]
    fn what_is_no_reference_says_nothing() {
        let long = "a".repeat(NAME_MAX_BYTES + 1);
        let tag = format!("shop:{}", "1".repeat(TAG_MAX_BYTES + 1));
        let digits = format!("shop@sha256:{}", "0".repeat(DIGEST_MAX_BYTES + 1));
        for reference in [
            "",
            ":",
            "@",
            "/",
            "Shop",
            "team/Shop:1",
            "shop:",
            "shop: 1",
            "shop:.1",
            "shop@sha256:0a1b",
            "shop@",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a b",
            "shop:1:2",
            "shop\u{e4}",
            &long,
            &tag,
            &digits,
        ] {
            assert_eq!(Image::new(reference, ""), Image::default(), "{reference}");
        }
    }
}
