// Events and cancellation.
test("listeners", () => {
  const target = new EventTarget();
  const seen = [];
  const listener = (event) => seen.push(event.type);
  target.addEventListener("a", listener);
  target.addEventListener("a", listener);
  target.addEventListener("a", { handleEvent: (event) => seen.push(event.target === target) }, { once: true });
  target.dispatchEvent(new Event("a"));
  target.dispatchEvent(new Event("a"));
  target.removeEventListener("a", listener);
  target.dispatchEvent(new Event("a"));
  equal(seen, ["a", true, "a"]);
  target.addEventListener("b", (event) => event.stopImmediatePropagation());
  target.addEventListener("b", () => seen.push("never"));
  target.addEventListener("b", (event) => event.preventDefault());
  equal(target.dispatchEvent(new Event("b", { cancelable: true })), true);
  target.addEventListener("c", (event) => event.preventDefault());
  equal([target.dispatchEvent(new Event("c", { cancelable: true })), target.dispatchEvent(new Event("c"))], [false, true]);
  equal(new CustomEvent("d", { detail: { n: 1 } }).detail, { n: 1 });
});

test("AbortController", () => {
  const controller = new AbortController();
  const { signal } = controller;
  const seen = [];
  signal.onabort = () => seen.push("on");
  signal.addEventListener("abort", () => seen.push("listener"));
  signal.throwIfAborted();
  controller.abort();
  controller.abort("again");
  equal(seen, ["on", "listener"]);
  equal([signal.aborted, signal.reason.name, signal.reason instanceof DOMException], [true, "AbortError", true]);
  throws("AbortError", "", () => signal.throwIfAborted());
  equal(AbortSignal.abort("why").reason, "why");
  throws("TypeError", "Illegal constructor", () => new AbortSignal());
});

test("AbortSignal.any", () => {
  const [a, b] = [new AbortController(), new AbortController()];
  const any = AbortSignal.any([a.signal, b.signal]);
  const nested = AbortSignal.any([any]);
  equal(any.aborted, false);
  b.abort(7);
  equal([any.aborted, any.reason, nested.aborted, nested.reason, a.signal.aborted], [true, 7, true, 7, false]);
  equal(AbortSignal.any([a.signal, b.signal]).reason, 7);
});

test("AbortSignal.timeout", async () => {
  const signal = AbortSignal.timeout(5);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  equal(signal.reason.name, "TimeoutError");
});
