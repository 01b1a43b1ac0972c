//! The functions that the prelude calls: `__host`, `__asyncHost` and `__syncHost`.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int};

use concave_javascript::{ASYNC_MARK, HostError};
use rquickjs_sys as qjs;

use crate::host::{self, Host, Pending};
use crate::js;

/// Puts the functions on the global object.
///
/// # Safety
/// `ctx` belongs to a world. Exceptions (of memory) are left for the caller to find.
pub(crate) unsafe fn install(ctx: *mut qjs::JSContext) -> bool {
    let functions: [(&CStr, Native); 3] = [
        (c"__host", host_call),
        (c"__asyncHost", async_call),
        (c"__syncHost", sync_call),
    ];
    // SAFETY: plain C functions own nothing; names are static.
    unsafe {
        let global = qjs::JS_GetGlobalObject(ctx);
        let complete = functions.iter().all(|(name, function)| {
            let value = qjs::JS_NewCFunction2(
                ctx,
                Some(*function),
                name.as_ptr(),
                1,
                qjs::JSCFunctionEnum_JS_CFUNC_generic,
                0,
            );
            !qjs::JS_IsException(value)
                && qjs::JS_SetPropertyStr(ctx, global, name.as_ptr(), value) >= 0
        });
        qjs::JS_FreeValue(ctx, global);
        complete
    }
}

/// A function that JavaScript calls.
pub(crate) type Native = unsafe extern "C" fn(
    *mut qjs::JSContext,
    qjs::JSValue,
    c_int,
    *mut qjs::JSValue,
) -> qjs::JSValue;

/// Makes the function whose frame marks where a stack goes on with those who wait: see [`crate::callers`].
///
/// # Safety
/// `ctx` is a context with room.
pub(crate) unsafe fn async_mark(ctx: *mut qjs::JSContext) -> qjs::JSValue {
    unsafe extern "C" fn nothing(
        _ctx: *mut qjs::JSContext,
        _this: qjs::JSValue,
        _argc: c_int,
        _argv: *mut qjs::JSValue,
    ) -> qjs::JSValue {
        qjs::JS_UNDEFINED
    }
    let name = CString::new(ASYNC_MARK).expect("the name is plain");
    // SAFETY: plain C functions own nothing; the name is copied.
    unsafe {
        qjs::JS_NewCFunction2(
            ctx,
            Some(nothing),
            name.as_ptr(),
            0,
            qjs::JSCFunctionEnum_JS_CFUNC_generic,
            0,
        )
    }
}

/// What a native function throws.
enum Thrown {
    /// This error.
    Error(HostError),
    /// What is pending already.
    Pending,
}

impl From<HostError> for Thrown {
    fn from(error: HostError) -> Self {
        Thrown::Error(error)
    }
}

/// Runs the body of a native function: nothing jumps out of it, and a call that has to end does so afterwards.
///
/// # Safety
/// Called by JavaScript of a world.
unsafe fn native(
    ctx: *mut qjs::JSContext,
    body: impl FnOnce(&mut Host) -> Result<qjs::JSValue, Thrown>,
) -> qjs::JSValue {
    // SAFETY: the host outlives the world; `body` runs no JavaScript, so its reference is the only one. At the jump
    // the values of `body` are dropped, and this frame owns nothing.
    unsafe {
        let host = host::of(ctx);
        (*host).guard.enter_host(true);
        let value = match body(&mut *host) {
            Ok(value) => value,
            Err(Thrown::Pending) => qjs::JS_EXCEPTION,
            Err(Thrown::Error(error)) => js::throw(ctx, error.name, &error.message),
        };
        host::end(host, None);
        value
    }
}

/// # Safety
/// `argv` holds `argc` values.
unsafe fn arguments<'a>(argc: c_int, argv: *const qjs::JSValue) -> &'a [qjs::JSValue] {
    let count = usize::try_from(argc).unwrap_or(0);
    if count == 0 {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { std::slice::from_raw_parts(argv, count) }
}

/// The two texts that the functions for system calls take.
///
/// # Safety
/// `args` are values of `ctx`.
unsafe fn texts(
    ctx: *mut qjs::JSContext,
    args: &[qjs::JSValue],
) -> Result<(String, String), Thrown> {
    let text = |index: usize| {
        let value = args.get(index).copied().unwrap_or(qjs::JS_UNDEFINED);
        // SAFETY: by the contract.
        unsafe { js::to_text(ctx, value) }.ok_or_else(|| {
            Thrown::Error(HostError {
                name: "TypeError",
                message: "A system call takes two strings.".to_owned(),
                fatal: false,
            })
        })
    };
    Ok((text(0)?, text(1)?))
}

unsafe extern "C" fn host_call(
    ctx: *mut qjs::JSContext,
    _this: qjs::JSValue,
    argc: c_int,
    argv: *mut qjs::JSValue,
) -> qjs::JSValue {
    // SAFETY: QuickJS passes a context of ours and `argc` values.
    unsafe {
        native(ctx, |host| {
            let (op, args) = arguments(argc, argv).split_first().ok_or(Thrown::Pending)?;
            let op = js::to_text(ctx, *op).ok_or(Thrown::Pending)?;
            let mut values = Vec::with_capacity(args.len());
            for value in args {
                values.push(js::to_host(ctx, *value)?);
            }
            let result = host.call.host_call(&op, &values)?;
            Ok(js::from_host(ctx, result))
        })
    }
}

unsafe extern "C" fn sync_call(
    ctx: *mut qjs::JSContext,
    _this: qjs::JSValue,
    argc: c_int,
    argv: *mut qjs::JSValue,
) -> qjs::JSValue {
    // SAFETY: as above.
    unsafe {
        native(ctx, |host| {
            let (op, args) = texts(ctx, arguments(argc, argv))?;
            let answer = host.call.sync_call(&op, &args)?;
            Ok(js::from_text(ctx, &answer))
        })
    }
}

unsafe extern "C" fn async_call(
    ctx: *mut qjs::JSContext,
    _this: qjs::JSValue,
    argc: c_int,
    argv: *mut qjs::JSValue,
) -> qjs::JSValue {
    // SAFETY: as above; making a promise of the built-in class runs no user code.
    unsafe {
        native(ctx, |host| {
            let (op, args) = texts(ctx, arguments(argc, argv))?;
            let mut settle = [qjs::JS_UNDEFINED; 2];
            let promise = qjs::JS_NewPromiseCapability(ctx, settle.as_mut_ptr());
            if qjs::JS_IsException(promise) {
                return Err(Thrown::Pending);
            }
            let [resolve, reject] = settle;
            match host
                .call
                .async_call(op, args, Pending { resolve, reject })?
            {
                Some(()) => Ok(promise),
                None => Err(Thrown::Pending),
            }
        })
    }
}
