//! Bounds of an isolate's memory: V8's heap, and what is beside it. The former V8 itself bounds; array buffers are
//! counted as they are allocated. WebAssembly's memories and buffers that can be resized are mapped by V8, which knows how
//! much they are: that is looked at every few milliseconds, as long as JavaScript runs.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// What V8 may use beyond the limit once that is reached, to come to where it can be ended: one allocation of the
/// largest kind, an array of 2^27 elements, and its copy. It is address space; what is not touched costs nothing.
const HEAP_RESERVE: usize = 2 << 30;
/// Alignment of array buffers, as their views and WebAssembly want it.
const ALIGNMENT: usize = 16;

/// How often V8 asks for the memory of an array buffer: it collects garbage in between. After that code would get an
/// error that it can catch.
const ATTEMPTS: usize = 4;

/// The memory of one isolate.
pub(crate) struct Memory {
    /// Ended when the memory is used up. Set once the isolate exists.
    handle: OnceLock<v8::IsolateHandle>,
    /// Whether the memory was used up.
    is_exhausted: AtomicBool,
    buffers: AtomicUsize,
    buffers_peak: AtomicUsize,
    /// Bytes that there may be beside the heap.
    beside_max: usize,
    /// Array buffers refused since the last that was not.
    refused: AtomicUsize,
    /// Whether V8 was asked to call [`look`].
    is_looked_at: AtomicBool,
}

impl Memory {
    /// For an isolate with so many bytes of heap and as many of array buffers.
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            handle: OnceLock::new(),
            is_exhausted: AtomicBool::new(false),
            buffers: AtomicUsize::new(0),
            buffers_peak: AtomicUsize::new(0),
            beside_max: bytes,
            refused: AtomicUsize::new(0),
            is_looked_at: AtomicBool::new(false),
        })
    }

    /// The allocator of array buffers, for the isolate's parameters.
    pub(crate) fn allocator(self: &Arc<Self>) -> v8::UniqueRef<v8::Allocator> {
        static TABLE: v8::RustAllocatorVtable<Memory> = v8::RustAllocatorVtable {
            allocate,
            allocate_uninitialized,
            free,
            drop: drop_memory,
        };
        // SAFETY: the functions treat the handle as the counted reference that it is.
        unsafe { v8::new_rust_allocator(Arc::into_raw(self.clone()), &TABLE) }
    }

    /// Watches over an isolate. The memory must live as long as it.
    pub(crate) fn watch(self: &Arc<Self>, isolate: &mut v8::Isolate) {
        let is_first = self.handle.set(isolate.thread_safe_handle()).is_ok();
        assert!(is_first, "a memory belongs to one isolate");
        isolate.add_near_heap_limit_callback(near_limit, Arc::as_ptr(self) as *mut c_void);
    }

    /// Has V8 look at all memory beside the heap, as soon as JavaScript lets it. To be called on any thread.
    pub(crate) fn look(self: &Arc<Self>, isolate: &v8::IsolateHandle) {
        if !self.is_looked_at.swap(true, Ordering::Relaxed) {
            // It is told nothing if the isolate has gone.
            isolate.request_interrupt(look, Arc::as_ptr(self) as *mut c_void);
        }
    }

    /// Whether the isolate has used up its memory. It is good for nothing then.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_exhausted.load(Ordering::Relaxed)
    }

    /// Begins to look for the most that array buffers take.
    pub(crate) fn reset_peak(&self) {
        let now = self.buffers.load(Ordering::Relaxed);
        self.buffers_peak.store(now, Ordering::Relaxed);
    }

    /// The most bytes that array buffers took since.
    pub(crate) fn buffers_peak(&self) -> usize {
        self.buffers_peak.load(Ordering::Relaxed)
    }

    fn exhaust(&self) {
        self.is_exhausted.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.get() {
            handle.terminate_execution();
        }
    }

    fn take(&self, bytes: usize, make: unsafe fn(Layout) -> *mut u8) -> *mut c_void {
        let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT) else {
            return null_mut();
        };
        let taken = self.buffers.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let pointer = if taken > self.beside_max {
            null_mut()
        } else {
            // SAFETY: the layout has a size.
            unsafe { make(layout) }
        };
        if pointer.is_null() {
            self.buffers.fetch_sub(bytes, Ordering::Relaxed);
            if self.refused.fetch_add(1, Ordering::Relaxed) + 1 == ATTEMPTS {
                self.exhaust();
            }
        } else {
            self.refused.store(0, Ordering::Relaxed);
            self.buffers_peak.fetch_max(taken, Ordering::Relaxed);
        }
        pointer.cast()
    }
}

/// Called by V8 when the heap is nearly full and collecting garbage did not help.
unsafe extern "C" fn near_limit(data: *mut c_void, current: usize, _initial: usize) -> usize {
    // SAFETY: the memory outlives the isolate that it was given to.
    unsafe { (*data.cast::<Memory>()).exhaust() };
    current + HEAP_RESERVE
}

/// Called by V8 in the middle of JavaScript.
unsafe extern "C" fn look(mut isolate: v8::UnsafeRawIsolatePtr, data: *mut c_void) {
    // SAFETY: the memory outlives the isolate that it was given to, and the isolate runs.
    let (memory, isolate) = unsafe {
        let isolate = v8::Isolate::ref_from_raw_isolate_ptr_mut(&mut isolate);
        (&*data.cast::<Memory>(), isolate)
    };
    memory.is_looked_at.store(false, Ordering::Relaxed);
    let is_too_much = |isolate: &mut v8::Isolate| {
        // Changes nothing; gives what there is.
        let bytes = isolate.adjust_amount_of_external_allocated_memory(0);
        usize::try_from(bytes).is_ok_and(|bytes| bytes > memory.beside_max)
    };
    if is_too_much(isolate) {
        isolate.low_memory_notification();
        if is_too_much(isolate) {
            memory.exhaust();
        }
    }
}

unsafe extern "C" fn allocate(memory: &Memory, bytes: usize) -> *mut c_void {
    memory.take(bytes, alloc_zeroed)
}

unsafe extern "C" fn allocate_uninitialized(memory: &Memory, bytes: usize) -> *mut c_void {
    memory.take(bytes, alloc)
}

unsafe extern "C" fn free(memory: &Memory, data: *mut c_void, bytes: usize) {
    memory.buffers.fetch_sub(bytes, Ordering::Relaxed);
    if let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGNMENT) {
        // SAFETY: V8 gives back what it was given, with the size that it asked for.
        unsafe { dealloc(data.cast(), layout) };
    }
}

unsafe extern "C" fn drop_memory(memory: *const Memory) {
    // SAFETY: made by `allocator` from a counted reference, which is given back here.
    drop(unsafe { Arc::from_raw(memory) });
}
