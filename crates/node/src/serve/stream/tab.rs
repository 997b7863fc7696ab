//! What one connection with several questions under way holds, and whether any of them is work in
//! progress. A connection with one question at a time needs none of this.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{Loan, Place, Thread, places::Id};
use crate::serve::source::Source;

/// The books of one connection.
pub(super) struct Tab<S: Source> {
    thread: Rc<Thread<S>>,
    id: Id,
    /// What all of its questions and replies hold together.
    held: RefCell<Loan<S>>,
    /// Questions that are whole and whose replies have not been taken.
    working: Cell<usize>,
}

/// The part of one question and its reply; given back when dropped.
pub(super) struct Share<S: Source> {
    tab: Rc<Tab<S>>,
    octets: usize,
    working: bool,
}

impl<S: Source> Tab<S> {
    /// Of a connection that has this place.
    pub(super) fn new(place: &Place<S>) -> Rc<Self> {
        let thread = Rc::clone(place.thread());
        let held = RefCell::new(Loan { thread: Rc::clone(&thread), octets: 0 });
        Rc::new(Self { thread, id: place.id, held, working: Cell::new(0) })
    }

    /// For one more question, which holds nothing yet. While only half of it is there it is no work in
    /// progress, or whoever sends one octet a minute would keep its place.
    pub(super) fn share(self: &Rc<Self>) -> Share<S> {
        Share { tab: Rc::clone(self), octets: 0, working: false }
    }
}

impl<S: Source> Share<S> {
    /// The question is whole: until its reply is taken the connection is not idle.
    pub(super) fn work(&mut self) {
        if !std::mem::replace(&mut self.working, true) {
            self.tab.working.set(self.tab.working.get() + 1);
            self.tab.thread.places.borrow_mut().busy(self.tab.id);
        }
    }

    /// The reply is on its way: what is left of the work is the transport's.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.working) {
            let left = self.tab.working.get() - 1;
            self.tab.working.set(left);
            if left == 0 {
                self.tab.thread.places.borrow_mut().idle(self.tab.id);
            }
        }
    }

    /// So many octets are held from now on; false if that is more than the connection may.
    pub(super) fn hold(&mut self, octets: usize) -> bool {
        let mut held = self.tab.held.borrow_mut();
        let all = held.octets - self.octets + octets;
        self.octets = octets;
        held.hold(all)
    }
}

impl<S: Source> Drop for Share<S> {
    fn drop(&mut self) {
        self.hold(0);
        self.rest();
    }
}
