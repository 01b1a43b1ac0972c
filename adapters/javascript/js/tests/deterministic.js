// What queries see: a frozen clock, seeded randomness, no side effects, no garbage collector.
test("the clock stands still", () => {
  equal(Date.now(), 1700000000123);
  equal(new Date().toISOString(), "2023-11-14T22:13:20.123Z");
  equal(Date(), "Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)");
  equal(performance.now(), 0);
});

test("Date is a class", () => {
  equal(new Date(2020, 1, 29, 12).toISOString(), "2020-02-29T12:00:00.000Z");
  equal(new Date(99, 0).getFullYear(), 1999);
  equal(new Date("2020-01-02").getTime(), Date.UTC(2020, 0, 2));
  equal(new Date("2020-01-02T03:04:05").getTime(), Date.UTC(2020, 0, 2, 3, 4, 5));
  equal(new Date(new Date(5)).getTime(), 5);
  equal(new Date(undefined).getTime(), NaN);
  equal(new Date(null).getTime(), 0);
  equal(Date.parse("2020-01-02T03:04:05+01:00"), Date.UTC(2020, 0, 2, 2, 4, 5));
  equal(new Date(0).getTimezoneOffset(), 0);
  equal(new Date(NaN).getTimezoneOffset(), NaN);
  equal(String(new Date(NaN)), "Invalid Date");
  class Later extends Date {
    plus(ms) {
      return new Later(this.getTime() + ms);
    }
  }
  const later = new Later(1).plus(2);
  ok(later instanceof Later && later instanceof Date);
  equal(later.getTime(), 3);
  equal([Date.name, Date.length, new Date(0).constructor === Date], ["Date", 7, true]);
  equal(JSON.stringify(new Date(0)), '"1970-01-01T00:00:00.000Z"');
  equal(new Date(0).getHours(), 0);
});

test("text for people is American and in UTC", () => {
  const date = new Date(Date.UTC(2024, 2, 5, 15, 6, 7));
  equal(date.toLocaleDateString(), "3/5/2024");
  equal(date.toLocaleTimeString().replace("\u202f", " "), "3:06:07 PM");
  equal((1234567.891).toLocaleString(), "1,234,567.891");
  equal((1234567n).toLocaleString(), "1,234,567");
});

test("Intl tells neither the machine's time nor its zone", () => {
  if (typeof Intl !== "object") return;
  equal(new Intl.DateTimeFormat().resolvedOptions().timeZone, "UTC");
  equal(new Intl.DateTimeFormat().resolvedOptions().locale, "en-US");
  equal(new Intl.DateTimeFormat("en", { hour: "numeric" }).resolvedOptions().timeZone, "UTC");
  equal(Intl.DateTimeFormat("en", { timeZone: "Asia/Tokyo" }).resolvedOptions().timeZone, "Asia/Tokyo");
  equal(new Intl.DateTimeFormat("en").format(), "11/14/2023");
  equal(new Intl.DateTimeFormat("en").formatToParts().map(({ value }) => value).join(""), "11/14/2023");
  const { format } = new Intl.DateTimeFormat("en");
  equal([format(), format(0)], ["11/14/2023", "1/1/1970"]);
  ok(new Intl.DateTimeFormat() instanceof Intl.DateTimeFormat);
  equal(Intl.DateTimeFormat.supportedLocalesOf(["de"]), ["de"]);
  equal(new Date(0).toLocaleString("en", { timeZone: "America/New_York" }).replace("\u202f", " "), "12/31/1969, 7:00:00 PM");
  class Mine extends Intl.DateTimeFormat {}
  ok(new Mine() instanceof Mine && new Mine().format(0) === "1/1/1970");
});

test("memory is not shared", () => {
  equal(typeof SharedArrayBuffer, "undefined");
  ok(new ArrayBuffer(8) instanceof ArrayBuffer && new Uint8Array(8).buffer instanceof ArrayBuffer);
  equal([new ArrayBuffer(8).byteLength, ArrayBuffer.isView(new Uint8Array(1)), ArrayBuffer.name], [8, true, "ArrayBuffer"]);
});

test("Math.random is in range and varies", () => {
  const numbers = Array.from({ length: 100 }, Math.random);
  ok(numbers.every((number) => number >= 0 && number < 1));
  ok(new Set(numbers).size === 100);
});

test("random bytes and identifiers", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(64));
  ok(bytes.some((byte) => byte !== 0));
  ok(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()));
  ok(crypto.randomUUID() !== crypto.randomUUID());
  const part = new Uint16Array(4);
  crypto.getRandomValues(part.subarray(1, 3));
  equal([part[0], part[3]], [0, 0]);
  throws("QuotaExceededError", "65536", () => crypto.getRandomValues(new Uint8Array(65537)));
  throws("TypeMismatchError", "", () => crypto.getRandomValues(new Float64Array(1)));
  throws("TypeError", "Illegal constructor", () => new Crypto());
});

test("side effects are refused", async () => {
  const text = "in queries and mutations. Please consider using an action.";
  // Timers end the call, so they are not tried here.
  await rejects("Error", `Can't use fetch() ${text}`, fetch("http://here/"));
  clearTimeout(undefined);
});

test("environment variables", () => {
  equal([process.env.GREETING, process.env.EMPTY, process.env.NONE], ["hello", "", undefined]);
  equal(["GREETING" in process.env, "NONE" in process.env], [true, false]);
  equal(Object.keys(process.env), ["EMPTY", "GREETING"]);
  equal({ ...process.env }, { EMPTY: "", GREETING: "hello" });
  ok(typeof process.env.hasOwnProperty === "function");
  equal(Object.keys(process), ["env"]);
});

test("weak references hold", () => {
  const object = {};
  equal(new WeakRef(object).deref() === object, true);
  equal(Object.prototype.toString.call(new WeakRef(object)), "[object WeakRef]");
  throws("TypeError", "", () => new WeakRef(1));
  const registry = new FinalizationRegistry(() => {});
  registry.register(object, 1, object);
  equal([registry.unregister(object), registry.unregister(object)], [true, false]);
});

test("globals", () => {
  ok(self === globalThis);
  for (const name of ["window", "global", "Buffer", "require", "__host", "__asyncHost", "__syncHost", "__web"]) {
    ok(!(name in globalThis), name);
  }
  ok(typeof URL === "function");
  const { value, writable, configurable, enumerable } = Object.getOwnPropertyDescriptor(globalThis, "URL");
  equal([typeof value, writable, configurable, enumerable], ["function", true, true, false]);
  globalThis.Blob = 1;
  equal(Object.getOwnPropertyDescriptor(globalThis, "Blob").value, 1);
});

test("DOMException", () => {
  const error = new DOMException("text", "AbortError");
  equal([error.name, error.message, error.code, String(error)], ["AbortError", "text", 20, "AbortError: text"]);
  ok(error instanceof Error);
  equal(new DOMException().name, "Error");
  equal(new DOMException("", { name: "DataError", cause: 1 }).cause, 1);
});

test("microtasks", async () => {
  const order = [];
  queueMicrotask(() => order.push(1));
  order.push(0);
  await null;
  equal(order, [0, 1]);
});
