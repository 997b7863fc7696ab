//! From start to end under signals: SIGHUP reloads, SIGTERM and SIGINT stop.

use std::path::Path;

use sd_notify::NotifyState;
use tokio::{
    runtime::{Handle, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{error, info, warn};

use super::{Daemon, Ended, StartError, Stopped, Tasks};
use crate::cli::Exit;

/// Starts a daemon on `work` and stays with it until its end. Signals and deadlines are looked
/// after on the caller's own thread, so they hold however busy `work` is.
pub(crate) fn supervise<D: Daemon>(path: &Path, config: D::Config, work: &Runtime) -> Exit {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let control = match control {
        Ok(control) => control,
        Err(error) => {
            error!("no runtime for signals: {error}");
            return Exit::Internal;
        }
    };
    control.block_on(async {
        match Signals::new() {
            Ok(signals) => live::<D>(path, config, work.handle(), signals).await,
            Err(error) => {
                error!("signals cannot be caught: {error}");
                Exit::Internal
            }
        }
    })
}

async fn live<D: Daemon>(path: &Path, config: D::Config, work: &Handle, mut signals: Signals) -> Exit {
    let mut tasks = Tasks::on(work.clone());
    let starting = work.spawn(async move {
        let started = D::start(config, &mut tasks).await;
        (started, tasks)
    });
    let (started, mut tasks) = tokio::select! {
        biased;
        () = signals.stop() => return Exit::Ok,
        started = starting => match started {
            Ok(started) => started,
            Err(error) => {
                error!("{} did not start: {error}", D::NAME);
                return Exit::Internal;
            }
        },
    };
    let mut daemon = match started {
        Ok(daemon) => daemon,
        Err(error) => {
            error!("{} did not start: {error}", D::NAME);
            // What was started before the failure is let go of in order, too.
            tasks.stop(D::DRAIN).await;
            return exit_for(&error);
        }
    };
    info!("{} {} serves", D::NAME, env!("CARGO_PKG_VERSION"));
    notify(&[NotifyState::Ready]);
    let ended = until_stopped(path, &mut daemon, &mut tasks, &mut signals).await;
    notify(&[NotifyState::Stopping]);
    let stopped = tokio::select! {
        stopped = tasks.stop(D::DRAIN) => stopped,
        () = signals.stop() => {
            warn!("told to stop twice, stopping without waiting");
            Stopped::default()
        }
    };
    report(ended, &stopped)
}

/// Reloads as often as told; returns when told to stop, or with the task that ended by itself.
async fn until_stopped<D: Daemon>(
    path: &Path,
    daemon: &mut D,
    tasks: &mut Tasks,
    signals: &mut Signals,
) -> Option<Ended> {
    loop {
        tokio::select! {
            biased;
            told = signals.next() => match told {
                Told::Stop => return None,
                Told::Reload => reload(path, daemon, tasks),
            },
            ended = tasks.ended() => return Some(ended),
        }
    }
}

fn reload<D: Daemon>(path: &Path, daemon: &mut D, tasks: &Tasks) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    // So that the daemon may spawn while it reloads.
    let _entered = tasks.runtime().enter();
    let outcome = D::load(path).map_err(|error| error.to_string()).and_then(|loaded| {
        loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
        daemon.reload(loaded.value)
    });
    tasks.count_reload(outcome.is_ok());
    match outcome {
        Ok(()) => info!("{} reloaded", path.display()),
        Err(error) => {
            error.lines().for_each(|line| error!("{line}"));
            error!("{} not reloaded: the old configuration stays", path.display());
        }
    }
    notify(&[NotifyState::Ready]);
}

fn report(ended: Option<Ended>, stopped: &Stopped) -> Exit {
    for name in &stopped.overdue {
        warn!("task {name} did not stop in time and was aborted");
    }
    for name in &stopped.panicked {
        error!("task {name} panicked while stopping");
    }
    match ended {
        None if stopped.panicked.is_empty() => Exit::Ok,
        None => Exit::Internal,
        Some(ended) => {
            error!("{ended}; the daemon ends with it");
            Exit::Internal
        }
    }
}

fn exit_for(error: &StartError) -> Exit {
    match error {
        StartError::Dns(_) | StartError::Admin(_) | StartError::Socket { .. } => Exit::Sockets,
        StartError::Configuration(_) => Exit::Configuration,
        StartError::Store(_) | StartError::Internal(_) => Exit::Internal,
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Without a service manager this does nothing; with one that is gone there is nothing to do.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Told {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// The next signal to stop; those to reload come too early or too late, and are let pass.
    async fn stop(&mut self) {
        while let Told::Reload = self.next().await {}
    }
}
