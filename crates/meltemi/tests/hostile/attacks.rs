//! What hostile HTTP/2 clients send, frame by frame. Invariant: every attack ends by itself, after a few megabytes at most.

/// One attack and how it is to end.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Appends what is sent behind the preface and the settings.
    pub(crate) frames: fn(&mut Vec<u8>),
    /// The error code of our GOAWAY.
    pub(crate) code: u32,
    /// What counts it, under Envoy's name.
    pub(crate) statistic: Option<&'static str>,
    /// Envoy ends the connection too. Where it does not, we are the stricter one.
    pub(crate) in_envoy: bool,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `:method: GET`, `:path: /`, `:scheme: http`, `:authority: a`.
const HEAD: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "rapid reset",
        frames: |out| {
            for id in ids(2000) {
                frame(HEADERS, END_HEADERS | END_STREAM, id, HEAD, out);
                frame(RST_STREAM, 0, id, &8_u32.to_be_bytes(), out);
            }
        },
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http.t.downstream_rq_too_many_premature_resets"),
        in_envoy: true,
    },
    Attack {
        name: "pings that nobody reads the answers of",
        frames: |out| (0..400_000).for_each(|_| frame(PING, 0, 0, &[0; 8], out)),
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http2.outbound_control_flood"),
        in_envoy: true,
    },
    Attack {
        name: "settings that nobody reads the answers of",
        frames: |out| (0..700_000).for_each(|_| frame(SETTINGS, 0, 0, &[], out)),
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http2.outbound_control_flood"),
        in_envoy: true,
    },
    Attack {
        name: "data without data",
        frames: |out| {
            frame(HEADERS, END_HEADERS, 1, HEAD, out);
            (0..1000).for_each(|_| frame(DATA, 0, 1, &[], out));
        },
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http2.inbound_empty_frames_flood"),
        in_envoy: true,
    },
    Attack {
        name: "a head that goes on and on",
        frames: |out| {
            frame(HEADERS, 0, 1, HEAD, out);
            // A literal of 8 KB, never indexed, in each.
            let mut field = vec![0x10, 1, b'x', 0x7f, 0x81, 0x3f];
            field.resize(field.len() + 127 + 0x1f81, b'v');
            (0..200).for_each(|_| frame(CONTINUATION, 0, 1, &field, out));
        },
        code: ENHANCE_YOUR_CALM,
        statistic: None,
        in_envoy: false,
    },
    Attack {
        name: "continuations without a byte",
        frames: |out| {
            frame(HEADERS, 0, 1, HEAD, out);
            (0..1000).for_each(|_| frame(CONTINUATION, 0, 1, &[], out));
        },
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http2.inbound_empty_frames_flood"),
        in_envoy: true,
    },
    Attack {
        name: "window updates without data",
        frames: |out| {
            frame(HEADERS, END_HEADERS, 1, HEAD, out);
            (0..1000).for_each(|_| frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes(), out));
        },
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http2.inbound_window_update_frames_flood"),
        in_envoy: true,
    },
    Attack {
        name: "priorities",
        frames: |out| {
            frame(HEADERS, END_HEADERS, 1, HEAD, out);
            (0..1000).for_each(|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0], out));
        },
        code: ENHANCE_YOUR_CALM,
        statistic: Some("http2.inbound_priority_frames_flood"),
        in_envoy: true,
    },
    Attack {
        name: "a window beyond its bounds",
        frames: |out| (0..2).for_each(|_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes(), out)),
        code: FLOW_CONTROL_ERROR,
        statistic: None,
        in_envoy: true,
    },
    Attack {
        name: "a frame in the middle of a head",
        frames: |out| {
            frame(HEADERS, 0, 1, HEAD, out);
            frame(PING, 0, 0, &[0; 8], out);
        },
        code: PROTOCOL_ERROR,
        statistic: None,
        in_envoy: true,
    },
];

/// The preface and empty settings.
pub(crate) fn opening() -> Vec<u8> {
    with_window(None, 0)
}

/// Windows as large as can be.
pub(crate) fn wide_open() -> Vec<u8> {
    with_window(Some(0x7fff_ffff), 0x7fff_0000)
}

/// Windows of 16 MiB for each stream, and one for the connection that lets all of them be filled.
pub(crate) fn generous() -> Vec<u8> {
    with_window(Some(16 << 20), 0x7fff_0000)
}

/// No window for any stream.
pub(crate) fn shut() -> Vec<u8> {
    with_window(Some(0), 0)
}

fn with_window(initial: Option<u32>, connection: u32) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut settings = Vec::new();
    if let Some(window) = initial {
        settings.extend_from_slice(&4_u16.to_be_bytes());
        settings.extend_from_slice(&window.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &settings, &mut out);
    if connection > 0 {
        frame(WINDOW_UPDATE, 0, 0, &connection.to_be_bytes(), &mut out);
    }
    out
}

/// GET requests for a path.
pub(crate) fn requests(count: u32, path: &str, out: &mut Vec<u8>) {
    let mut head = vec![0x82, 0x86, 0x41, 1, b'a', 0x04, path.len() as u8];
    head.extend_from_slice(path.as_bytes());
    ids(count).for_each(|id| frame(HEADERS, END_HEADERS | END_STREAM, id, &head, out));
}

/// The error code of the last GOAWAY in what a proxy sent.
pub(crate) fn goaway(mut bytes: &[u8]) -> Option<u32> {
    let mut code = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let (payload, rest) = rest.split_at_checked(length)?;
        if let (&GOAWAY, [_, _, _, _, a, b, c, d, ..]) = (kind, payload) {
            code = Some(u32::from_be_bytes([*a, *b, *c, *d]));
        }
        bytes = rest;
    }
    code
}

fn ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What an endpoint says first.
pub(crate) fn settings() -> Vec<u8> {
    let mut out = Vec::new();
    frame(SETTINGS, 0, 0, &[], &mut out);
    out
}

/// The head of an answer that goes on.
pub(crate) fn answer_head(id: u32, out: &mut Vec<u8>) {
    // `:status: 200` of the static table.
    frame(HEADERS, END_HEADERS, id, &[0x88], out);
}

/// Sixteen KiB of an answer.
pub(crate) fn answer_data(id: u32, out: &mut Vec<u8>) {
    frame(DATA, 0, id, &[0; 16 * 1024], out);
}

/// Kind and stream of the frame that `bytes` begin with, and its length with its head.
pub(crate) fn frame_at(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let head = bytes.get(..9)?;
    let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    (bytes.len() >= 9 + len).then_some((head[3], id, 9 + len))
}

/// True for the kind of frame that opens a stream.
pub(crate) fn is_headers(kind: u8) -> bool {
    kind == HEADERS
}
