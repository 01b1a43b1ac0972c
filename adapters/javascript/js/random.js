// Randomness from the call's seed, and the `crypto` object; its `subtle` is a part of its own.
(function (web) {
  "use strict";

  const { host } = web;
  Object.defineProperty(Math, "random", {
    value: function random() {
      return host("random/number");
    },
    writable: true,
    configurable: true,
  });

  const integers = [
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array,
    BigUint64Array,
  ];
  const internal = Symbol("internal");

  class Crypto {
    constructor(key) {
      if (key !== internal) throw new TypeError("Illegal constructor");
    }
    getRandomValues(array) {
      if (!integers.some((type) => array instanceof type)) {
        throw new web.DOMException("getRandomValues takes an integer typed array", "TypeMismatchError");
      }
      const bytes = host("random/bytes", array.byteLength);
      new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(new Uint8Array(bytes));
      return array;
    }
    randomUUID() {
      const bytes = new Uint8Array(host("random/bytes", 16));
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
      return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
    }
    get subtle() {
      return web.part("subtle").subtle;
    }
  }
  web.tag(Crypto);
  web.enumerable(Crypto);
  web.expose("Crypto", Crypto);
  web.expose("crypto", new Crypto(internal));
})
