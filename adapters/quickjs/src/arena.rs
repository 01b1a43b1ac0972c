//! A fixed range of addresses that holds one JavaScript heap, and images of it.
//!
//! An image is an anonymous file, mapped privately over the beginning of the arena: pages are shared with the file until
//! they are written to. To restore the image that is mapped already, the kernel is asked (`PAGEMAP_SCAN`, Linux 6.7)
//! which pages are private, and only those are copied back. They stay private, so that the next call, which mostly
//! writes to the same ones, takes no page faults.
//!
//! Measured with `examples/measure.rs` on a 1.4 MB image (npm `convex` and the prelude, of which a small query writes
//! to 106 of 348 pages): this takes 21 µs. Copying the whole image takes 30 µs, and keeps twice the memory. Reading
//! `/proc/self/pagemap` instead of scanning takes 24 µs. Giving all pages back (`MADV_DONTNEED`) takes 39 µs, and the
//! page faults of the call that follows 260 µs more.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::heap::{Exhausted, Heap};
use crate::pagemap;

/// Bytes above the restored image that stay resident, so that most calls need no fresh pages.
const RESIDENT_ABOVE_IMAGE: usize = 1 << 20;
const PAGE: usize = 4096;

/// The arena: reserved once, at an address that never changes, because the heap is full of pointers into itself.
pub(crate) struct Arena {
    heap: *mut Heap,
    length: usize,
    /// The image that is mapped, by id and length.
    mapped: Option<(u64, usize)>,
}

// SAFETY: the arena owns its memory; nothing in it is tied to a thread.
unsafe impl Send for Arena {}

/// A heap as it was at some moment: the pages below its top.
pub(crate) struct Image {
    id: u64,
    file: File,
    /// The file's pages, read-only.
    pages: *const u8,
    /// Bytes, a multiple of the page size.
    length: usize,
}

// SAFETY: the mapping is the image's own and never changes.
unsafe impl Send for Image {}

/// Bytes of all images of the process.
static IMAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

impl Image {
    /// What the images of all worlds take, bytes.
    pub(crate) fn bytes_of_all() -> usize {
        IMAGE_BYTES.load(Ordering::Relaxed)
    }

    /// Its size, bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    fn create(bytes: &[u8]) -> io::Result<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        assert!(bytes.len().is_multiple_of(PAGE));
        // SAFETY: plain system calls; the descriptor is owned by the file from here on.
        unsafe {
            let descriptor = libc::memfd_create(c"javascript-heap".as_ptr(), libc::MFD_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut file = File::from_raw_fd(descriptor);
            file.write_all(bytes)?;
            let pages = libc::mmap(
                null_mut(),
                bytes.len(),
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                descriptor,
                0,
            );
            if pages == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            IMAGE_BYTES.fetch_add(bytes.len(), Ordering::Relaxed);
            Ok(Self {
                id: LAST.fetch_add(1, Ordering::Relaxed),
                file,
                pages: pages.cast(),
                length: bytes.len(),
            })
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        IMAGE_BYTES.fetch_sub(self.length, Ordering::Relaxed);
        // SAFETY: the mapping is ours. An arena that has mapped the file keeps it by itself.
        unsafe { libc::munmap(self.pages.cast_mut().cast(), self.length) };
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
            let base = map_anonymous(null_mut(), length, 0)?;
            Ok(Self {
                heap: Heap::create(base.cast(), length, exhausted, argument),
                length,
                mapped: None,
            })
        }
    }

    /// The heap.
    pub(crate) fn heap(&self) -> *mut Heap {
        self.heap
    }

    /// Keeps the heap as it is now.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(crate) fn image(&self) -> io::Result<Image> {
        // SAFETY: the arena is longer than what is used of it; no JavaScript runs meanwhile.
        let bytes = unsafe {
            let length = (*self.heap).used().next_multiple_of(PAGE);
            std::slice::from_raw_parts(self.heap.cast::<u8>(), length)
        };
        Image::create(bytes)
    }

    /// Makes the heap what it was when `image`, one of this arena, was taken.
    ///
    /// # Errors
    /// If the system has no memory for it. The heap is then in no state to be used.
    pub(crate) fn restore(&mut self, image: &Image) -> io::Result<()> {
        // SAFETY: the image is one of this arena, hence no longer than it; pages above it hold nothing that the restored
        // heap knows of.
        unsafe {
            let touched = (*self.heap).touched();
            match self.mapped {
                Some((id, _)) if id == image.id => self.copy_back(image),
                _ => self.map(image)?,
            }
            let keep = image.length + RESIDENT_ABOVE_IMAGE;
            if touched > keep {
                let length = touched.next_multiple_of(PAGE).min(self.length) - keep;
                self.release(keep, length)?;
            }
        }
        Ok(())
    }

    /// Gives back what was touched above the image that is mapped, or above `length` bytes if that is more: the heap is
    /// not used again before it is restored.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn trim(&mut self, length: usize) -> io::Result<()> {
        let mapped = self.mapped.map_or(0, |(_, length)| length);
        let keep = mapped.max(length) + RESIDENT_ABOVE_IMAGE;
        // SAFETY: the heap's header lies below.
        let touched = unsafe { (*self.heap).touched() };
        if touched > keep {
            let end = touched.next_multiple_of(PAGE).min(self.length);
            self.release(keep, end - keep)?;
        }
        Ok(())
    }

    /// # Safety
    /// The image is one of this arena.
    unsafe fn map(&mut self, image: &Image) -> io::Result<()> {
        let base = self.heap.cast::<c_void>();
        // Until it is known that all has gone well, nothing is known of the range.
        let before = self.mapped.take();
        // SAFETY: both ranges lie in the arena, which is ours to map.
        unsafe {
            let mapped = libc::mmap(
                base,
                image.length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                image.file.as_raw_fd(),
                0,
            );
            if mapped == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            if let Some((_, length)) = before
                && length > image.length
            {
                let above = base.byte_add(image.length);
                map_anonymous(above, length - image.length, libc::MAP_FIXED)?;
            }
        }
        self.mapped = Some((image.id, image.length));
        Ok(())
    }

    /// # Safety
    /// The image is the one that is mapped.
    unsafe fn copy_back(&mut self, image: &Image) {
        let base = self.heap.cast::<u8>();
        let copy = |offset: usize, length: usize| {
            // SAFETY: the range lies in the image and in the arena, which do not overlap.
            unsafe {
                base.add(offset)
                    .copy_from_nonoverlapping(image.pages.add(offset), length);
            }
        };
        let end = base as usize + image.length;
        let mut start = base as usize;
        while start < end {
            match pagemap::private_ranges(start, end) {
                Ok(scan) => {
                    for range in scan.ranges() {
                        copy(range.start - base as usize, range.len());
                    }
                    start = scan.end();
                }
                // Where the kernel does not tell, it is all of them.
                Err(_) => {
                    copy(start - base as usize, end - start);
                    start = end;
                }
            }
        }
    }

    /// Gives back pages: they read as the mapped image's, or as zero, from now on.
    fn release(&mut self, offset: usize, length: usize) -> io::Result<()> {
        // SAFETY: the range lies in the arena.
        let result = unsafe {
            let start = self.heap.cast::<c_void>().byte_add(offset);
            libc::madvise(start, length, libc::MADV_DONTNEED)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody holds a pointer into it any longer.
        unsafe { libc::munmap(self.heap.cast(), self.length) };
    }
}

/// # Safety
/// With `MAP_FIXED` the range is the caller's.
unsafe fn map_anonymous(
    address: *mut c_void,
    length: usize,
    flags: i32,
) -> io::Result<*mut c_void> {
    // SAFETY: by the contract.
    let mapped = unsafe {
        libc::mmap(
            address,
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap;

    unsafe fn exhausted(_: *mut c_void) {}

    /// Bytes of an arena that are in memory.
    fn resident(arena: &Arena) -> usize {
        let mut pages = vec![0u8; arena.length / PAGE];
        // SAFETY: the vector has a byte for each page of the mapping.
        let result =
            unsafe { libc::mincore(arena.heap.cast(), arena.length, pages.as_mut_ptr().cast()) };
        assert_eq!(result, 0);
        pages.iter().filter(|page| **page & 1 == 1).count() * PAGE
    }

    #[test]
    fn what_a_call_has_touched_goes_back_when_it_is_over() {
        const MUCH: usize = 40 << 20;
        let mut arena = Arena::reserve(64 << 20, exhausted, null_mut()).unwrap();
        let image = arena.image().unwrap();
        for _ in 0..3 {
            arena.restore(&image).unwrap();
            // SAFETY: the heap is consistent, and the blocks are as long as was asked for.
            unsafe {
                (*arena.heap()).set_limit(MUCH * 5 / 4);
                for _ in 0..MUCH >> 20 {
                    let block = heap::malloc(arena.heap().cast(), 1 << 20).cast::<u8>();
                    assert!(!block.is_null());
                    block.write_bytes(0xab, 1 << 20);
                }
            }
            assert!(resident(&arena) > MUCH);
            arena.trim(image.len()).unwrap();
            let left = resident(&arena);
            assert!(left <= image.len() + RESIDENT_ABOVE_IMAGE + PAGE, "{left}");
        }
    }
}
