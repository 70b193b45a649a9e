//! A lawful peer and streams of ours in any order: who waits is known, and who may go on is told.

use super::*;
use crate::http::h2::connection::QUEUE;

/// What happens next. `n` picks one of the streams that are held.
#[derive(Debug, Clone)]
enum Event {
    Open { end: bool },
    Respond { n: usize, end: bool },
    Send { n: usize, len: usize, last: bool },
    SendLast { n: usize, len: usize },
    Read { n: usize },
    Abort { n: usize },
    Drop { n: usize },
    Write { len: usize },
    PeerData { n: usize, len: usize, end: bool },
    PeerReset { n: usize },
    PeerWindow { n: usize, more: u32 },
    PeerConnectionWindow { more: u32 },
    PeerInitialWindow { size: u32 },
}

fn event() -> impl Strategy<Value = Event> {
    let n = 0..20_usize;
    let len = prop_oneof![0..10_usize, Just(20_000), Just(70_000)];
    let more = prop_oneof![1..10_u32, Just(100_000)];
    prop_oneof![
        8 => any::<bool>().prop_map(|end| Event::Open { end }),
        4 => (n.clone(), prop::bool::weighted(0.2)).prop_map(|(n, end)| Event::Respond { n, end }),
        8 => (n.clone(), len.clone(), prop::bool::weighted(0.2))
            .prop_map(|(n, len, last)| Event::Send { n, len, last }),
        2 => (n.clone(), len.clone()).prop_map(|(n, len)| Event::SendLast { n, len }),
        1 => n.clone().prop_map(|n| Event::Read { n }),
        1 => n.clone().prop_map(|n| Event::Abort { n }),
        4 => n.clone().prop_map(|n| Event::Drop { n }),
        4 => prop_oneof![Just(usize::MAX), 1..50_000_usize].prop_map(|len| Event::Write { len }),
        2 => (n.clone(), 0..100_usize, any::<bool>())
            .prop_map(|(n, len, end)| Event::PeerData { n, len, end }),
        2 => n.clone().prop_map(|n| Event::PeerReset { n }),
        2 => (n, more.clone()).prop_map(|(n, more)| Event::PeerWindow { n, more }),
        2 => more.prop_map(|more| Event::PeerConnectionWindow { more }),
        1 => prop_oneof![0..10_u32, Just(100_000)].prop_map(|size| Event::PeerInitialWindow { size }),
    ]
}

/// A stream that somebody works on.
struct Held {
    stream: Stream,
    id: u32,
    /// The peer may still send.
    asks: bool,
    answered: bool,
    /// All was sent that there is.
    done: bool,
    told: Arc<Told>,
    /// Its last `poll_send` was pending.
    stuck: bool,
}

struct World {
    peer: Peer,
    held: Vec<Held>,
    next: u32,
}

impl World {
    fn new() -> Self {
        let config = Config { max_streams: 20, ..CONFIG };
        Self { peer: Peer::new(Role::Server, config), held: Vec::new(), next: 1 }
    }

    fn pick(&mut self, n: usize) -> Option<&mut Held> {
        let len = self.held.len();
        (len > 0).then(|| &mut self.held[n % len])
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Open { end } if self.held.len() < 20 => {
                let id = self.next;
                self.next += 2;
                self.peer.headers(id, end, if end { GET } else { POST });
                if let Some(stream) = self.peer.accept() {
                    let (told, asks) = (Arc::new(Told::new(false)), !end);
                    self.held.push(Held {
                        stream,
                        id,
                        asks,
                        answered: false,
                        done: false,
                        told,
                        stuck: false,
                    });
                }
            }
            Event::Respond { n, end } => {
                let Some(held) = self.pick(n).filter(|held| !held.answered) else { return };
                (held.answered, held.done) = (true, end);
                let head = ResponseHead { status: 200, ..ResponseHead::default() };
                held.stream.connection().borrow_mut().send_response(held.stream.key(), &head, end);
            }
            Event::Send { n, len, last } => {
                let Some(held) = self.pick(n).filter(|held| held.answered && !held.done) else { return };
                held.told.take();
                let waker = Waker::from(held.told.clone());
                let mut cx = Context::from_waker(&waker);
                let mut connection = held.stream.connection().borrow_mut();
                held.stuck =
                    connection.poll_send(&mut cx, held.stream.key(), &vec![7; len], last).is_pending();
            }
            Event::SendLast { n, len } => {
                let Some(held) = self.pick(n).filter(|held| held.answered && !held.stuck && !held.done)
                else {
                    return;
                };
                held.done = true;
                let waker = Waker::from(held.told.clone());
                held.stream.send_last(&vec![7; len]);
                let _ = held.stream.poll_flush(&mut Context::from_waker(&waker));
            }
            Event::Read { n } => {
                let Some(held) = self.pick(n) else { return };
                let waker = Waker::from(held.told.clone());
                let mut cx = Context::from_waker(&waker);
                while let Poll::Ready(Ok(Next::Data { .. })) = held.stream.poll_body(&mut cx) {
                    held.stream.consume(held.stream.data().len());
                }
            }
            Event::Abort { n } => {
                let Some(held) = self.pick(n) else { return };
                held.stream.connection().borrow_mut().abort(held.stream.key(), Code::INTERNAL_ERROR);
            }
            Event::Drop { n } if !self.held.is_empty() => {
                let n = n % self.held.len();
                self.held.swap_remove(n);
            }
            Event::Write { len } => {
                let mut connection = self.peer.connection.borrow_mut();
                let len = len.min(connection.output().len());
                connection.wrote(len);
            }
            Event::PeerData { n, len, end } => {
                let Some(held) = self.pick(n).filter(|held| held.asks) else { return };
                let id = held.id;
                held.asks = !end;
                self.peer.data(id, end, &vec![1; len]).flush();
            }
            Event::PeerReset { n } => {
                let Some(held) = self.pick(n) else { return };
                let id = held.id;
                held.asks = false;
                self.peer.frame(Kind::Reset, 0, id, &[0, 0, 0, 8]).flush();
            }
            Event::PeerWindow { n, more } => {
                let Some(held) = self.pick(n) else { return };
                let id = held.id;
                self.peer.window(id, more).flush();
            }
            Event::PeerConnectionWindow { more } => self.peer.window(0, more).flush(),
            Event::PeerInitialWindow { size } => self.peer.setting(Setting::InitialWindowSize(size)).flush(),
            Event::Open { .. } | Event::Drop { .. } => {}
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let connection = self.peer.connection.borrow();
        let mut waiting = connection.waiting.clone();
        waiting.sort_unstable();
        for pair in waiting.windows(2) {
            prop_assert_ne!(pair[0], pair[1], "waits twice");
        }
        for key in &waiting {
            prop_assert!(self.held.iter().any(|held| held.stream.key() == *key), "{} is gone and waits", key);
        }
        for held in &self.held {
            let key = held.stream.key();
            let stream = connection.streams.get(key);
            prop_assert_eq!(stream.waits, waiting.contains(&key), "stream {}", held.id);
            let may_go_on = stream.error.is_some()
                || stream.send_window > 0
                    && connection.send_window > 0
                    && connection.out.len() - connection.written < QUEUE;
            // The queue tells when it is empty: until then a stream may have to wait for it.
            let queued = !connection.output().is_empty();
            let told = held.told.is_set();
            prop_assert!(!held.stuck || told || queued || !may_go_on, "stream {} sleeps for ever", held.id);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whoever_may_go_on_is_told_and_nobody_waits_who_is_gone(events in prop::collection::vec(event(), 0..200)) {
        let mut world = World::new();
        for event in &events {
            world.happens(event);
            if world.peer.connection.borrow().ended().is_some() {
                break;
            }
            world.check()?;
        }
        world.held.clear();
        prop_assert_eq!(world.peer.connection.borrow().streams(), 0);
        prop_assert_eq!(world.peer.connection.borrow().waiting.len(), 0);
        // The slots are fewer now: nobody may look for one that is gone.
        world.peer.window(0, 1).flush();
        let n = world.peer.connection.borrow().output().len();
        world.peer.connection.borrow_mut().wrote(n);
    }
}
