//! A fixed range of addresses that holds one JavaScript heap, and images of it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;

use crate::heap::{Exhausted, Heap};

/// Pages above the restored image that stay resident, so that most calls need no fresh ones.
const RESIDENT_ABOVE_IMAGE: usize = 1 << 20;
const PAGE: usize = 4096;

/// The arena: reserved once, at an address that never changes, because the heap is full of pointers into itself.
pub(crate) struct Arena {
    heap: *mut Heap,
    length: usize,
}

// SAFETY: the arena owns its memory; nothing in it is tied to a thread.
unsafe impl Send for Arena {}

/// A heap as it was at some moment: the bytes below its top.
pub(crate) struct Image {
    bytes: Box<[u8]>,
}

impl Image {
    /// Its size, bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Arena {
    /// Reserves `length` bytes (a multiple of the page size) and makes them an empty heap. Memory is only used once
    /// it is touched.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn reserve(
        length: usize,
        exhausted: Exhausted,
        argument: *mut c_void,
    ) -> io::Result<Self> {
        // SAFETY: a fresh mapping, which `create` then owns.
        unsafe {
            let base = libc::mmap(
                null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(Self {
                heap: Heap::create(base.cast(), length, exhausted, argument),
                length,
            })
        }
    }

    /// The heap.
    pub(crate) fn heap(&self) -> *mut Heap {
        self.heap
    }

    /// Keeps the heap as it is now.
    pub(crate) fn image(&self) -> Image {
        // SAFETY: the bytes below the top are initialised as far as anyone reads them; no JavaScript runs meanwhile.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.heap.cast::<u8>(), (*self.heap).used()) };
        Image {
            bytes: bytes.into(),
        }
    }

    /// Makes the heap what it was when `image`, one of this arena, was taken.
    pub(crate) fn restore(&mut self, image: &Image) {
        // SAFETY: the image is one of this arena, hence shorter than it; pages above it hold nothing that the restored
        // heap knows of.
        unsafe {
            let touched = (*self.heap).touched();
            self.heap
                .cast::<u8>()
                .copy_from_nonoverlapping(image.bytes.as_ptr(), image.len());
            let keep = (image.len() + RESIDENT_ABOVE_IMAGE).next_multiple_of(PAGE);
            if touched > keep {
                libc::madvise(
                    self.heap.cast::<u8>().add(keep).cast(),
                    touched.next_multiple_of(PAGE) - keep,
                    libc::MADV_DONTNEED,
                );
            }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody holds a pointer into it any longer.
        unsafe { libc::munmap(self.heap.cast(), self.length) };
    }
}
