//! Small values of the configuration: secrets, namespaces, error codes, listen
//! addresses.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::closest;
use crate::errno;

/// Shown in place of a secret, as by the Collector's `configopaque`.
pub(super) const REDACTED: &str = "[REDACTED]";

/// A string that is never shown: `Debug` and `Serialize` give `[REDACTED]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The string itself, for the code that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// An inode number, written as a number, as a string of digits, or as the
/// target of the link `/proc/PID/ns/ipc`: `ipc:[4026531839]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceInode(pub u32);

impl Serialize for NamespaceInode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for NamespaceInode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamespaceVisitor)
    }
}

struct NamespaceVisitor;

impl Visitor<'_> for NamespaceVisitor {
    type Value = NamespaceInode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an inode number from 1 to 4294967295, such as 4026531839 or \"ipc:[4026531839]\"",
        )
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<NamespaceInode, E> {
        match u32::try_from(value) {
            Ok(inode) if inode > 0 => Ok(NamespaceInode(inode)),
            _ => Err(E::invalid_value(
                serde::de::Unexpected::Signed(value),
                &self,
            )),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NamespaceInode, E> {
        let inside = text
            .strip_prefix("ipc:[")
            .and_then(|rest| rest.strip_suffix(']'));
        match inside.unwrap_or(text).parse::<u32>() {
            Ok(inode) if inode > 0 => Ok(NamespaceInode(inode)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

/// A positive error number, written by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorCode(pub i32);

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(errno::name(self.0).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        errno::number(&name).map(Self).ok_or_else(|| {
            let all: Vec<&str> = errno::names().collect();
            let hint = closest(&name, &all).map(|close| format!("; did you mean `{close}`?"));
            D::Error::custom(format_args!(
                "found `{name}`, expected the name of a Linux error code, such as `ETIMEDOUT`{}",
                hint.unwrap_or_default()
            ))
        })
    }
}

/// An address to listen on. `None`, written as an empty string, means off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenAddress(pub Option<SocketAddr>);

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(address) => serializer.collect_str(&address),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let of_localhost = text
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let address = of_localhost.as_deref().unwrap_or(&text).parse();
        address.map(|address| Self(Some(address))).map_err(|_| {
            D::Error::custom(format_args!(
                "found `{text}`, expected an IP address and a port, such as `127.0.0.1:13133`, `[::]:13133` or `localhost:13133`; \
                 leave it empty to switch it off"
            ))
        })
    }
}
