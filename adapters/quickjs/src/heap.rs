//! The allocator behind a JavaScript runtime: everything it knows lies in the memory that it manages.
//!
//! A [`Heap`] header starts an arena; blocks follow, from low to high addresses, up to a *top*. Because no state lies
//! outside, copying the bytes below the top back brings the whole heap back as it was.
//!
//! QuickJS carves objects of up to 512 bytes out of 4 KiB blocks by itself, so what arrives here are those blocks and
//! large buffers. Blocks of up to 32 KiB come in size classes, eight per doubling, each with a free list; larger ones
//! are whole pages, kept in one free list in address order, where neighbours are merged and the first fit is split.
//!
//! A limit on live bytes bounds what user code can hold; the arena's size bounds what fragmentation can add to it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::null_mut;

/// Of every payload, as C asks of `malloc`.
const ALIGNMENT: usize = 16;
const HEADER: usize = size_of::<Block>();
const PAGE: usize = 4096;
/// Largest payload that a size class serves.
const SMALL_MAX: usize = 32 * 1024;
/// Payloads of 16, 32, … 128 bytes, then eight classes for each of the eight doublings up to [`SMALL_MAX`].
const CLASSES: usize = 8 + 8 * 8;

/// What precedes a payload.
#[repr(C, align(16))]
struct Block {
    /// Bytes of payload.
    capacity: usize,
    /// The next one in the free list; meaningless while the block is in use.
    next: *mut Block,
}

impl Block {
    /// Address just past the payload.
    ///
    /// # Safety
    /// `block` is a block of a heap.
    unsafe fn end(block: *mut Block) -> usize {
        // SAFETY: by the contract.
        block as usize + HEADER + unsafe { (*block).capacity }
    }
}

/// Told that no memory is left, before null is returned. It may leave by a jump: the heap is consistent then.
pub(crate) type Exhausted = unsafe fn(argument: *mut c_void);

/// The header of an arena.
#[repr(C, align(16))]
pub(crate) struct Heap {
    /// Where the next block goes if no free one fits.
    top: usize,
    /// End of the arena.
    end: usize,
    /// Highest top so far.
    high: usize,
    live: usize,
    live_max: usize,
    limit: usize,
    small: [*mut Block; CLASSES],
    large: *mut Block,
    exhausted: Exhausted,
    exhausted_argument: *mut c_void,
}

impl Heap {
    /// Makes `length` bytes at `base` an empty heap without a limit.
    ///
    /// # Safety
    /// The memory is readable, writable, page-aligned and longer than a header; nobody else uses it.
    pub(crate) unsafe fn create(
        base: *mut u8,
        length: usize,
        exhausted: Exhausted,
        exhausted_argument: *mut c_void,
    ) -> *mut Heap {
        assert!((base as usize).is_multiple_of(PAGE) && length > size_of::<Heap>());
        let heap = base.cast::<Heap>();
        let start = base as usize + size_of::<Heap>();
        // SAFETY: the memory is ours and large enough.
        unsafe {
            heap.write(Heap {
                top: start,
                end: base as usize + length,
                high: start,
                live: 0,
                live_max: 0,
                limit: usize::MAX,
                small: [null_mut(); CLASSES],
                large: null_mut(),
                exhausted,
                exhausted_argument,
            });
        }
        heap
    }

    /// Bytes in use, from the arena's start.
    pub(crate) fn used(&self) -> usize {
        self.top - self.start()
    }

    /// Bytes that have been in use at some time, from the arena's start.
    pub(crate) fn touched(&self) -> usize {
        self.high - self.start()
    }

    /// Live bytes at their highest, block headers included.
    pub(crate) fn live_max(&self) -> usize {
        self.live_max
    }

    /// Live bytes, block headers included.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Bounds live bytes from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    fn start(&self) -> usize {
        self as *const Heap as usize
    }

    /// A block with at least `size` bytes of payload, or null.
    ///
    /// # Safety
    /// `heap` is a heap.
    unsafe fn allocate(heap: *mut Heap, size: usize) -> *mut Block {
        // SAFETY: `heap` is valid and used by one thread at a time; list entries are blocks of this heap.
        unsafe {
            let (class, capacity) = size_class(size);
            let wanted = capacity.saturating_add(HEADER);
            if (*heap).live.saturating_add(wanted) > (*heap).limit {
                return Heap::exhaust(heap);
            }
            let mut block = match class {
                Some(class) => {
                    let first = (*heap).small[class];
                    if !first.is_null() {
                        (*heap).small[class] = (*first).next;
                    }
                    first
                }
                None => Heap::first_fit(heap, capacity),
            };
            if block.is_null() {
                block = (*heap).top as *mut Block;
                let top = (*heap).top.saturating_add(wanted);
                if top > (*heap).end {
                    return Heap::exhaust(heap);
                }
                Heap::set_top(heap, top);
                (*block).capacity = capacity;
            }
            Heap::count(heap, (*block).capacity);
            block
        }
    }

    /// # Safety
    /// `heap` is a heap and `block` a block in use of it.
    unsafe fn release(heap: *mut Heap, block: *mut Block) {
        // SAFETY: as above.
        unsafe {
            (*heap).live -= (*block).capacity + HEADER;
            match size_class((*block).capacity).0 {
                Some(class) => {
                    (*block).next = (*heap).small[class];
                    (*heap).small[class] = block;
                }
                None => Heap::insert_large(heap, block),
            }
        }
    }

    /// # Safety
    /// `heap` is a heap.
    unsafe fn exhaust(heap: *mut Heap) -> *mut Block {
        // SAFETY: `create` was given a function and its argument.
        unsafe { ((*heap).exhausted)((*heap).exhausted_argument) };
        null_mut()
    }

    unsafe fn set_top(heap: *mut Heap, top: usize) {
        // SAFETY: callers hold a valid heap.
        unsafe {
            (*heap).top = top;
            (*heap).high = (*heap).high.max(top);
        }
    }

    unsafe fn count(heap: *mut Heap, capacity: usize) {
        // SAFETY: callers hold a valid heap.
        unsafe {
            (*heap).live += capacity + HEADER;
            (*heap).live_max = (*heap).live_max.max((*heap).live);
        }
    }

    /// Takes the first free large block of at least `capacity` bytes, giving back what it has beyond that.
    unsafe fn first_fit(heap: *mut Heap, capacity: usize) -> *mut Block {
        // SAFETY: the list holds free blocks of this heap; a rest of one or more pages holds a block header.
        unsafe {
            let mut link = &raw mut (*heap).large;
            while !(*link).is_null() {
                let block = *link;
                if (*block).capacity >= capacity {
                    let spare = (*block).capacity - capacity;
                    if spare > SMALL_MAX + HEADER {
                        (*block).capacity = capacity;
                        let rest = Block::end(block) as *mut Block;
                        (*rest).capacity = spare - HEADER;
                        (*rest).next = (*block).next;
                        *link = rest;
                    } else {
                        *link = (*block).next;
                    }
                    return block;
                }
                link = &raw mut (*block).next;
            }
            null_mut()
        }
    }

    /// Puts a large block into the free list, merging it with its neighbours and with the space above the top.
    unsafe fn insert_large(heap: *mut Heap, block: *mut Block) {
        // SAFETY: as above.
        unsafe {
            let mut previous: *mut Block = null_mut();
            let mut before: *mut *mut Block = null_mut();
            let mut link = &raw mut (*heap).large;
            while !(*link).is_null() && (*link as usize) < block as usize {
                before = link;
                previous = *link;
                link = &raw mut (*previous).next;
            }
            (*block).next = *link;
            *link = block;
            if !(*block).next.is_null() && Block::end(block) == (*block).next as usize {
                let next = (*block).next;
                (*block).capacity += HEADER + (*next).capacity;
                (*block).next = (*next).next;
            }
            let (block, link) = if !previous.is_null() && Block::end(previous) == block as usize {
                (*previous).capacity += HEADER + (*block).capacity;
                (*previous).next = (*block).next;
                (previous, before)
            } else {
                (block, link)
            };
            if Block::end(block) == (*heap).top {
                *link = (*block).next;
                (*heap).top = block as usize;
            }
        }
    }

    /// Changes the size of a block, in place if it can.
    ///
    /// # Safety
    /// `heap` is a heap and `block` a block in use of it.
    unsafe fn resize(heap: *mut Heap, block: *mut Block, size: usize) -> *mut Block {
        // SAFETY: as above; the payloads of the two blocks do not overlap.
        unsafe {
            let capacity = (*block).capacity;
            let (class, wanted) = size_class(size);
            if size <= capacity && (size > capacity / 2 || capacity <= 128) {
                return block;
            }
            let at_top = Block::end(block) == (*heap).top;
            if at_top && class.is_none() && capacity > SMALL_MAX && wanted > capacity {
                let growth = wanted - capacity;
                if growth <= (*heap).limit.saturating_sub((*heap).live)
                    && (*heap).top + growth <= (*heap).end
                {
                    Heap::set_top(heap, (*heap).top + growth);
                    (*heap).live += growth;
                    (*heap).live_max = (*heap).live_max.max((*heap).live);
                    (*block).capacity = wanted;
                    return block;
                }
            }
            let moved = Heap::allocate(heap, size);
            if moved.is_null() {
                return null_mut();
            }
            let length = capacity.min(size);
            payload(moved).copy_from_nonoverlapping(payload(block), length);
            Heap::release(heap, block);
            moved
        }
    }
}

/// The free list that serves `size`, unless it is a large one, and the capacity that a new block gets.
fn size_class(size: usize) -> (Option<usize>, usize) {
    if size > SMALL_MAX {
        let pages = size.saturating_add(HEADER).div_ceil(PAGE);
        return (None, pages.saturating_mul(PAGE) - HEADER);
    }
    let units = size.div_ceil(ALIGNMENT).max(1);
    if units <= 8 {
        return (Some(units - 1), units * ALIGNMENT);
    }
    // units - 1 lies in 2^doubling .. 2^(doubling + 1), which eight steps divide.
    let doubling = (units - 1).ilog2() as usize;
    let step = 1 << (doubling - 3);
    let steps = units.div_ceil(step);
    (
        Some(8 + (doubling - 3) * 8 + (steps - 9)),
        steps * step * ALIGNMENT,
    )
}

unsafe fn payload(block: *mut Block) -> *mut u8 {
    // SAFETY: callers hold a block, which is followed by its payload.
    unsafe { block.cast::<u8>().add(HEADER) }
}

fn block_of(pointer: *mut c_void) -> *mut Block {
    pointer.cast::<u8>().wrapping_sub(HEADER).cast()
}

/// `malloc` over the [`Heap`] that `opaque` is.
pub(crate) unsafe extern "C" fn malloc(opaque: *mut c_void, size: u64) -> *mut c_void {
    // SAFETY: the runtime was created with a heap as its opaque pointer.
    unsafe {
        let block = Heap::allocate(opaque.cast(), size as usize);
        if block.is_null() {
            return null_mut();
        }
        payload(block).cast()
    }
}

/// `calloc`; blocks are used again, so they are cleared.
pub(crate) unsafe extern "C" fn calloc(opaque: *mut c_void, count: u64, size: u64) -> *mut c_void {
    let size = (count as usize).saturating_mul(size as usize);
    // SAFETY: as for `malloc`; the payload has at least `size` bytes.
    unsafe {
        let pointer = malloc(opaque, size as u64);
        if !pointer.is_null() {
            pointer.cast::<u8>().write_bytes(0, size);
        }
        pointer
    }
}

/// `free`.
pub(crate) unsafe extern "C" fn free(opaque: *mut c_void, pointer: *mut c_void) {
    if !pointer.is_null() {
        // SAFETY: as for `malloc`; the runtime frees what it got from here, once.
        unsafe { Heap::release(opaque.cast(), block_of(pointer)) };
    }
}

/// `realloc`.
pub(crate) unsafe extern "C" fn realloc(
    opaque: *mut c_void,
    pointer: *mut c_void,
    size: u64,
) -> *mut c_void {
    if pointer.is_null() {
        // SAFETY: as for `malloc`.
        return unsafe { malloc(opaque, size) };
    }
    // SAFETY: as for `free`.
    unsafe {
        let block = Heap::resize(opaque.cast(), block_of(pointer), size as usize);
        if block.is_null() {
            return null_mut();
        }
        payload(block).cast()
    }
}

/// `malloc_usable_size`.
pub(crate) unsafe extern "C" fn usable_size(pointer: *const c_void) -> u64 {
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: the runtime asks for pointers that it got from here.
    unsafe { (*block_of(pointer.cast_mut())).capacity as u64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARENA: usize = 8 << 20;

    unsafe fn count(argument: *mut c_void) {
        // SAFETY: the tests pass a counter.
        unsafe { *argument.cast::<u32>() += 1 };
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(usize),
        Resize(usize, usize),
        Free(usize),
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![1..600usize, 500..40_000usize, 30_000..400_000usize]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            size().prop_map(Step::Allocate),
            (any::<usize>(), size()).prop_map(|(which, size)| Step::Resize(which, size)),
            any::<usize>().prop_map(Step::Free),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Blocks are aligned, do not overlap, keep their bytes, and all memory comes back.
        #[test]
        fn blocks_keep_their_bytes(steps in prop::collection::vec(step(), 1..120)) {
            let mut failures = 0u32;
            let mut memory = vec![0u8; ARENA + PAGE];
            let base = memory.as_mut_ptr();
            let base = base.wrapping_add(base.align_offset(PAGE));
            // SAFETY: the memory lives until the end of the test; pointers are used as C would.
            unsafe {
                let heap = Heap::create(base, ARENA, count, (&raw mut failures).cast());
                let opaque = heap.cast::<c_void>();
                let mut blocks: Vec<(*mut u8, usize, u8)> = Vec::new();
                let mut mark = 0u8;
                for step in steps {
                    mark = mark.wrapping_add(1);
                    match step {
                        Step::Allocate(size) => {
                            let pointer = malloc(opaque, size as u64).cast::<u8>();
                            if !pointer.is_null() {
                                prop_assert!((pointer as usize).is_multiple_of(ALIGNMENT));
                                prop_assert!(usable_size(pointer.cast()) >= size as u64);
                                pointer.write_bytes(mark, size);
                                blocks.push((pointer, size, mark));
                            }
                        }
                        Step::Resize(which, size) if !blocks.is_empty() => {
                            let which = which % blocks.len();
                            let (pointer, old, mark) = blocks[which];
                            let moved = realloc(opaque, pointer.cast(), size as u64).cast::<u8>();
                            if !moved.is_null() {
                                for i in 0..old.min(size) {
                                    prop_assert_eq!(*moved.add(i), mark);
                                }
                                moved.write_bytes(mark, size);
                                blocks[which] = (moved, size, mark);
                            }
                        }
                        Step::Free(which) if !blocks.is_empty() => {
                            let (pointer, size, mark) = blocks.swap_remove(which % blocks.len());
                            for i in 0..size {
                                prop_assert_eq!(*pointer.add(i), mark);
                            }
                            free(opaque, pointer.cast());
                        }
                        _ => {}
                    }
                }
                for (pointer, size, mark) in blocks {
                    for i in 0..size {
                        prop_assert_eq!(*pointer.add(i), mark);
                    }
                    free(opaque, pointer.cast());
                }
                prop_assert_eq!((*heap).live(), 0);
                prop_assert!((*heap).used() <= (*heap).touched() && (*heap).touched() <= ARENA);
            }
        }
    }

    #[test]
    fn classes_fit_and_waste_little() {
        for size in 1..=SMALL_MAX {
            let (class, capacity) = size_class(size);
            let class = class.unwrap();
            assert!(class < CLASSES);
            assert!(capacity >= size && capacity.is_multiple_of(ALIGNMENT));
            assert!(
                capacity - size <= ALIGNMENT.max(size / 8 + ALIGNMENT),
                "{size}"
            );
            assert_eq!(size_class(capacity), (Some(class), capacity));
        }
        assert_eq!(size_class(SMALL_MAX + 1), (None, 9 * PAGE - HEADER));
    }

    #[test]
    fn the_limit_holds_and_is_told() {
        let mut failures = 0u32;
        let mut memory = vec![0u8; ARENA + PAGE];
        let base = memory.as_mut_ptr();
        let base = base.wrapping_add(base.align_offset(PAGE));
        // SAFETY: as above.
        unsafe {
            let heap = Heap::create(base, ARENA, count, (&raw mut failures).cast());
            (*heap).set_limit(1 << 20);
            assert!(malloc(heap.cast(), 2 << 20).is_null());
            assert_eq!(failures, 1);
            let block = malloc(heap.cast(), 900 << 10);
            assert!(!block.is_null());
            assert!(realloc(heap.cast(), block, 1 << 20).is_null());
            assert_eq!(failures, 2);
            free(heap.cast(), block);
            assert!(!malloc(heap.cast(), 900 << 10).is_null());
            assert!(malloc(heap.cast(), u64::MAX).is_null());
        }
    }
}
