// The last script: puts lazy parts in place and takes away the natives, and what is of no use.
(function () {
  "use strict";

  const web = __web;
  const lazy = {
    async_context: ["AsyncLocalStorage", "AsyncResource"],
    blob: ["Blob", "File"],
    body: ["Request", "Response"],
    clone: ["structuredClone"],
    events: ["AbortController", "AbortSignal", "CustomEvent", "Event", "EventTarget"],
    fetch: ["fetch"],
    form_data: ["FormData"],
    headers: ["Headers"],
    performance: [
      "Performance", "PerformanceEntry", "PerformanceMark", "PerformanceMeasure", "performance",
    ],
    streams: [
      "ByteLengthQueuingStrategy", "CountQueuingStrategy", "ReadableByteStreamController", "ReadableStream",
      "ReadableStreamBYOBReader", "ReadableStreamBYOBRequest", "ReadableStreamDefaultController",
      "ReadableStreamDefaultReader", "TransformStream", "TransformStreamDefaultController", "WritableStream",
      "WritableStreamDefaultController", "WritableStreamDefaultWriter",
    ],
    subtle: ["CryptoKey", "SubtleCrypto"],
    text: ["TextDecoder", "TextEncoder", "atob", "btoa"],
    text_streams: ["TextDecoderStream", "TextEncoderStream"],
    url: ["URL", "URLSearchParams"],
  };
  for (const [part, names] of Object.entries(lazy)) {
    for (const name of names) web.exposeLazily(name, part);
  }
  web.expose("DOMException", web.DOMException);
  web.expose("self", web.global);
  // Nobody is there to share with.
  delete web.global.SharedArrayBuffer;
  for (const name of ["__host", "__asyncHost", "__syncHost", "__position", "__web"]) delete web.global[name];
})();
