//! Frames (RFC 9113, 4 and 6): their heads in, whole small frames out.
//!
//! [`super::connection`] reads and writes with it. Nothing here keeps state.
//! Invariant: a reader is only given payloads of the length that the head says.

/// Bytes of a frame's head.
pub const HEAD: usize = 9;
/// The largest payload that we accept, and that we send: SETTINGS_MAX_FRAME_SIZE stays at its default.
pub const MAX_PAYLOAD: usize = 16_384;
/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window (2^31 - 1).
pub const MAX_WINDOW: i64 = 0x7fff_ffff;
/// Windows before anybody says otherwise.
pub const DEFAULT_WINDOW: u32 = 65_535;

/// END_STREAM on DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// ACK on SETTINGS and PING.
pub const ACK: u8 = 1;
/// END_HEADERS on HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// PADDED on DATA and HEADERS.
pub const PADDED: u8 = 8;
/// PRIORITY on HEADERS.
pub const PRIORITY: u8 = 0x20;

/// Frame types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// DATA
    Data = 0,
    /// HEADERS
    Headers = 1,
    /// PRIORITY
    Priority = 2,
    /// RST_STREAM
    Reset = 3,
    /// SETTINGS
    Settings = 4,
    /// PUSH_PROMISE
    PushPromise = 5,
    /// PING
    Ping = 6,
    /// GOAWAY
    GoAway = 7,
    /// WINDOW_UPDATE
    WindowUpdate = 8,
    /// CONTINUATION
    Continuation = 9,
    /// Any other: to be ignored.
    Unknown = 255,
}

/// Error codes (RFC 9113, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(
    /// As on the wire.
    pub u32,
);

impl Code {
    /// NO_ERROR
    pub const NO_ERROR: Self = Self(0);
    /// PROTOCOL_ERROR
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// INTERNAL_ERROR
    pub const INTERNAL_ERROR: Self = Self(2);
    /// FLOW_CONTROL_ERROR
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// STREAM_CLOSED
    pub const STREAM_CLOSED: Self = Self(5);
    /// FRAME_SIZE_ERROR
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// REFUSED_STREAM
    pub const REFUSED_STREAM: Self = Self(7);
    /// CANCEL
    pub const CANCEL: Self = Self(8);
    /// COMPRESSION_ERROR
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// ENHANCE_YOUR_CALM
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Payload bytes.
    pub len: usize,
    /// Type.
    pub kind: Kind,
    /// Flags.
    pub flags: u8,
    /// Stream; 0 is the connection.
    pub id: u32,
}

impl Head {
    /// Reads a head; `None` when it is not complete.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let [a, b, c, kind, flags, i, j, k, l] = *head;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Unknown,
        };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { len, kind, flags, id: u32::from_be_bytes([i & 0x7f, j, k, l]) })
    }

    /// True when a flag is set.
    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's head.
#[inline]
pub fn head(out: &mut Vec<u8>, len: usize, kind: Kind, flags: u8, id: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [i, j, k, l] = id.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind as u8, flags, i, j, k, l]);
}

/// A 32-bit number at the start of a payload.
#[inline]
pub fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// What is left of a DATA or HEADERS payload without its padding; `None` when the padding is longer than the payload.
#[inline]
pub fn unpadded(head: Head, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(PADDED) {
        return Some(payload);
    }
    let (&pad, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(pad as usize)?)
}

/// Settings that we know (RFC 9113, 6.5.2 and RFC 8441, 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// SETTINGS_HEADER_TABLE_SIZE
    HeaderTableSize(u32),
    /// SETTINGS_ENABLE_PUSH
    EnablePush(u32),
    /// SETTINGS_MAX_CONCURRENT_STREAMS
    MaxConcurrentStreams(u32),
    /// SETTINGS_INITIAL_WINDOW_SIZE
    InitialWindowSize(u32),
    /// SETTINGS_MAX_FRAME_SIZE
    MaxFrameSize(u32),
    /// SETTINGS_MAX_HEADER_LIST_SIZE
    MaxHeaderListSize(u32),
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL
    EnableConnectProtocol(u32),
}

/// The settings of a payload whose length is a multiple of six; unknown ones are left out.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = Setting> {
    payload.as_chunks::<6>().0.iter().filter_map(|[i, d, a, b, c, e]| {
        let value = u32::from_be_bytes([*a, *b, *c, *e]);
        Some(match u16::from_be_bytes([*i, *d]) {
            1 => Setting::HeaderTableSize(value),
            2 => Setting::EnablePush(value),
            3 => Setting::MaxConcurrentStreams(value),
            4 => Setting::InitialWindowSize(value),
            5 => Setting::MaxFrameSize(value),
            6 => Setting::MaxHeaderListSize(value),
            8 => Setting::EnableConnectProtocol(value),
            _ => return None,
        })
    })
}

/// Appends SETTINGS.
pub fn write_settings(out: &mut Vec<u8>, settings: &[Setting]) {
    head(out, settings.len() * 6, Kind::Settings, 0, 0);
    for setting in settings {
        let (id, value) = match *setting {
            Setting::HeaderTableSize(value) => (1u16, value),
            Setting::EnablePush(value) => (2, value),
            Setting::MaxConcurrentStreams(value) => (3, value),
            Setting::InitialWindowSize(value) => (4, value),
            Setting::MaxFrameSize(value) => (5, value),
            Setting::MaxHeaderListSize(value) => (6, value),
            Setting::EnableConnectProtocol(value) => (8, value),
        };
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends RST_STREAM.
pub fn write_reset(out: &mut Vec<u8>, id: u32, code: Code) {
    head(out, 4, Kind::Reset, 0, id);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub fn write_window_update(out: &mut Vec<u8>, id: u32, increment: u32) {
    head(out, 4, Kind::WindowUpdate, 0, id);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends PING.
pub fn write_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    head(out, 8, Kind::Ping, flags, 0);
    out.extend_from_slice(&payload);
}

/// Appends GOAWAY.
pub fn write_goaway(out: &mut Vec<u8>, last_id: u32, code: Code) {
    head(out, 8, Kind::GoAway, 0, 0);
    out.extend_from_slice(&last_id.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_as_written() {
        let mut out = Vec::new();
        head(&mut out, 0x01_0203, Kind::Headers, END_HEADERS, 0x7fff_ffff);
        assert_eq!(out, [1, 2, 3, 1, 4, 0x7f, 0xff, 0xff, 0xff]);
        let read = Head::read(&out).unwrap();
        assert_eq!(read, Head { len: 0x01_0203, kind: Kind::Headers, flags: 4, id: 0x7fff_ffff });
        // The reserved bit is not part of the id; a cut head is none.
        out[5] = 0xff;
        assert_eq!(Head::read(&out), Some(read));
        assert_eq!(Head::read(&out[..8]), None);
    }

    #[test]
    fn padding_comes_off_or_is_too_long() {
        let head = |flags| Head { len: 4, kind: Kind::Data, flags, id: 1 };
        assert_eq!(unpadded(head(0), &[2, 7, 0, 0]), Some(&[2, 7, 0, 0][..]));
        assert_eq!(unpadded(head(PADDED), &[2, 7, 0, 0]), Some(&[7][..]));
        assert_eq!(unpadded(head(PADDED), &[3, 7, 0, 0]), Some(&[][..]));
        assert_eq!(unpadded(head(PADDED), &[4, 7, 0, 0]), None);
        assert_eq!(unpadded(head(PADDED), &[]), None);
    }

    #[test]
    fn settings_read_as_written_and_unknown_ones_are_left_out() {
        let all = [
            Setting::HeaderTableSize(1),
            Setting::InitialWindowSize(u32::MAX),
            Setting::EnableConnectProtocol(1),
        ];
        let mut out = Vec::new();
        write_settings(&mut out, &all);
        out.extend_from_slice(&[0, 7, 0, 0, 0, 1]);
        assert_eq!(settings(&out[HEAD..]).collect::<Vec<_>>(), all);
    }
}
