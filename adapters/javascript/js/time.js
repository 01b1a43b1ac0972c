// Time: `Date` reads the host's clock and lives in UTC whatever the machine's zone; timers belong to actions.
(function (web) {
  "use strict";

  const { host, asyncHost, global } = web;
  const NativeDate = global.Date;
  const { prototype } = NativeDate;
  const nativeParse = NativeDate.parse;

  /** Milliseconds of a text; one without a zone is in UTC. */
  function parse(text) {
    text = `${text}`;
    // Where the machine's zone is UTC at that time, the built-in parser is right already.
    const ms = nativeParse(text);
    if (Number.isNaN(ms) || nativeOffset.call(new NativeDate(ms)) === 0) return ms;
    const hasZone = /(?:Z|[+-]\d\d:?\d\d(?:\s*\(.*\))?|GMT|UTC?)\s*$/i.test(text) || /^[+-]?\d{4,6}(?:-\d\d){0,2}$/.test(text);
    if (hasZone) return ms;
    const zoned = nativeParse(`${text}Z`);
    return Number.isNaN(zoned) ? nativeParse(`${text} UTC`) : zoned;
  }
  const nativeOffset = prototype.getTimezoneOffset;

  function Date(...args) {
    if (new.target === undefined) return new NativeDate(host("time/now")).toString();
    let ms;
    if (args.length === 0) {
      ms = host("time/now");
    } else if (args.length === 1) {
      let [value] = args;
      if (value !== null && typeof value === "object") {
        value = isDate(value) ? prototype.getTime.call(value) : toPrimitive(value);
      }
      ms = typeof value === "string" ? parse(value) : value;
    } else {
      ms = NativeDate.UTC(...args);
    }
    return Reflect.construct(NativeDate, [ms], new.target);
  }

  function isDate(object) {
    try {
      prototype.getTime.call(object);
      return true;
    } catch {
      return false;
    }
  }

  function toPrimitive(object) {
    const convert = object[Symbol.toPrimitive];
    if (convert !== undefined && convert !== null) return convert.call(object, "default");
    const value = object.valueOf();
    return value !== null && typeof value === "object" ? `${object}` : value;
  }

  const method = (target, name, value) => {
    Object.defineProperty(value, "name", { value: name, configurable: true });
    Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
  };
  Object.defineProperty(Date, "length", { value: 7, configurable: true });
  Object.defineProperty(Date, "prototype", { value: prototype, writable: false });
  method(prototype, "constructor", Date);
  Object.defineProperty(Date, "name", { value: "Date", configurable: true });
  method(Date, "now", () => host("time/now"));
  method(Date, "parse", (text) => parse(text));
  method(Date, "UTC", NativeDate.UTC);

  // Local time is UTC.
  for (const unit of ["FullYear", "Month", "Date", "Day", "Hours", "Minutes", "Seconds", "Milliseconds"]) {
    method(prototype, `get${unit}`, prototype[`getUTC${unit}`]);
    if (unit !== "Day") method(prototype, `set${unit}`, prototype[`setUTC${unit}`]);
  }
  method(prototype, "getYear", function () {
    return this.getUTCFullYear() - 1900;
  });
  method(prototype, "getTimezoneOffset", function () {
    return prototype.getTime.call(this) * 0;
  });
  const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (number) => String(number).padStart(2, "0");
  const dateText = (date) => {
    const year = date.getUTCFullYear();
    const digits = String(Math.abs(year)).padStart(4, "0");
    return `${days[date.getUTCDay()]} ${months[date.getUTCMonth()]} ${two(date.getUTCDate())} ${year < 0 ? "-" : ""}${year < 0 ? digits.padStart(6, "0") : digits}`;
  };
  const timeText = (date) =>
    `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} GMT+0000 (Coordinated Universal Time)`;
  const text = (render) => function () {
    return Number.isNaN(prototype.getTime.call(this)) ? "Invalid Date" : render(this);
  };
  method(prototype, "toString", text((date) => `${dateText(date)} ${timeText(date)}`));
  method(prototype, "toDateString", text(dateText));
  method(prototype, "toTimeString", text(timeText));

  web.expose("Date", Date);

  // Timers.
  const DELAY_MAX = 2 ** 31 - 1;
  const active = new Map();
  let lastId = 0;

  const reject = Promise.reject.bind(Promise);

  /** Whether code may wait. If not, a query or mutation fails whatever it catches: nobody sees the promise that is rejected here. */
  function mayWait(what) {
    try {
      web.permit(what);
      return true;
    } catch (error) {
      if (host("phase/imports")) throw error;
      reject(error);
      return false;
    }
  }

  function start(name, callback, delay, args, repeats) {
    if (typeof callback !== "function") {
      if (typeof callback === "string") web.unsupported(`${name} with a string`, "globalThis");
      throw new TypeError(`${name}: the first argument must be a function`);
    }
    if (!mayWait(name)) return 0;
    let ms = Math.trunc(Number(delay)) || 0;
    if (ms < (repeats ? 1 : 0)) ms = repeats ? 1 : 0;
    if (ms > DELAY_MAX) ms = 1;
    const id = ++lastId;
    const timer = { id };
    active.set(id, timer);
    const sleep = () => asyncHost("host/sleep", `{"ms":${ms}}`).then(() => {
      if (active.get(id) !== timer) return undefined;
      if (!repeats) active.delete(id);
      callback.apply(global, args);
      return repeats && active.get(id) === timer ? sleep() : undefined;
    });
    sleep();
    return id;
  }
  function stop(id) {
    active.delete(Number(id));
  }
  web.expose("setTimeout", function setTimeout(callback, delay, ...args) {
    return start("setTimeout", callback, delay, args, false);
  });
  web.expose("setInterval", function setInterval(callback, delay, ...args) {
    return start("setInterval", callback, delay, args, true);
  });
  web.expose("clearTimeout", function clearTimeout(id) {
    stop(id);
  });
  web.expose("clearInterval", function clearInterval(id) {
    stop(id);
  });
  web.expose("queueMicrotask", function queueMicrotask(callback) {
    if (typeof callback !== "function") throw new TypeError("queueMicrotask: the argument must be a function");
    Promise.resolve().then(() => callback());
  });

  return { mayWait, sleep: (ms) => asyncHost("host/sleep", `{"ms":${ms}}`) };
})
