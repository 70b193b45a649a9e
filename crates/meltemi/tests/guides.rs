//! The guides of `docs/guides`, done as they say: their files are written, their commands run, their output compared.
//!
//! A fence with a file name (```` ```yaml routes.yaml ````) is that file from there on. In a `console` fence a line with `$`
//! is a command, those after it are what it prints; `…` stands for anything. `meltemi up` and the like run until the
//! guide's end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use meltemi_testkit::{peers, ports, process::Process};

/// How long an edit may take to come into force, and a mesh to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where guides say that the gateway listens; replaced by a free address.
const GATEWAY: &str = "127.0.0.1:8080";

#[test]
fn guides_do_what_they_say() {
    if peers::require("curl").is_none() {
        return;
    }
    let mut found = 0;
    for entry in fs::read_dir(peers::repository().join("docs/guides")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found += 1;
            follow(&path);
        }
    }
    assert!(found > 0, "no guide");
}

/// Does everything that a guide says, in a folder of its own.
fn follow(guide: &Path) {
    let name = guide.file_stem().unwrap().to_string_lossy().into_owned();
    let mut reader = Reader {
        folder: std::env::temp_dir().join(format!("meltemi-guide-{name}-{}", std::process::id())),
        gateway: format!("127.0.0.1:{}", ports::free()),
        control_plane: format!("127.0.0.1:{}", ports::free()),
        running: Vec::new(),
        name,
    };
    fs::create_dir_all(&reader.folder).unwrap();
    let said = fs::read_to_string(guide).unwrap();
    if said.contains(" samples/") {
        std::os::unix::fs::symlink(peers::repository().join("samples"), reader.folder.join("samples"))
            .unwrap();
    }
    for fence in fences(&said) {
        match (fence.language, fence.file) {
            (_, Some(file)) => reader.save(file, &fence.text),
            ("console", None) => reader.type_in(&fence.text),
            _ => {}
        }
    }
}

struct Fence<'a> {
    language: &'a str,
    file: Option<&'a str>,
    text: String,
}

fn fences(markdown: &str) -> Vec<Fence<'_>> {
    let mut fences: Vec<Fence<'_>> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                let (language, file) = info.split_once(' ').map_or((info, None), |(l, f)| (l, Some(f)));
                fences.push(Fence { language, file, text: String::new() });
                inside = true;
            }
            None if inside => {
                let fence = fences.last_mut().expect("invariant: a fence is open");
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            None => {}
        }
    }
    fences
}

struct Reader {
    name: String,
    folder: PathBuf,
    gateway: String,
    /// Where commands that name a proxy ask; told in the environment.
    control_plane: String,
    running: Vec<Process>,
}

impl Reader {
    /// As an editor saves: a new file takes the old one's place.
    fn save(&self, file: &str, text: &str) {
        let draft = self.folder.join(format!("{file}.draft"));
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, self.folder.join(file)).unwrap();
    }

    fn type_in(&mut self, console: &str) {
        let mut lines = console.lines().peekable();
        while let Some(line) = lines.next() {
            let typed =
                line.strip_prefix("$ ").unwrap_or_else(|| panic!("{}: no command: {line}", self.name));
            let mut printed = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                printed.push(line.to_owned());
            }
            match typed.strip_prefix("meltemi up ") {
                Some(arguments) => self.up(arguments, &printed),
                None => self.run(typed, &printed),
            }
        }
    }

    fn up(&mut self, arguments: &str, printed: &[String]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command.current_dir(&self.folder).arg("up").args(arguments.split_whitespace());
        command.args(["--gateway", &self.gateway]);
        command.args([
            "--dashboard",
            "127.0.0.1:0",
            "--xds",
            "127.0.0.1:0",
            "--monitoring",
            &self.control_plane,
        ]);
        let process = Process::start(&mut command);
        for line in printed {
            let pieces: Vec<&str> = line.split('…').collect();
            process.wait_for(pieces[0], PATIENCE);
        }
        self.running.push(process);
    }

    /// Runs a command until it prints what it should: an edit before it takes a moment.
    fn run(&self, typed: &str, printed: &[String]) {
        let program = Path::new(env!("CARGO_BIN_EXE_meltemi")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shell = Command::new("sh")
                .args(["-c", &typed.replace(GATEWAY, &self.gateway)])
                .env("PATH", &path)
                .env("MELTEMI_CONTROL_PLANE", &self.control_plane)
                .current_dir(&self.folder)
                .output()
                .unwrap();
            let said = format!("{}{}", text(&shell.stdout), text(&shell.stderr));
            let said = said.replace(&self.gateway, GATEWAY);
            let lines: Vec<&str> = said.lines().collect();
            if like(&lines, printed) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{}: {typed} prints\n{said}\nnot\n{}",
                self.name,
                printed.join("\n")
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for process in &mut self.running {
            if process.wait(Duration::ZERO).is_none() {
                process.signal("TERM");
                process.wait(Duration::from_secs(15));
            }
        }
        let _kept_if_it_cannot_be_removed = fs::remove_dir_all(&self.folder);
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// True when the lines are as printed; a line `…` stands for any number of lines, `…` within one for any text.
fn like(lines: &[&str], printed: &[String]) -> bool {
    match printed.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => (0..=lines.len()).any(|at| like(&lines[at..], rest)),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| line_like(line, first) && like(others, rest))
        }
    }
}

fn line_like(line: &str, printed: &str) -> bool {
    let mut pieces = printed.trim_end().split('…');
    let line = line.trim_end();
    let Some(mut left) = pieces.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return left.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        let Some(at) = left.find(piece) else { return false };
        left = &left[at + piece.len()..];
    }
    true
}

#[test]
fn output_is_compared_line_by_line() {
    let printed = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    assert!(like(&["a", "b"], &printed(&["a", "b"])));
    assert!(like(&["a", "x", "y", "b"], &printed(&["a", "…", "b"])));
    assert!(like(&["took 3 ms (2 files)"], &printed(&["took … ms (… files)"])));
    assert!(!like(&["took 3 s"], &printed(&["took … ms"])));
    assert!(!like(&["a", "b"], &printed(&["a"])));
    assert!(!like(&[], &printed(&["a"])));
}
