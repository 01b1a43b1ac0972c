// Streams: enough to know that the vendored implementation works on this engine.
test("read, tee, iterate", async () => {
  const [a, b] = ReadableStream.from([1, 2, 3]).tee();
  const seen = [];
  for await (const chunk of a) seen.push(chunk);
  const reader = b.getReader();
  equal([seen, await reader.read()], [[1, 2, 3], { value: 1, done: false }]);
  await reader.cancel("enough");
  equal(await reader.read(), { value: undefined, done: true });
});

test("bytes into the reader's own buffer", async () => {
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      controller.enqueue(new Uint8Array([1, 2, 3]));
      controller.close();
    },
  });
  const { value } = await stream.getReader({ mode: "byob" }).read(new Uint8Array(2));
  equal(value, new Uint8Array([1, 2]));
});

test("pipe through a transform into a sink", async () => {
  const written = [];
  await ReadableStream.from(["a", "b"])
    .pipeThrough(new TransformStream({ transform: (chunk, controller) => controller.enqueue(chunk.toUpperCase()) }))
    .pipeThrough(new TextEncoderStream())
    .pipeTo(new WritableStream({ write: (chunk) => written.push(...chunk) }));
  equal(written, [65, 66]);
});

test("errors travel", async () => {
  const broken = new ReadableStream({ pull: () => Promise.reject(new Error("broken")) });
  await rejects("Error", "broken", broken.getReader().read());
  await rejects("Error", "full", ReadableStream.from([1]).pipeTo(new WritableStream({ write: () => Promise.reject(new Error("full")) })));
});

test("aborting a pipe", async () => {
  const controller = new AbortController();
  const pipe = new ReadableStream().pipeTo(new WritableStream(), { signal: controller.signal });
  controller.abort();
  await rejects("AbortError", "", pipe);
});
