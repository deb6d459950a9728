//! Memory hints: prefetching of what is read soon, and large pages for what is scanned.
//!
//! Invariant: a hint changes no value, only the time of access.

use super::dot::VectorLine;

/// Prefetches `lines` into the cache.
#[inline]
pub fn prefetch_lines<T>(lines: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let bytes = std::mem::size_of_val(lines);
        let start = lines.as_ptr().cast::<i8>();
        for at in (0..bytes).step_by(size_of::<VectorLine>()) {
            // SAFETY: the address lies within the slice; the instruction reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = lines;
}

/// Smallest allocation, in bytes, for which large pages pay.
const LARGE: usize = 4 << 20;

/// Asks for large pages for the capacity of an empty `values`: a scan then needs far fewer address translations.
pub fn advise_large_pages<T>(values: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4_096;
        let room = values.spare_capacity_mut();
        let bytes = std::mem::size_of_val(room);
        if bytes >= LARGE {
            let start = room.as_mut_ptr().cast::<u8>();
            let skipped = start.align_offset(PAGE);
            let whole = (bytes - skipped) / PAGE * PAGE;
            // SAFETY: whole pages of an allocation of our own; the advice changes none of their bytes. The system may
            // refuse it, which changes nothing.
            unsafe { libc::madvise(start.add(skipped).cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (values, LARGE);
}
