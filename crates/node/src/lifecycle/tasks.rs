//! The named tasks of a daemon: all of them run until told to stop, or the daemon ends.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The tasks and threads of one daemon. Each gets the [`Tasks::stop_token`] from whoever spawns
/// it and returns soon after the token is cancelled. Dropping this cancels it and aborts the tasks.
#[derive(Debug)]
pub struct Tasks {
    runtime: Handle,
    running: JoinSet<()>,
    names: HashMap<Id, Arc<str>>,
    stop: CancellationToken,
    reloads: Family<Outcome, Counter>,
}

/// A task that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The name it was spawned under.
    pub name: Arc<str>,
    /// Whether it panicked rather than returned.
    pub panicked: bool,
}

/// How a daemon stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Tasks that were still running at the deadline, and were aborted.
    pub overdue: Vec<Arc<str>>,
    /// Tasks that panicked on the way.
    pub panicked: Vec<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Tasks {
    /// Tasks on the current runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new() -> Self {
        Self::on(Handle::current())
    }

    /// Tasks on `runtime`.
    pub fn on(runtime: Handle) -> Self {
        let names = HashMap::new();
        Self { runtime, running: JoinSet::new(), names, stop: CancellationToken::new(), reloads: Family::default() }
    }

    /// Starts a task that runs until the daemon stops.
    pub fn spawn(&mut self, name: impl Into<Arc<str>>, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        let task = Named { name: Arc::clone(&name), task: Box::pin(task) };
        let id = self.running.spawn_on(task, &self.runtime).id();
        self.names.insert(id, name);
    }

    /// Starts a thread that runs until the daemon stops. A thread cannot be aborted, so `body`
    /// must never block for long without looking at the stop token.
    ///
    /// # Errors
    /// When the system has no room for another thread.
    pub fn spawn_thread(&mut self, name: impl Into<Arc<str>>, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let name = name.into();
        let (alive, ended) = oneshot::channel();
        std::thread::Builder::new().name(name.to_string()).spawn(move || {
            body();
            // Unreached when `body` panics: `alive` is then dropped unsent.
            let _ = alive.send(());
        })?;
        let watched = Arc::clone(&name);
        self.spawn(name, async move {
            if ended.await.is_err() {
                std::panic::resume_unwind(Box::new(format!("thread {watched} panicked")));
            }
        });
        Ok(())
    }

    /// Cancelled when the daemon is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The runtime that the tasks run on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Adds what is counted here: `dglb_config_reloads_total`.
    pub fn register(&self, registry: &mut Registry) {
        for outcome in ["applied", "refused"] {
            // Shown from the start, as 0.
            let _ = self.reloads.get_or_create(&Outcome { outcome });
        }
        let help = "Reloads of the configuration by outcome";
        registry.register("dglb_config_reloads", help, self.reloads.clone());
    }

    /// Waits until a task ends; without tasks, forever. Safe to drop and call again.
    pub async fn ended(&mut self) -> Ended {
        match self.running.join_next_with_id().await {
            Some(joined) => self.name(joined),
            None => std::future::pending().await,
        }
    }

    /// Tells all tasks to stop, and aborts those that have not by `deadline` from now.
    pub async fn stop(mut self, deadline: Duration) -> Stopped {
        self.stop.cancel();
        let deadline = Instant::now() + deadline;
        let mut stopped = Stopped::default();
        while !self.running.is_empty() {
            match tokio::time::timeout_at(deadline, self.ended()).await {
                Ok(ended) if ended.panicked => stopped.panicked.push(ended.name),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        stopped.overdue.extend(self.names.drain().map(|(_, name)| name));
        stopped.overdue.sort();
        self.running.abort_all();
        stopped
    }

    /// Counts a reload.
    pub(crate) fn count_reload(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "refused" };
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    fn name(&mut self, joined: Result<(Id, ()), JoinError>) -> Ended {
        let (id, panicked) = match joined {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let name = self.names.remove(&id).unwrap_or_else(|| "unnamed".into());
        Ended { name, panicked }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Threads cannot be aborted; this is how they hear of it.
        self.stop.cancel();
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "ended although nobody told it to" };
        write!(f, "task {} {how}", self.name)
    }
}

thread_local! {
    /// The task that this thread is running at the moment.
    static CURRENT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The name of the task that runs here, else of the thread. For the panic hook: a release build
/// aborts on panic, and there is no other chance to say whose it was.
pub(crate) fn current() -> Arc<str> {
    let task = CURRENT.try_with(|current| current.try_borrow().ok().and_then(|name| name.clone()));
    let thread = || std::thread::current().name().unwrap_or("unnamed").into();
    task.ok().flatten().unwrap_or_else(thread)
}

/// A task that is known by name while it runs.
struct Named<F> {
    name: Arc<str>,
    task: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Named<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        struct Restore(Option<Arc<str>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(Arc::clone(&self.name))));
        self.task.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_early_end_is_told_with_its_name() {
        let mut tasks = Tasks::new();
        let stop = tasks.stop_token();
        tasks.spawn("steady", async move { stop.cancelled().await });
        assert!(tokio::time::timeout(Duration::from_millis(20), tasks.ended()).await.is_err());
        tasks.spawn("hasty", async {});
        let ended = tokio::time::timeout(SOON, tasks.ended()).await.unwrap();
        assert_eq!(ended.to_string(), "task hasty ended although nobody told it to");
        assert_eq!(tasks.stop(SOON).await, Stopped::default());
    }

    #[tokio::test]
    async fn panics_of_tasks_and_threads_are_told_with_their_names() {
        let mut tasks = Tasks::new();
        let (told, name) = oneshot::channel();
        tasks.spawn("clumsy", async move {
            told.send(current()).unwrap();
            panic!("on purpose");
        });
        let ended = tokio::time::timeout(SOON, tasks.ended()).await.unwrap();
        assert_eq!(ended.to_string(), "task clumsy panicked");
        assert_eq!(&*name.await.unwrap(), "clumsy");
        assert_ne!(&*current(), "clumsy");

        tasks.spawn_thread("fragile", || panic!("on purpose")).unwrap();
        let ended = tokio::time::timeout(SOON, tasks.ended()).await.unwrap();
        assert_eq!(ended, Ended { name: "fragile".into(), panicked: true });
    }

    #[tokio::test]
    async fn threads_do_not_outlive_dropped_tasks() {
        let mut tasks = Tasks::new();
        let (stop, (gone, wait)) = (tasks.stop_token(), std::sync::mpsc::channel::<()>());
        let runtime = tasks.runtime().clone();
        tasks
            .spawn_thread("thread", move || {
                runtime.block_on(stop.cancelled());
                drop(gone);
            })
            .unwrap();
        drop(tasks);
        assert_eq!(wait.recv_timeout(SOON), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[tokio::test]
    async fn stopping_is_polite_until_the_deadline_and_certain_after_it() {
        let mut tasks = Tasks::new();
        let (stop, thread_stop) = (tasks.stop_token(), tasks.stop_token());
        let (drained, was_drained) = oneshot::channel();
        tasks.spawn("polite", async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            drained.send(()).unwrap();
        });
        tasks
            .spawn_thread("thread", move || {
                while !thread_stop.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
            .unwrap();
        tasks.spawn("deaf", std::future::pending());
        let begin = Instant::now();
        let deadline = Duration::from_secs(3);
        let stopped = tokio::time::timeout(deadline + SOON, tasks.stop(deadline)).await.expect("it stops in time");
        assert_eq!(stopped, Stopped { overdue: vec!["deaf".into()], panicked: vec![] });
        assert!(begin.elapsed() >= deadline, "{:?}", begin.elapsed());
        was_drained.await.expect("the polite task was not waited for");
    }
}
