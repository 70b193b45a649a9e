//! A steady load, bounded in rate and time, that remembers every answer that was not as wanted.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior},
};

use crate::client::{Client, Response};

/// What to send and how fast.
#[derive(Clone)]
pub struct Load {
    /// Absolute URL.
    pub url: String,
    /// Headers of every request.
    pub headers: Vec<(&'static str, String)>,
    /// Requests per second in all.
    pub rate: u32,
    /// How long.
    pub duration: Duration,
    /// Connections that share the rate.
    pub connections: u32,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers in all, failures included.
    pub sent: u64,
    /// Transport errors and answers that `wanted` refused, with the time since the start; the first 20 are kept.
    pub failures: Vec<(Duration, String)>,
    /// How many failed.
    pub failed: u64,
    /// Times of answers (since the start) with what `wanted` named them, in order of arrival per connection.
    pub answers: Vec<(Duration, &'static str)>,
}

impl Load {
    /// Runs it to the end. `wanted` names an acceptable answer (so that a test can count or time kinds of answers), or
    /// says what is wrong with it.
    pub async fn run<F>(self, wanted: F) -> Report
    where
        F: Fn(&Response) -> Result<&'static str, String> + Send + Sync + 'static,
    {
        let (wanted, report) = (Arc::new(wanted), Arc::new(Mutex::new(Report::default())));
        let started = Instant::now();
        let tasks: Vec<_> = (0..self.connections)
            .map(|_| {
                tokio::spawn(connection(self.clone(), Arc::clone(&wanted), Arc::clone(&report), started))
            })
            .collect();
        for task in tasks {
            task.await.unwrap_or_else(|error| panic!("a load connection panicked: {error}"));
        }
        std::mem::take(&mut *report.lock().await)
    }
}

async fn connection<F>(load: Load, wanted: Arc<F>, report: Arc<Mutex<Report>>, started: Instant)
where
    F: Fn(&Response) -> Result<&'static str, String>,
{
    let client = Client::default();
    let headers: Vec<_> = load.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut ticks =
        tokio::time::interval(Duration::from_secs(1) * load.connections / load.rate.max(load.connections));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while started.elapsed() < load.duration {
        ticks.tick().await;
        let answer = client.get(&load.url, &headers).await.map_err(|error| error.to_string());
        let verdict = answer.and_then(|response| wanted(&response));
        let mut report = report.lock().await;
        report.sent += 1;
        match verdict {
            Ok(kind) => report.answers.push((started.elapsed(), kind)),
            Err(problem) => {
                report.failed += 1;
                if report.failures.len() < 20 {
                    report.failures.push((started.elapsed(), problem));
                }
            }
        }
    }
}
