//! Asks the kernel which pages of a private file mapping have been written to: `ioctl(PAGEMAP_SCAN)`, Linux 6.7.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// Ranges that one scan can give.
const RANGES_MAX: usize = 64;

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_max: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = (3 << 30) | ((size_of::<ScanArgument>() as u64) << 16) | (0x66 << 8) | 16;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

/// What a scan has found.
pub(crate) struct Scan {
    regions: [Region; RANGES_MAX],
    count: usize,
    end: usize,
}

impl Scan {
    /// Addresses of private pages, ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.regions[..self.count]
            .iter()
            .map(|region| region.start as usize..region.end as usize)
    }

    /// Where the scan stopped: the end of the range, or earlier if there was no room for more.
    pub(crate) fn end(&self) -> usize {
        self.end
    }
}

/// Scans from `start` towards `end`, both multiples of the page size.
///
/// # Errors
/// If the kernel cannot tell.
pub(crate) fn private_ranges(start: usize, end: usize) -> io::Result<Scan> {
    static PAGEMAP: OnceLock<Option<File>> = OnceLock::new();
    let pagemap = PAGEMAP
        .get_or_init(|| File::open("/proc/self/pagemap").ok())
        .as_ref()
        .ok_or(io::ErrorKind::Unsupported)?;
    let mut regions = [Region::default(); RANGES_MAX];
    let mut argument = ScanArgument {
        size: size_of::<ScanArgument>() as u64,
        start: start as u64,
        end: end as u64,
        regions: regions.as_mut_ptr() as u64,
        regions_max: RANGES_MAX as u64,
        // Pages that are somewhere, but not the file's.
        category_inverted: PAGE_IS_FILE,
        category_mask: PAGE_IS_FILE,
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        return_mask: PAGE_IS_PRESENT,
        ..ScanArgument::default()
    };
    // SAFETY: the argument and the array that it points to are as the kernel wants them.
    let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
    let Ok(count) = usize::try_from(count) else {
        return Err(io::Error::last_os_error());
    };
    assert!(count <= RANGES_MAX && argument.walk_end as usize > start);
    Ok(Scan {
        regions,
        count,
        end: argument.walk_end as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_pages_are_found_where_the_kernel_tells() {
        const PAGE: usize = 4096;
        const PAGES: usize = 300;
        let file = tempfile_of(PAGES * PAGE);
        // SAFETY: a mapping of our own, unmapped at the end.
        unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                PAGES * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            let base = base.cast::<u8>();
            for page in 0..PAGES {
                std::hint::black_box(base.add(page * PAGE).read_volatile());
            }
            let written: Vec<usize> = (0..PAGES)
                .filter(|page| page % 3 == 1 && *page > 7)
                .collect();
            for page in &written {
                base.add(page * PAGE).write_volatile(1);
            }
            let (mut start, end) = (base as usize, base as usize + PAGES * PAGE);
            let mut found = Vec::new();
            while start < end {
                let Ok(scan) = private_ranges(start, end) else {
                    // An older kernel.
                    return;
                };
                for range in scan.ranges() {
                    found.extend(
                        range
                            .step_by(PAGE)
                            .map(|address| (address - base as usize) / PAGE),
                    );
                }
                start = scan.end();
            }
            assert_eq!(found, written);
            libc::munmap(base.cast(), PAGES * PAGE);
        }
    }

    fn tempfile_of(length: usize) -> File {
        use std::os::fd::FromRawFd;
        // SAFETY: the descriptor is the file's.
        let file =
            unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(length as u64).unwrap();
        file
    }
}
