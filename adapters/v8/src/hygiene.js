// What V8 has and functions must not see, or not so: evaluated before the prelude.
(function () {
  "use strict";

  const { __host: host, Intl, Atomics } = globalThis;
  const define = (target, name, value) =>
    Object.defineProperty(target, name, { value, writable: true, enumerable: false, configurable: true });
  /** A function of that name in place of a method. */
  const replace = (target, name, make) => {
    const native = target[name];
    const method = make(native);
    Object.defineProperty(method, "name", { value: name, configurable: true });
    Object.defineProperty(method, "length", { value: native.length, configurable: true });
    define(target, name, method);
  };
  /** A constructor in place of a global one, with the same prototype and static members. */
  const replaceConstructor = (holder, name, construct) => {
    const native = holder[name];
    const replacement = construct(native);
    for (const key of Reflect.ownKeys(native)) {
      Object.defineProperty(replacement, key, Object.getOwnPropertyDescriptor(native, key));
    }
    define(native.prototype, "constructor", replacement);
    define(holder, name, replacement);
  };

  // The machine's clock and time zone: formatting without a date formats the call's time, and in UTC.
  const now = () => host("time/now");
  const inUtc = (options) => {
    if (options === undefined) return { timeZone: "UTC" };
    if (options === null || options.timeZone !== undefined) return options;
    return Object.create(Object(options), { timeZone: { value: "UTC" } });
  };
  replaceConstructor(Intl, "DateTimeFormat", (Native) => function DateTimeFormat(locales, options) {
    return Reflect.construct(Native, [locales, inUtc(options)], new.target ?? Intl.DateTimeFormat);
  });
  const { prototype } = Intl.DateTimeFormat;
  const nativeFormat = Object.getOwnPropertyDescriptor(prototype, "format").get;
  const formats = new WeakMap();
  Object.defineProperty(prototype, "format", {
    get: function format() {
      const native = nativeFormat.call(this);
      if (!formats.has(this)) formats.set(this, (date) => native(date === undefined ? now() : date));
      return formats.get(this);
    },
    configurable: true,
  });
  replace(prototype, "formatToParts", (native) => function (date) {
    return native.call(this, date === undefined ? now() : date);
  });
  for (const name of ["toLocaleString", "toLocaleDateString", "toLocaleTimeString"]) {
    replace(Date.prototype, name, (native) => function (locales, options) {
      return native.call(this, locales, inUtc(options));
    });
  }

  // Other threads. WebAssembly's shared memories still lead to this class.
  delete Atomics.waitAsync;
  const shared = Object.getPrototypeOf(globalThis.__sharedBuffer);
  delete globalThis.__sharedBuffer;
  delete shared.constructor;
  delete shared.grow;

  // What ends the whole process if there are more parts than an array can have.
  const ELEMENTS_MAX = 2 ** 27;
  replace(String.prototype, "split", (native) => function (separator, limit) {
    if (this?.length >= ELEMENTS_MAX) throw new RangeError("Invalid array length");
    return native.call(this, separator, limit);
  });
})();
