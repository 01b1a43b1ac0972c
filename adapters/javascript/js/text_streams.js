// Text encodings as transform streams.
(function (web) {
  "use strict";

  const { TransformStream } = web.part("streams");
  const { TextEncoder, TextDecoder } = web.part("text");

  class TextDecoderStream {
    #decoder;
    #transform;
    constructor(label = "utf-8", options = {}) {
      const decoder = new TextDecoder(label, options);
      this.#decoder = decoder;
      this.#transform = new TransformStream({
        transform(chunk, controller) {
          const text = decoder.decode(chunk, { stream: true });
          if (text) controller.enqueue(text);
        },
        flush(controller) {
          const text = decoder.decode();
          if (text) controller.enqueue(text);
        },
      });
    }
    get encoding() {
      return this.#decoder.encoding;
    }
    get fatal() {
      return this.#decoder.fatal;
    }
    get ignoreBOM() {
      return this.#decoder.ignoreBOM;
    }
    get readable() {
      return this.#transform.readable;
    }
    get writable() {
      return this.#transform.writable;
    }
  }

  class TextEncoderStream {
    #transform;
    constructor() {
      const encoder = new TextEncoder();
      // The first half of a surrogate pair whose second half is in the next chunk.
      let high = "";
      this.#transform = new TransformStream({
        transform(chunk, controller) {
          let text = high + `${chunk}`;
          high = "";
          const last = text.charCodeAt(text.length - 1);
          if (last >= 0xd800 && last <= 0xdbff) {
            high = text.slice(-1);
            text = text.slice(0, -1);
          }
          if (text) controller.enqueue(encoder.encode(text));
        },
        flush(controller) {
          if (high) controller.enqueue(encoder.encode(high));
        },
      });
    }
    get encoding() {
      return "utf-8";
    }
    get readable() {
      return this.#transform.readable;
    }
    get writable() {
      return this.#transform.writable;
    }
  }

  for (const constructor of [TextDecoderStream, TextEncoderStream]) {
    web.tag(constructor);
    web.enumerable(constructor);
  }
  return { TextDecoderStream, TextEncoderStream };
})
