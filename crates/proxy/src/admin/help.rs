//! What admin offers: paths, which of them change something, their parameters, and how `/help` and the home page show them.
//!
//! Invariant: a path that is listed is answered, be it with why there is nothing to say.

use std::fmt::Write;

/// A path.
pub(super) struct Entry {
    /// Path.
    pub(super) path: &'static str,
    /// Only a POST may ask for it.
    pub(super) mutates: bool,
    /// What it does.
    about: &'static str,
    /// Parameters and what they mean.
    parameters: &'static [(&'static str, &'static str)],
}

const fn shows(
    path: &'static str,
    about: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Entry {
    Entry { path, mutates: false, about, parameters }
}

const fn changes(
    path: &'static str,
    about: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Entry {
    Entry { path, mutates: true, about, parameters }
}

const FORMAT: (&str, &str) = ("format", "File format to use; One of (text, json)");
const USED_ONLY: (&str, &str) =
    ("usedonly", "Only include stats that have been written by system since restart");
const FILTER: (&str, &str) = ("filter", "Regular expression for filtering stats");
const INVERT: (&str, &str) = ("invert_filter", "Invert the filter regex");
const TYPE: (&str, &str) =
    ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)");

/// In Envoy's order, with Envoy's words.
pub(super) const ENTRIES: &[Entry] = &[
    shows("/", "Admin home page", &[]),
    changes("/allocprofiler", "enable/disable the allocation profiler (if supported)", &[]),
    shows("/certs", "print certs on machine", &[]),
    shows(
        "/clusters",
        "upstream cluster status",
        &[("filter", "Regular expression for filtering clusters by name"), FORMAT],
    ),
    shows(
        "/config_dump",
        "dump current configs",
        &[
            ("resource", "The resource to dump"),
            ("mask", "The mask to apply, to every element when a resource is given as well"),
            ("name_regex", "Dump only configurations whose names match the specified regex"),
            ("include_eds", "Dump currently loaded configuration including EDS"),
        ],
    ),
    shows("/contention", "dump current mutex contention stats (if enabled)", &[]),
    changes("/cpuprofiler", "enable/disable the CPU profiler", &[]),
    changes(
        "/drain_listeners",
        "drain listeners",
        &[
            ("graceful", "Enter a graceful drain period prior to closing listeners"),
            ("skip_exit", "Drain the connections but never stop the listeners"),
            ("inboundonly", "Drains all inbound listeners"),
        ],
    ),
    changes("/healthcheck/fail", "cause the server to fail health checks", &[]),
    changes("/healthcheck/ok", "cause the server to pass health checks", &[]),
    shows("/heap_dump", "dump current heap (if supported)", &[]),
    changes("/heapprofiler", "enable/disable the heap profiler", &[]),
    shows("/help", "print out list of admin commands", &[]),
    shows("/hot_restart_version", "print the hot restart compatibility version", &[]),
    shows("/init_dump", "dump current init manager information (experimental)", &[]),
    shows("/listeners", "print listener info", &[FORMAT]),
    changes(
        "/logging",
        "query/change logging levels",
        &[
            ("paths", "Change multiple logging levels: <name1>:<level1>,<name2>:<level2>"),
            ("level", "Change all; One of (trace, debug, info, warning, error, critical, off)"),
        ],
    ),
    shows("/memory", "print current allocation/heap usage", &[]),
    shows("/peak_heap_dump", "dump peak heap (if supported)", &[]),
    changes("/quitquitquit", "exit the server", &[]),
    shows("/ready", "print server state, return 200 if LIVE, otherwise return 503", &[]),
    changes("/reopen_logs", "reopen access logs", &[]),
    changes("/reset_counters", "reset all counters to zero", &[]),
    shows("/runtime", "print runtime values", &[]),
    changes("/runtime_modify", "Adds or modifies runtime values as passed in query parameters", &[]),
    shows("/server_info", "print server version/status information", &[]),
    shows(
        "/stats",
        "print server stats",
        &[USED_ONLY, FILTER, INVERT, ("format", "Format to use; One of (text, json, prometheus)"), TYPE],
    ),
    shows("/stats/prometheus", "print server stats in prometheus format", &[USED_ONLY, FILTER, INVERT]),
];

/// Text of `/help`.
pub(super) fn text() -> String {
    let mut text = String::from("admin commands are:\n");
    for entry in ENTRIES {
        let post = if entry.mutates { " (POST)" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}{post}: {}", entry.path, entry.about);
        for (name, about) in entry.parameters {
            let _ = writeln!(text, "      {name}: {about}");
        }
    }
    text
}

/// The home page: a link for what shows something, a button for what changes something.
pub(super) fn page() -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Admin</title>\n<style>body{font-family:\
         sans-serif;margin:2em}td{padding:.2em 1em .2em 0;vertical-align:top}small{color:#555}</style></head><body>\n\
         <h1>Admin</h1>\n<table>\n",
    );
    for entry in ENTRIES.iter().filter(|entry| entry.path != "/") {
        let path = entry.path;
        let link = match entry.mutates {
            false => format!("<a href=\"{path}\">{path}</a>"),
            true => format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>"),
        };
        let _ = write!(page, "<tr><td>{link}</td><td>{}", entry.about);
        for (name, about) in entry.parameters {
            let about = about.replace('<', "&lt;");
            let _ = write!(page, "<br><small>{name}: {about}</small>");
        }
        page.push_str("</td></tr>\n");
    }
    page.push_str("</table>\n</body></html>\n");
    page
}
