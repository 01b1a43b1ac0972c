// Text encodings: `TextEncoder`, `TextDecoder`, `atob`, `btoa`. The host converts; decoders keep the bytes of an
// unfinished character between chunks.
(function (web) {
  "use strict";

  const { host } = web;

  class TextEncoder {
    get encoding() {
      return "utf-8";
    }
    encode(text = "") {
      return new Uint8Array(host("text/encode", `${text}`));
    }
    encodeInto(text, target) {
      text = `${text}`;
      if (!(target instanceof Uint8Array)) throw new TypeError("encodeInto: the target must be a Uint8Array");
      // No character takes fewer bytes than UTF-16 units divided by one.
      let read = Math.min(text.length, target.length);
      let bytes = this.encode(text.slice(0, read));
      if (bytes.length > target.length) {
        // Count whole characters that fit.
        let written = 0;
        read = 0;
        for (const character of text) {
          const point = character.codePointAt(0);
          const size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
          if (written + size > target.length) break;
          written += size;
          read += character.length;
        }
        bytes = bytes.subarray(0, written);
      } else if (isSplit(text, read)) {
        // The slice ended inside a surrogate pair.
        read -= 1;
        bytes = this.encode(text.slice(0, read));
      }
      target.set(bytes);
      return { read, written: bytes.length };
    }
  }

  /** Whether a position lies between the two halves of a surrogate pair. */
  function isSplit(text, position) {
    return position > 0 && position < text.length && text.codePointAt(position - 1) > 0xffff;
  }

  class TextDecoder {
    #encoding;
    #fatal;
    #ignoreBOM;
    // Bytes of an unfinished character, while streaming.
    #pending = new Uint8Array(0);
    // Whether the beginning of the text has been seen, hence no byte order mark can follow.
    #begun = false;

    constructor(label = "utf-8", options = {}) {
      this.#encoding = host("text/name", `${label}`);
      this.#fatal = Boolean(options?.fatal);
      this.#ignoreBOM = Boolean(options?.ignoreBOM);
    }
    get encoding() {
      return this.#encoding;
    }
    get fatal() {
      return this.#fatal;
    }
    get ignoreBOM() {
      return this.#ignoreBOM;
    }
    decode(input = new Uint8Array(0), options = {}) {
      if (!web.isBufferSource(input)) throw new TypeError("decode: the input must be an ArrayBuffer or a view on one");
      const stream = Boolean(options?.stream);
      let bytes = new Uint8Array(web.bytes(input));
      if (this.#pending.length > 0) {
        const joined = new Uint8Array(this.#pending.length + bytes.length);
        joined.set(this.#pending);
        joined.set(bytes, this.#pending.length);
        bytes = joined;
        this.#pending = new Uint8Array(0);
      }
      if (stream) {
        const end = bytes.length - host("text/tail", this.#encoding, bytes.buffer);
        this.#pending = bytes.slice(end);
        bytes = bytes.slice(0, end);
      }
      const begun = this.#begun;
      this.#begun = stream && (begun || bytes.length > 0);
      let text;
      try {
        text = host("text/decode", this.#encoding, bytes.buffer, this.#fatal);
      } catch (error) {
        this.#begun = false;
        this.#pending = new Uint8Array(0);
        throw error;
      }
      const mayHaveMark = !begun && !this.#ignoreBOM && this.#encoding.startsWith("utf-");
      return mayHaveMark && text.startsWith("\ufeff") ? text.slice(1) : text;
    }
  }

  for (const constructor of [TextEncoder, TextDecoder]) {
    web.tag(constructor);
    web.enumerable(constructor);
  }

  function atob(text) {
    const bytes = new Uint8Array(host("base64/decode", `${text}`));
    let result = "";
    for (let i = 0; i < bytes.length; i += 8192) {
      result += String.fromCharCode(...bytes.subarray(i, i + 8192));
    }
    return result;
  }

  function btoa(text) {
    text = `${text}`;
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0xff) {
        throw new web.DOMException("btoa: the string has characters outside of Latin-1", "InvalidCharacterError");
      }
      bytes[i] = unit;
    }
    return host("base64/encode", bytes.buffer);
  }

  return { TextEncoder, TextDecoder, atob, btoa };
})
