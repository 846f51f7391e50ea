//! Values of the configuration that are one name out of a few.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are written as fixed names, in the file and everywhere else.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All values, in the order of the documentation.
            #[allow(dead_code, reason = "not of every choice is it asked")]
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The name as it is written in the configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// How the agent hooks into the kernel (`capture.backend`).
    BackendChoice {
        /// The first of the others that really attaches.
        Auto = "auto",
        /// fentry and fexit programs on the entry functions.
        Fentry = "fentry",
        /// kprobes and kretprobes on the entry functions.
        Kprobe = "kprobe",
        /// The raw tracepoints `sys_enter` and `sys_exit`.
        Tracepoint = "tracepoint",
    }
}

choice! {
    #[allow(clippy::enum_variant_names, reason = "the names are those of the system calls")]
    /// A system call with all its ABI variants (`capture.syscalls`).
    Syscall {
        /// Opens or creates a queue.
        MqOpen = "mq_open",
        /// Removes the name of a queue.
        MqUnlink = "mq_unlink",
        /// Sends a message, with or without a timeout.
        MqTimedsend = "mq_timedsend",
        /// Receives a message, with or without a timeout.
        MqTimedreceive = "mq_timedreceive",
        /// Registers or removes a notification.
        MqNotify = "mq_notify",
        /// Reads or sets the attributes of a queue.
        MqGetsetattr = "mq_getsetattr",
    }
}

choice! {
    /// Which entry points of the kernel are hooked (`capture.abis`).
    Abi {
        /// Calls of programs that have the word size of the kernel.
        Native = "native",
        /// Calls of 32-bit programs on a 64-bit kernel.
        Compat = "compat",
    }
}

choice! {
    /// How the span of a receive refers to the span of the send that made the message (`traces.correlation`).
    Correlation {
        /// The receive is a child of the send.
        Parent = "parent",
        /// The receive is a root with a link to the send.
        Link = "link",
        /// The receive is a root without a link.
        None = "none",
    }
}

choice! {
    /// When the span of a receive starts (`traces.receive_start`).
    ReceiveStart {
        /// With the message, if that was made after the call began.
        Message = "message",
        /// With the call.
        Call = "call",
    }
}

choice! {
    /// When a send is in the trace of the message that its thread has received before (`traces.chains.mode`).
    ChainMode {
        /// When nothing else can have reached the thread in between; else the two are linked.
        Proven = "proven",
        /// Always.
        Thread = "thread",
        /// Never; the two are linked.
        Link = "link",
        /// Never.
        None = "none",
    }
}

choice! {
    /// How requests go to the collector (`exporters.otlp.protocol`).
    Protocol {
        /// HTTP/2 with the frames and statuses of gRPC.
        Grpc = "grpc",
        /// OTLP over HTTP, with protobuf.
        HttpProtobuf = "http/protobuf",
    }
}

choice! {
    /// The buckets of histograms over OTLP (`metrics.histograms`).
    Histograms {
        /// From 1 µs to 100 s, those of the conventions among them.
        Explicit = "explicit",
        /// Bounds that grow by a factor, which fits the range of the values.
        Exponential = "exponential",
    }
}

choice! {
    /// Compression of the OTLP requests (`exporters.otlp.compression`).
    Compression {
        /// Requests go as they are.
        None = "none",
        /// gzip, which every collector must understand.
        Gzip = "gzip",
        /// Zstandard.
        Zstd = "zstd",
    }
}

choice! {
    /// The least severe log lines that are written (`logs.level`).
    LogLevel {
        /// Data was lost.
        Error = "error",
        /// Something went wrong and was recovered from.
        Warn = "warn",
        /// Start, reload, stop.
        Info = "info",
        /// Details of the agent's decisions.
        Debug = "debug",
        /// Everything, up to single events.
        Trace = "trace",
    }
}

choice! {
    /// The form of the log lines (`logs.format`).
    LogFormat {
        /// One line of text for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
