//! The values that labels take: closed sets, every one of them.

use plainwire_protocol::Problem;

use crate::reasons;

/// The values of a label.
pub(crate) trait Label: Copy + 'static {
    /// All of them, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// Its place among them.
    fn index(self) -> usize;

    /// As the label says it.
    fn word(self) -> &'static str;
}

macro_rules! labels {
    ($( $(#[doc = $about:literal])+ $name:ident { $( $variant:ident $word:literal ),+ $(,)? } )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $( $variant ),+ }

        impl $name {
            /// How many there are.
            pub(crate) const COUNT: usize = Self::ALL.len();
        }

        impl Label for $name {
            const ALL: &'static [$name] = &[$( $name::$variant ),+];

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                match self { $( $name::$variant => $word ),+ }
            }
        }
    )+ };
}

labels! {
    /// How a client receives, or what else it asks for.
    Transport {
        Poll "poll",
        Page "page",
        LongPoll "long_poll",
        Sse "sse",
        Ndjson "ndjson",
        WebSocket "websocket",
        Embedded "embedded",
        Write "write",
        Other "other",
    }

    /// Whose bytes a socket carries. Streams over HTTP/2 share their socket.
    Carrier {
        Requests "requests",
        Sse "sse",
        Ndjson "ndjson",
        WebSocket "websocket",
        Http2 "http2",
    }

    /// The version of HTTP.
    Http {
        One "1.1",
        Two "2",
    }

    /// What a write does.
    Written {
        Post "post",
        Command "command",
        Put "put",
        Patch "patch",
    }

    /// The first digit of a status code (RFC 9110 §15).
    StatusClass {
        Informational "1xx",
        Successful "2xx",
        Redirection "3xx",
        ClientError "4xx",
        ServerError "5xx",
    }
}

impl StatusClass {
    pub(crate) fn of(status: u16) -> StatusClass {
        match status {
            ..200 => StatusClass::Informational,
            200..300 => StatusClass::Successful,
            300..400 => StatusClass::Redirection,
            400..500 => StatusClass::ClientError,
            500.. => StatusClass::ServerError,
        }
    }
}

/// The reason of a refusal: one of [`reasons::ALL`], or a word that the configuration or an app made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection(u8);

impl Rejection {
    /// How many there are.
    pub(crate) const COUNT: usize = reasons::ALL.len() + 1;
    /// A word of a channel's rules, or of the app that decides its commands.
    const CUSTOM: Rejection = Rejection((Self::COUNT - 1) as u8);

    pub(crate) fn of(problem: &Problem) -> Rejection {
        reasons::index(&problem.reason).map_or(Rejection::CUSTOM, |index| Rejection(index as u8))
    }

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Rejection> {
        (0..Self::COUNT).map(|index| Rejection(index as u8))
    }
}

impl Label for Rejection {
    const ALL: &'static [Rejection] = &[];

    fn index(self) -> usize {
        usize::from(self.0)
    }

    fn word(self) -> &'static str {
        reasons::ALL.get(self.index()).map_or(reasons::CUSTOM, |reason| reason.word)
    }
}
