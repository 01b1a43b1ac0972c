// The internal namespace `web` that all parts of the prelude share, and how parts are defined and found.
//
// A part is a function expression that takes `web` and returns an object of what it exports. `web` is reachable as
// the global `__web` until the last script of the prelude deletes it.
globalThis.__web = (function () {
  "use strict";

  const global = globalThis;
  const { __host: native, __asyncHost: asyncHost, __syncHost: syncHost, __position: position } = global;
  const evaluate = global.eval;
  const nativeErrors = [
    "Error", "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError", "InternalError",
  ];

  // The error class of the web platform.
  const codes = {
    IndexSizeError: 1, HierarchyRequestError: 3, WrongDocumentError: 4, InvalidCharacterError: 5,
    NoModificationAllowedError: 7, NotFoundError: 8, NotSupportedError: 9, InUseAttributeError: 10,
    InvalidStateError: 11, SyntaxError: 12, InvalidModificationError: 13, NamespaceError: 14, InvalidAccessError: 15,
    TypeMismatchError: 17, SecurityError: 18, NetworkError: 19, AbortError: 20, URLMismatchError: 21,
    QuotaExceededError: 22, TimeoutError: 23, InvalidNodeTypeError: 24, DataCloneError: 25,
  };
  class DOMException extends Error {
    #name;
    constructor(message = "", options = "Error") {
      const named = typeof options === "object" && options !== null;
      super(`${message}`, named && "cause" in options ? { cause: options.cause } : undefined);
      this.#name = `${named ? (options.name ?? "Error") : options}`;
    }
    get name() {
      return this.#name;
    }
    get code() {
      return codes[this.#name] ?? 0;
    }
  }
  tag(DOMException);

  /** Calls a host function. Strings are made well-formed on the way. */
  function host(op, ...args) {
    for (let i = 0; i < args.length; i++) {
      if (typeof args[i] === "string") args[i] = args[i].toWellFormed();
    }
    try {
      return native(op, ...args);
    } catch (error) {
      if (error instanceof Error && !nativeErrors.includes(error.name)) {
        throw new DOMException(error.message, error.name);
      }
      throw error;
    }
  }

  /** Names a class for `Object.prototype.toString`. */
  function tag(constructor, name = constructor.name) {
    Object.defineProperty(constructor.prototype, Symbol.toStringTag, { value: name, configurable: true });
  }

  /** Defines a global as an ordinary data property; functions and objects are enumerable, classes are not. */
  function expose(name, value) {
    const enumerable = name[0] === name[0].toLowerCase();
    Object.defineProperty(global, name, { value, writable: true, configurable: true, enumerable });
  }

  /** Defines a global that exists from its first use on, as if `expose` had been called. */
  function exposeLazily(name, part) {
    Object.defineProperty(global, name, {
      get() {
        expose(name, web.part(part)[name]);
        return global[name];
      },
      set(value) {
        expose(name, value);
      },
      configurable: true,
      enumerable: name[0] === name[0].toLowerCase(),
    });
  }

  /** Makes members of a class's prototype enumerable, as Web IDL has it. */
  function enumerable(constructor) {
    const { prototype } = constructor;
    for (const name of Object.getOwnPropertyNames(prototype)) {
      if (name !== "constructor") Object.defineProperty(prototype, name, { enumerable: true });
    }
  }

  const parts = Object.create(null);
  const web = {
    global, host, asyncHost, syncHost, position, DOMException, tag, enumerable, expose, exposeLazily,

    /** Defines a part now. */
    define(name, factory) {
      parts[name] = factory(web);
    },

    /** The exports of a part, compiled at the first call if it is a lazy one. */
    part(name) {
      if (!(name in parts)) web.define(name, evaluate(native("prelude/source", name)));
      return parts[name];
    },

    /** Throws unless the code may do what only actions may. */
    permit(what) {
      host("phase/permit", what);
    },

    /** Ends the call: this part of the platform is missing on purpose. */
    unsupported(op, className) {
      host("phase/unsupported", op, className);
    },

    /** The bytes of a buffer or of a view on one, as an ArrayBuffer of their own. Shared memory is copied too. */
    bytes(source) {
      if (ArrayBuffer.isView(source)) {
        const { buffer, byteOffset, byteLength } = source;
        const copy = new Uint8Array(byteLength);
        copy.set(new Uint8Array(buffer, byteOffset, byteLength));
        return copy.buffer;
      }
      return new Uint8Array(new Uint8Array(source)).buffer;
    },

    isBufferSource(value) {
      return ArrayBuffer.isView(value) || value instanceof ArrayBuffer ||
        (typeof SharedArrayBuffer === "function" && value instanceof SharedArrayBuffer);
    },
  };
  return web;
})();
