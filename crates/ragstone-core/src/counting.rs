//! Counts the heap allocations of a piece of work, for tests that assert them. A test binary that counts makes
//! [`CountingAllocator`] its global allocator.
//!
//! Invariant: each thread counts for itself, so concurrent tests do not change each other's counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator with counters for each thread.
pub struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Heap memory that a piece of work took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationCount {
    /// How often memory was allocated or reallocated.
    pub allocations: usize,
    /// Bytes that are held after the work and were not before; freed bytes count against them.
    pub bytes: isize,
}

/// Runs `work`, and counts what it allocates on this thread.
pub fn count_allocations<T>(work: impl FnOnce() -> T) -> (T, AllocationCount) {
    let (allocations, bytes) = (ALLOCATIONS.get(), BYTES.get());
    let done = work();
    let taken = AllocationCount {
        allocations: ALLOCATIONS.get() - allocations,
        bytes: BYTES.get() - bytes,
    };
    (done, taken)
}

fn record_allocation(allocations: usize, bytes: isize) {
    // A thread that ends may free memory after its counters were dropped.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    let _ = BYTES.try_with(|held| held.set(held.get() + bytes));
}

fn layout_size(layout: Layout) -> isize {
    layout.size().cast_signed()
}

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record_allocation(1, layout_size(layout));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record_allocation(1, layout_size(layout));
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        record_allocation(0, -layout_size(layout));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        record_allocation(1, new_size.cast_signed() - layout_size(layout));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_given_back_is_counted() {
        let (kept, taken) = count_allocations(|| {
            drop(vec![0_u8; 100]);
            let mut kept = Vec::<u8>::with_capacity(10);
            kept.reserve_exact(30);
            kept
        });
        assert_eq!(
            taken,
            AllocationCount {
                allocations: 3,
                bytes: 30
            }
        );
        drop(kept);
    }
}
