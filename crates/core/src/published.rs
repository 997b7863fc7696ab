//! One writer publishes immutable values, many readers use them without a lock and without ever
//! freeing one.
//!
//! A reader holds a value for one batch of questions. Were it the last owner, dropping it would
//! free a directory inside the answering thread; so the writer keeps every replaced value until
//! no reader holds it, and frees it itself.

use std::{ops::Deref, sync::Arc};

use arc_swap::{ArcSwap, Guard};

/// The readers' side: clone it freely.
#[derive(Debug)]
pub struct Published<T>(Arc<ArcSwap<T>>);

/// The writer's side: there is one.
#[derive(Debug)]
pub struct Publisher<T> {
    readers: Published<T>,
    /// Replaced values that some reader still held when last looked at.
    retired: Vec<Arc<T>>,
}

/// A value as it was when it was asked for. Keep it for a batch, not for longer.
pub struct Snapshot<T>(Guard<Arc<T>>);

impl<T> Publisher<T> {
    /// A writer whose readers see `value` at first.
    pub fn new(value: T) -> Self {
        Self { readers: Published(Arc::new(ArcSwap::from_pointee(value))), retired: Vec::new() }
    }

    /// Replaces the value; every [`Published::load`] that begins after the return sees it.
    pub fn publish(&mut self, value: T) {
        // `swap` gives every outstanding guard a count of its own, so the count below is exact.
        self.retired.push(self.readers.0.swap(Arc::new(value)));
        self.retired.retain(|old| Arc::strong_count(old) > 1);
    }

    /// A handle for one more reader.
    pub fn reader(&self) -> Published<T> {
        self.readers.clone()
    }

    /// The value published last.
    pub fn current(&self) -> Arc<T> {
        self.readers.0.load_full()
    }

    /// How many replaced values wait for their readers.
    pub fn retired(&self) -> usize {
        self.retired.len()
    }
}

impl<T> Published<T> {
    /// The value published last. Never blocks, never allocates.
    pub fn load(&self) -> Snapshot<T> {
        Snapshot(self.0.load())
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Snapshot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noisy(std::sync::mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Noisy {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }

    #[test]
    fn readers_never_free() {
        let (tx, rx) = std::sync::mpsc::channel();
        let mut publisher = Publisher::new(Noisy(tx.clone()));
        let reader = publisher.reader();
        let (hold, held) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|s| {
            s.spawn(|| {
                let snapshot = reader.load();
                hold.wait();
                held.wait();
                drop(snapshot);
                hold.wait();
            });
            hold.wait();
            publisher.publish(Noisy(tx.clone()));
            assert_eq!(publisher.retired(), 1);
            held.wait();
            hold.wait();
            assert!(rx.try_recv().is_err(), "the reader's drop freed the value");
        });
        publisher.publish(Noisy(tx));
        assert_eq!(publisher.retired(), 0);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), vec![std::thread::current().id(); 2]);
    }
}
