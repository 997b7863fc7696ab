//! A vector that is cheap to clone and to change in one place: readers keep the old one, a change
//! copies two short runs. The elements of a run lie side by side, so that reading one is a single
//! wait for memory.

use std::sync::Arc;

/// Elements per run: a change among 10 000 copies 64 elements and 157 pointers.
const RUN: usize = 64;

/// A persistent vector that only grows.
#[derive(Debug)]
pub struct Chunked<T> {
    runs: Arc<[Arc<[T]>]>,
    len: usize,
}

impl<T: Clone> Chunked<T> {
    /// Appends an element and returns its index.
    pub fn push(&mut self, value: T) -> usize {
        let index = self.len;
        if index.is_multiple_of(RUN) {
            self.runs = self.runs.iter().cloned().chain([Arc::from(vec![value])]).collect();
        } else if let Some(last) = Arc::make_mut(&mut self.runs).last_mut() {
            *last = last.iter().cloned().chain([value]).collect();
        }
        self.len += 1;
        index
    }

    /// Replaces an element; an index beyond the end changes nothing.
    pub fn set(&mut self, index: usize, value: T) {
        self.change(index, |element| *element = value);
    }

    /// Changes an element; an index beyond the end changes nothing.
    pub fn change(&mut self, index: usize, change: impl FnOnce(&mut T)) {
        if index < self.len {
            let runs = Arc::make_mut(&mut self.runs);
            change(&mut Arc::make_mut(&mut runs[index / RUN])[index % RUN]);
        }
    }

    /// The element at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.runs.get(index / RUN)?.get(index % RUN)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.runs.iter().flat_map(|run| run.iter())
    }
}

impl<T> Clone for Chunked<T> {
    fn clone(&self) -> Self {
        Self { runs: Arc::clone(&self.runs), len: self.len }
    }
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { runs: Arc::from([]), len: 0 }
    }
}

impl<T: Clone> FromIterator<T> for Chunked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let elements: Vec<T> = elements.into_iter().collect();
        Self { runs: elements.chunks(RUN).map(Arc::from).collect(), len: elements.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut live = Chunked::default();
        for n in 0..300 {
            assert_eq!(live.push(n), n);
        }
        let old = live.clone();
        live.set(130, 7);
        live.set(300, 7);
        live.push(300);
        assert_eq!((old.get(130), old.get(300), old.len()), (Some(&130), None, 300));
        assert_eq!((live.get(130), live.get(300), live.len()), (Some(&7), Some(&300), 301));
        assert_eq!(old.iter().copied().collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
        assert_eq!((0..300).collect::<Chunked<_>>().iter().copied().sum::<usize>(), 299 * 150);
    }
}
