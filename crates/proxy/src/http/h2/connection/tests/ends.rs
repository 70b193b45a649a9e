//! Two connections talk to each other, in any order, in pieces of any size: bodies arrive whole, whoever may go on is told, and at
//! the end nobody waits.

use super::*;

/// What becomes of one exchange.
#[derive(Debug, Clone)]
struct Plan {
    request: usize,
    response: usize,
    /// The server answers without reading, and drops the stream when it has.
    deaf: bool,
    /// After so many turns of either side it drops the stream.
    client_leaves: Option<u8>,
    server_leaves: Option<u8>,
}

/// Who does something next.
#[derive(Debug, Clone)]
enum Step {
    Open,
    Client(usize),
    Server(usize),
    Up(usize),
    Down(usize),
}

fn plan() -> impl Strategy<Value = Plan> {
    let size = || prop_oneof![3 => 0..100_usize, 1 => Just(30_000), 1 => Just(150_000)];
    let leaves = || prop::option::weighted(0.15, 0..6_u8);
    (size(), size(), prop::bool::weighted(0.2), leaves(), leaves()).prop_map(
        |(request, response, deaf, client_leaves, server_leaves)| Plan {
            request,
            response,
            deaf,
            client_leaves,
            server_leaves,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..30_usize;
    let bytes = || prop_oneof![1..40_usize, Just(20_000), Just(usize::MAX)];
    prop_oneof![
        2 => Just(Step::Open),
        3 => n.clone().prop_map(Step::Client),
        3 => n.prop_map(Step::Server),
        2 => bytes().prop_map(Step::Up),
        2 => bytes().prop_map(Step::Down),
    ]
}

/// One side of an exchange, which runs only when it is told.
struct Task {
    plan: usize,
    stream: Option<Stream>,
    told: Arc<Told>,
    turns: u8,
    to_send: usize,
    answered: bool,
    read: Vec<u8>,
    read_all: bool,
    /// It was dropped before its time, or the other side reset it.
    failed: bool,
}

/// Bytes that differ from place to place and from stream to stream.
fn bytes(plan: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7 + n * 31 + plan * 101) as u8).collect()
}

impl Task {
    fn new(plan: usize, stream: Stream, to_send: usize) -> Self {
        let told = Arc::new(Told::new(true));
        let stream = Some(stream);
        let read = Vec::new();
        Self { plan, stream, told, turns: 0, to_send, answered: false, read, read_all: false, failed: false }
    }

    /// Whether there is a reason to run it.
    fn is_told(&self) -> bool {
        self.stream.is_some() && self.told.take()
    }

    /// Whether it drops its stream now, after so many turns.
    fn leaves(&mut self, after: Option<u8>) -> bool {
        self.turns = self.turns.saturating_add(1);
        after.is_some_and(|turns| turns < self.turns) && self.fail()
    }

    /// Sends and reads as much as it can; true when it did anything.
    fn work(&mut self, body: &[u8], reads: bool) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let waker = Waker::from(self.told.clone());
        let cx = &mut Context::from_waker(&waker);
        let mut did = false;
        loop {
            let mut goes_on = false;
            if self.to_send > 0 {
                let rest = &body[body.len() - self.to_send..];
                let part = &rest[..rest.len().min(10_000)];
                let last = part.len() == rest.len();
                let sent = stream.connection().borrow_mut().poll_send(cx, stream.key(), part, last);
                match sent {
                    Poll::Ready(Ok(Sent::Bytes(n))) => {
                        self.to_send -= n;
                        goes_on = n > 0;
                    }
                    Poll::Ready(Ok(Sent::Unwanted)) => (self.to_send, goes_on) = (0, true),
                    Poll::Ready(Err(_)) => return self.fail(),
                    Poll::Pending => {}
                }
            }
            if reads && !self.read_all {
                match stream.poll_body(cx) {
                    Poll::Ready(Ok(Next::Data { .. })) => {
                        self.read.extend_from_slice(stream.data());
                        stream.consume(stream.data().len());
                        goes_on = true;
                    }
                    Poll::Ready(Ok(_)) => (self.read_all, goes_on) = (true, true),
                    Poll::Ready(Err(_)) => return self.fail(),
                    Poll::Pending => {}
                }
            }
            if !goes_on {
                return did;
            }
            did = true;
        }
    }

    fn fail(&mut self) -> bool {
        self.failed = true;
        self.stream = None;
        true
    }
}

struct World {
    plans: Vec<Plan>,
    client: Rc<RefCell<Connection>>,
    server: Rc<RefCell<Connection>>,
    clients: Vec<Task>,
    servers: Vec<Task>,
}

const OPEN: usize = 20;

impl World {
    fn new(plans: Vec<Plan>, window: u32) -> Self {
        let config = Config { max_streams: OPEN as u32, stream_window: window, ..CONFIG };
        let connection =
            |role| Rc::new(RefCell::new(Connection::new(role, config, Arc::<Http2Stats>::default())));
        let (clients, servers) = (Vec::new(), Vec::new());
        Self { plans, client: connection(Role::Client), server: connection(Role::Server), clients, servers }
    }

    fn open(&mut self) -> bool {
        let plan = self.clients.len();
        let open = self.client.borrow().streams();
        let Some(what) = self.plans.get(plan) else { return false };
        if open >= OPEN {
            return false;
        }
        let mut head = RequestHead::default();
        head.set_method("POST");
        head.set_path(&format!("/{plan}"));
        head.set_authority("a");
        let key = self.client.borrow_mut().reserve();
        self.client.borrow_mut().send_request(key, &head, what.request == 0);
        self.clients.push(Task::new(plan, Stream::new(self.client.clone(), key), what.request));
        true
    }

    fn run_client(&mut self, n: usize) -> bool {
        let task = &mut self.clients[n];
        let plan = &self.plans[task.plan];
        if !task.is_told() {
            return false;
        }
        if task.leaves(plan.client_leaves) {
            return true;
        }
        let Some(stream) = &task.stream else { return false };
        if !task.answered {
            let waker = Waker::from(task.told.clone());
            let mut head = ResponseHead::default();
            let polled = stream.connection().borrow_mut().poll_response(
                &mut Context::from_waker(&waker),
                stream.key(),
                &mut head,
            );
            match polled {
                Poll::Ready(Ok(())) => task.answered = true,
                Poll::Ready(Err(_)) => return task.fail(),
                Poll::Pending => {}
            }
        }
        task.work(&bytes(task.plan, plan.request), task.answered);
        if task.to_send == 0 && task.read_all {
            task.stream = None;
        }
        true
    }

    fn run_server(&mut self, n: usize) -> bool {
        let task = &mut self.servers[n];
        let plan = &self.plans[task.plan];
        if !task.is_told() {
            return false;
        }
        if task.leaves(plan.server_leaves) {
            return true;
        }
        let Some(stream) = &task.stream else { return false };
        if !task.answered {
            task.answered = true;
            let head = ResponseHead { status: 200, ..ResponseHead::default() };
            stream.connection().borrow_mut().send_response(stream.key(), &head, plan.response == 0);
        }
        task.work(&bytes(task.plan, plan.response), !plan.deaf);
        if task.to_send == 0 && (task.read_all || plan.deaf) {
            task.stream = None;
        }
        true
    }

    /// Carries some of what one side wrote to the other.
    fn carry(&mut self, up: bool, len: usize, input: &mut Vec<u8>) -> bool {
        let (from, to) = if up { (&self.client, &self.server) } else { (&self.server, &self.client) };
        let n = {
            let mut from = from.borrow_mut();
            let n = len.min(from.output().len());
            input.extend_from_slice(&from.output()[..n]);
            from.wrote(n);
            n
        };
        let done = to.borrow_mut().receive(input);
        input.drain(..done);
        let accepted: Vec<_> = std::iter::from_fn(|| self.server.borrow_mut().accept()).collect();
        for key in accepted {
            let stream = Stream::new(self.server.clone(), key);
            let mut head = RequestHead::default();
            assert!(self.server.borrow_mut().take_request(key, &mut head));
            let plan: usize = head.path()[1..].parse().unwrap();
            self.servers.push(Task::new(plan, stream, self.plans[plan].response));
        }
        n > 0
    }
}

proptest! {
    #[test]
    fn bodies_arrive_whole_and_nobody_is_left_waiting(
        plans in prop::collection::vec(plan(), 1..25),
        steps in prop::collection::vec(step(), 0..150),
        window in 65_535..200_000_u32,
    ) {
        let mut world = World::new(plans, window);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for step in &steps {
            match *step {
                Step::Open => { world.open(); }
                Step::Client(n) if !world.clients.is_empty() => { world.run_client(n % world.clients.len()); }
                Step::Server(n) if !world.servers.is_empty() => { world.run_server(n % world.servers.len()); }
                Step::Up(n) => { world.carry(true, n, &mut up); }
                Step::Down(n) => { world.carry(false, n, &mut down); }
                Step::Client(_) | Step::Server(_) => {}
            }
        }
        // From here on everybody runs who is told.
        for round in 0.. {
            prop_assert!(round < 10_000, "this has no end");
            let mut goes_on = world.open();
            for n in 0..world.clients.len() {
                goes_on |= world.run_client(n);
            }
            goes_on |= world.carry(true, usize::MAX, &mut up);
            for n in 0..world.servers.len() {
                goes_on |= world.run_server(n);
            }
            goes_on |= world.carry(false, usize::MAX, &mut down);
            if !goes_on {
                break;
            }
        }
        prop_assert_eq!(world.client.borrow().ended(), None);
        prop_assert_eq!(world.server.borrow().ended(), None);
        prop_assert_eq!(world.clients.len(), world.plans.len());
        for task in world.clients.iter().chain(&world.servers) {
            prop_assert!(task.stream.is_none(), "exchange {} hangs: {} to send, {} read", task.plan, task.to_send, task.read.len());
        }
        for client in &world.clients {
            let plan = &world.plans[client.plan];
            let server = world.servers.iter().find(|server| server.plan == client.plan);
            if plan.client_leaves.is_none() && plan.server_leaves.is_none() {
                prop_assert!(!client.failed && server.is_some_and(|server| !server.failed), "exchange {} failed", client.plan);
                prop_assert!(client.read == bytes(client.plan, plan.response), "response {}", client.plan);
                if !plan.deaf {
                    prop_assert!(server.unwrap().read == bytes(client.plan, plan.request), "request {}", client.plan);
                }
            }
        }
        for connection in [&world.client, &world.server] {
            let connection = connection.borrow();
            prop_assert_eq!(connection.streams(), 0);
            prop_assert_eq!(connection.ids.len(), 0);
            prop_assert_eq!(connection.waiting.len(), 0);
        }
        // What was said of the connection's windows agrees on both sides.
        let windows = |from: &Connection, to: &Connection| (from.send_window, to.recv_window);
        let (sends, takes) = windows(&world.client.borrow(), &world.server.borrow());
        prop_assert_eq!(sends, takes, "up");
        let (sends, takes) = windows(&world.server.borrow(), &world.client.borrow());
        prop_assert_eq!(sends, takes, "down");
    }
}
