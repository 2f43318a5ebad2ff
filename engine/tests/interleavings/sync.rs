//! Locks, flags and counted pointers whose every use is a step that loom orders.

use std::ops::Deref;
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicUsize;

pub(crate) use loom::sync::atomic::AtomicBool;
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// The `Arc` of std, since loom's has no `Weak`. Each change of a count is a step for loom.
#[derive(Debug)]
pub(crate) struct Arc<T> {
    // Dropped after the step below, as the counts of std are changed.
    value: std::sync::Arc<T>,
    steps: Steps,
}

/// The `Weak` of std, in the same way.
#[derive(Debug)]
pub(crate) struct Weak<T> {
    value: std::sync::Weak<T>,
    steps: Steps,
}

/// What all pointers to one value change together.
#[derive(Clone, Debug)]
struct Steps(std::sync::Arc<AtomicUsize>);

impl Steps {
    fn step(&self) {
        // A panic has ended the exploration: no more steps.
        if !std::thread::panicking() {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: std::sync::Arc::new(value), steps: Steps(std::sync::Arc::new(AtomicUsize::new(0))) }
    }

    pub(crate) fn ptr_eq(one: &Self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&one.value, &other.value)
    }

    pub(crate) fn downgrade(this: &Self) -> Weak<T> {
        this.steps.step();
        Weak { value: std::sync::Arc::downgrade(&this.value), steps: this.steps.clone() }
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        self.steps.step();
        Self { value: std::sync::Arc::clone(&self.value), steps: self.steps.clone() }
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        self.steps.step();
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Weak<T> {
    pub(crate) fn upgrade(&self) -> Option<Arc<T>> {
        self.steps.step();
        self.value.upgrade().map(|value| Arc { value, steps: self.steps.clone() })
    }
}
