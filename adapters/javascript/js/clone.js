// `structuredClone`.
(function (web) {
  "use strict";

  const errors = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
  const uncloneable = ["Promise", "WeakMap", "WeakSet", "WeakRef", "FinalizationRegistry", "Generator", "AsyncGenerator"];

  function refuse(what) {
    throw new web.DOMException(`${what} could not be cloned.`, "DataCloneError");
  }

  /** @param memory what has been cloned already */
  function clone(value, memory) {
    if (typeof value === "symbol") refuse(value.toString());
    if (typeof value === "function") refuse(`${value}`);
    if (typeof value !== "object" || value === null) return value;
    if (memory.has(value)) return memory.get(value);
    const remember = (copy) => {
      memory.set(value, copy);
      return copy;
    };

    if (Array.isArray(value)) {
      const copy = remember(new Array(value.length));
      return fields(value, copy, memory);
    }
    if (ArrayBuffer.isView(value)) {
      const buffer = clone(value.buffer, memory);
      const { byteOffset } = value;
      return remember(
        value instanceof DataView
          ? new DataView(buffer, byteOffset, value.byteLength)
          : new value.constructor(buffer, byteOffset, value.length),
      );
    }
    switch (Object.prototype.toString.call(value)) {
      case "[object ArrayBuffer]":
        return remember(value.slice(0));
      case "[object SharedArrayBuffer]":
        return remember(value);
      case "[object Boolean]":
      case "[object Number]":
      case "[object String]":
        return remember(Object(value.valueOf()));
      case "[object BigInt]":
        return remember(Object(BigInt.prototype.valueOf.call(value)));
      case "[object Symbol]":
        return refuse("A symbol");
      case "[object Date]":
        return remember(new Date(value.getTime()));
      case "[object RegExp]":
        return remember(new RegExp(value.source, value.flags));
      case "[object Map]": {
        const copy = remember(new Map());
        for (const [key, item] of [...value]) copy.set(clone(key, memory), clone(item, memory));
        return copy;
      }
      case "[object Set]": {
        const copy = remember(new Set());
        for (const item of [...value]) copy.add(clone(item, memory));
        return copy;
      }
      case "[object Error]":
        return error(value, remember, memory);
      case "[object DOMException]":
        return remember(new web.DOMException(value.message, value.name));
      case "[object Blob]":
        return remember(value.slice(0, value.size, value.type));
      case "[object File]": {
        const { name, type, lastModified } = value;
        return remember(new (web.part("blob").File)([value], name, { type, lastModified }));
      }
    }
    const tag = Object.prototype.toString.call(value).slice(8, -1);
    if (uncloneable.includes(tag)) refuse(`#<${tag}>`);
    return fields(value, remember({}), memory);
  }

  function fields(source, copy, memory) {
    for (const key of Object.keys(source)) {
      Object.defineProperty(copy, key, {
        value: clone(source[key], memory), writable: true, enumerable: true, configurable: true,
      });
    }
    return copy;
  }

  function error(value, remember, memory) {
    const constructor = Object.hasOwn(errors, value.name) ? errors[value.name] : Error;
    const copy = remember(new constructor());
    const define = (name, field) =>
      Object.defineProperty(copy, name, { value: field, writable: true, enumerable: false, configurable: true });
    const message = Object.getOwnPropertyDescriptor(value, "message");
    if (message && "value" in message) define("message", `${message.value}`);
    if (typeof value.stack === "string") define("stack", value.stack);
    if (Object.hasOwn(value, "cause")) define("cause", clone(value.cause, memory));
    return copy;
  }

  function structuredClone(value, options = undefined) {
    if (arguments.length === 0) throw new TypeError("structuredClone: the value is missing");
    if (options?.transfer !== undefined && [...options.transfer].length > 0) {
      web.unsupported("structuredClone with transfer", "globalThis");
    }
    return clone(value, new Map());
  }

  return { structuredClone };
})
