// `crypto.subtle`: the rules of Web Cryptography; the host computes.
(function (web) {
  "use strict";

  const { host, DOMException } = web;
  const internal = Symbol("internal");
  const SIGN = ["sign", "verify"];
  const CIPHER = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
  const DERIVE = ["deriveKey", "deriveBits"];

  // What keys of each algorithm may be used for, by the type of key.
  const algorithms = {
    "HMAC": { secret: SIGN },
    "AES-GCM": { secret: CIPHER },
    "AES-CBC": { secret: CIPHER },
    "AES-CTR": { secret: CIPHER },
    "PBKDF2": { secret: DERIVE },
    "HKDF": { secret: DERIVE },
    "RSASSA-PKCS1-v1_5": { private: ["sign"], public: ["verify"] },
    "RSA-PSS": { private: ["sign"], public: ["verify"] },
    "RSA-OAEP": { private: ["decrypt", "unwrapKey"], public: ["encrypt", "wrapKey"] },
    "ECDSA": { private: ["sign"], public: ["verify"] },
    "ECDH": { private: DERIVE, public: [] },
    "Ed25519": { private: ["sign"], public: ["verify"] },
  };
  const hashes = ["SHA-1", "SHA-256", "SHA-384", "SHA-512"];
  // Part of the standard, but not here.
  const missing = ["AES-KW", "X25519", "Ed448", "X448"];

  const fail = (name, message) => {
    throw new DOMException(message, name);
  };
  const find = (names, name) => names.find((each) => each.toLowerCase() === name.toLowerCase());

  /** An algorithm as given, with its name in standard spelling. */
  function normalize(algorithm) {
    const given = typeof algorithm === "string" ? { name: algorithm } : algorithm;
    const name = `${given?.name}`;
    const known = find([...Object.keys(algorithms), ...hashes], name);
    if (known) return { ...given, name: known };
    const left = find(missing, name);
    if (left) web.unsupported(left, "SubtleCrypto");
    return fail("NotSupportedError", `Unrecognized algorithm name: ${name}`);
  }

  function hashOf(algorithm) {
    if (algorithm?.hash === undefined) throw new TypeError("The algorithm lacks its hash");
    const { name } = normalize(algorithm.hash);
    return hashes.includes(name) ? name : fail("NotSupportedError", `${name} is not a hash`);
  }

  function bytes(source, what) {
    if (!web.isBufferSource(source)) throw new TypeError(`${what} must be an ArrayBuffer or a view on one`);
    return web.bytes(source);
  }
  const base64url = (buffer) =>
    host("base64/encode", buffer).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const fromBase64url = (text) => host("base64/decode", `${text}`.replace(/-/g, "+").replace(/_/g, "/"));

  // The key's bytes: raw, PKCS#8 or SPKI, by its type.
  let materialOf;

  class CryptoKey {
    #fields;
    #material;
    constructor(key, fields, material) {
      if (key !== internal) throw new TypeError("Illegal constructor");
      this.#fields = fields;
      this.#material = material;
    }
    static {
      materialOf = (key) => key.#material;
    }
    get type() {
      return this.#fields.type;
    }
    get extractable() {
      return this.#fields.extractable;
    }
    get algorithm() {
      return this.#fields.algorithm;
    }
    get usages() {
      return this.#fields.usages;
    }
  }

  function makeKey(type, algorithm, extractable, usages, material) {
    const allowed = algorithms[algorithm.name][type];
    usages = [...new Set(usages)];
    for (const usage of usages) {
      if (!allowed.includes(usage)) fail("SyntaxError", `A ${type} key of ${algorithm.name} cannot be used to ${usage}`);
    }
    if (usages.length === 0 && type !== "public") fail("SyntaxError", "A key needs a usage");
    return new CryptoKey(internal, { type, algorithm, extractable: Boolean(extractable), usages }, material);
  }

  /** What the host calls the key's family. */
  function kindOf({ name, namedCurve }) {
    if (name.startsWith("RSA")) return "RSA";
    if (name === "Ed25519") return name;
    const curve = find(["P-256", "P-384", "P-521"], `${namedCurve}`);
    if (curve === "P-521") web.unsupported(`the curve ${curve}`, "SubtleCrypto");
    return curve ?? fail("NotSupportedError", `Unrecognized curve: ${namedCurve}`);
  }

  /** The `algorithm` attribute of a key of a pair. */
  function pairAlgorithm(given, type, material) {
    const { name } = given;
    if (name === "Ed25519") return { name };
    if (name.startsWith("EC")) return { name, namedCurve: kindOf(given) };
    const { modulusLength, publicExponent } = JSON.parse(host("crypto/rsaInfo", type, material));
    return {
      name, modulusLength, publicExponent: new Uint8Array(fromBase64url(publicExponent)), hash: { name: hashOf(given) },
    };
  }

  function secretAlgorithm(given, material) {
    const { name } = given;
    const length = material.byteLength * 8;
    if (name === "HMAC") {
      if (length === 0) fail("DataError", "The key is empty");
      return { name, hash: { name: hashOf(given) }, length };
    }
    if (!name.startsWith("AES")) return { name };
    if (![128, 192, 256].includes(length)) fail("DataError", `AES keys do not have ${length} bits`);
    return { name, length };
  }

  function checkUse(key, algorithm, usage) {
    if (!(key instanceof CryptoKey)) throw new TypeError("The key must be a CryptoKey");
    if (key.algorithm.name !== algorithm.name) {
      fail("InvalidAccessError", `The key belongs to ${key.algorithm.name}, not to ${algorithm.name}`);
    }
    if (!key.usages.includes(usage)) fail("InvalidAccessError", `The key must not be used to ${usage}`);
  }

  function importJwk(jwk, algorithm, extractable, usages) {
    if (typeof jwk !== "object" || jwk === null) throw new TypeError("The key data must be a JSON Web Key object");
    if (jwk.ext === false && extractable) fail("DataError", "The key says that it is not extractable");
    if (jwk.key_ops && !usages.every((usage) => jwk.key_ops.includes(usage))) {
      fail("DataError", "The key's operations do not include the usages");
    }
    if (algorithms[algorithm.name].secret) {
      if (jwk.kty !== "oct" || typeof jwk.k !== "string") fail("DataError", "The key is not a symmetric one");
      let material;
      try {
        material = fromBase64url(jwk.k);
      } catch {
        fail("DataError", "The key is not base64url");
      }
      return makeKey("secret", secretAlgorithm(algorithm, material), extractable, usages, material);
    }
    const type = jwk.d === undefined ? "public" : "private";
    const material = host("crypto/import", kindOf(algorithm), type, "jwk", JSON.stringify(jwk));
    return makeKey(type, pairAlgorithm(algorithm, type, material), extractable, usages, material);
  }

  function importKey(format, data, algorithm, extractable, usages) {
    if (hashes.includes(algorithm.name)) fail("NotSupportedError", `${algorithm.name} has no keys`);
    if (format === "jwk") return importJwk(data, algorithm, extractable, usages);
    data = bytes(data, "The key data");
    if (algorithms[algorithm.name].secret) {
      if (format !== "raw") fail("NotSupportedError", `${algorithm.name} keys have no format '${format}'`);
      const isDerivation = algorithms[algorithm.name].secret === DERIVE;
      if (isDerivation && extractable) fail("SyntaxError", `${algorithm.name} keys are not extractable`);
      return makeKey("secret", secretAlgorithm(algorithm, data), extractable, usages, data);
    }
    const type = { raw: "public", spki: "public", pkcs8: "private" }[format];
    if (!type) throw new TypeError(`'${format}' is not a key format`);
    const material = host("crypto/import", kindOf(algorithm), type, format, data);
    return makeKey(type, pairAlgorithm(algorithm, type, material), extractable, usages, material);
  }

  const digits = (hash) => hash.name.slice("SHA-".length);

  /** The `alg` of a JSON Web Key, if there is one for the key. */
  function jwkAlgorithm({ name, hash, length }) {
    switch (name) {
      case "HMAC":
        return `HS${digits(hash)}`;
      case "RSASSA-PKCS1-v1_5":
        return `RS${digits(hash)}`;
      case "RSA-PSS":
        return `PS${digits(hash)}`;
      case "RSA-OAEP":
        return hash.name === "SHA-1" ? name : `${name}-${digits(hash)}`;
      case "AES-GCM":
      case "AES-CBC":
      case "AES-CTR":
        return `A${length}${name.slice(4)}`;
    }
    return undefined;
  }

  function exportKey(format, key) {
    if (!(key instanceof CryptoKey)) throw new TypeError("The key must be a CryptoKey");
    if (!key.extractable) fail("InvalidAccessError", "The key is not extractable");
    const { type, algorithm } = key;
    const material = materialOf(key);
    if (format === "jwk") {
      const jwk = type === "secret" ? { kty: "oct", k: base64url(material) }
        : JSON.parse(host("crypto/export", kindOf(algorithm), type, "jwk", material));
      const alg = jwkAlgorithm(algorithm);
      return { ...jwk, ...(alg ? { alg } : {}), ext: true, key_ops: [...key.usages] };
    }
    const formats = { secret: ["raw"], private: ["pkcs8"], public: ["spki", "raw"] }[type];
    if (!formats.includes(format)) fail("NotSupportedError", `A ${type} key has no format '${format}'`);
    return type === "secret" ? material.slice(0) : host("crypto/export", kindOf(algorithm), type, format, material);
  }

  function generateKey(algorithm, extractable, usages) {
    web.permit("cryptographic randomness");
    const random = (bits) => host("random/bytes", bits / 8);
    const { name } = algorithm;
    if (name === "HMAC") {
      const bits = algorithm.length ?? (["SHA-384", "SHA-512"].includes(hashOf(algorithm)) ? 1024 : 512);
      const material = random(Math.ceil(bits / 8) * 8);
      return makeKey("secret", secretAlgorithm(algorithm, material), extractable, usages, material);
    }
    if (name.startsWith("AES")) {
      if (![128, 192, 256].includes(algorithm.length)) fail("OperationError", "AES keys have 128, 192 or 256 bits");
      const material = random(algorithm.length);
      return makeKey("secret", secretAlgorithm(algorithm, material), extractable, usages, material);
    }
    if (!algorithms[name]?.private) return fail("NotSupportedError", `${name} keys are not generated`);
    const kind = kindOf(algorithm);
    if (kind === "RSA" && !isCommonExponent(algorithm.publicExponent)) {
      web.unsupported("a public exponent other than 65537", "SubtleCrypto");
    }
    const material = host("crypto/generate", kind, Number(algorithm.modulusLength ?? 0));
    const pair = (type, bytes, isExtractable) => makeKey(
      type, pairAlgorithm(algorithm, type, bytes), isExtractable,
      usages.filter((usage) => algorithms[name][type].includes(usage)), bytes,
    );
    return {
      privateKey: pair("private", material, extractable),
      publicKey: pair("public", host("crypto/public", kind, material), true),
    };
  }

  const isCommonExponent = (exponent) => Array.from(exponent ?? []).join() === "1,0,1";

  /** Scheme and hash for the host. */
  function signing(algorithm, key) {
    switch (algorithm.name) {
      case "ECDSA":
        return [key.algorithm.namedCurve, hashOf(algorithm)];
      case "Ed25519":
        return ["Ed25519", ""];
      default:
        return [algorithm.name, key.algorithm.hash.name];
    }
  }

  function sign(algorithm, key, data) {
    checkUse(key, algorithm, "sign");
    data = bytes(data, "The data");
    if (algorithm.name === "HMAC") return host("crypto/hmac", key.algorithm.hash.name, materialOf(key), data);
    const salt = Number(algorithm.saltLength ?? 0);
    if (algorithm.name === "RSA-PSS" && salt > 0) web.permit("cryptographic randomness");
    return host("crypto/sign", ...signing(algorithm, key), materialOf(key), data, salt);
  }

  function verify(algorithm, key, signature, data) {
    checkUse(key, algorithm, "verify");
    signature = bytes(signature, "The signature");
    data = bytes(data, "The data");
    if (algorithm.name === "HMAC") {
      const expected = new Uint8Array(host("crypto/hmac", key.algorithm.hash.name, materialOf(key), data));
      const given = new Uint8Array(signature);
      let difference = expected.length ^ given.length;
      for (let i = 0; i < expected.length; i++) difference |= expected[i] ^ given[i];
      return difference === 0;
    }
    const salt = Number(algorithm.saltLength ?? 0);
    return host("crypto/verify", ...signing(algorithm, key), materialOf(key), data, signature, salt);
  }

  function cipher(op, algorithm, key, data) {
    checkUse(key, algorithm, op);
    data = bytes(data, "The data");
    const { name } = algorithm;
    if (name === "RSA-OAEP") {
      if (op === "encrypt") web.permit("cryptographic randomness");
      const label = algorithm.label === undefined ? new ArrayBuffer(0) : bytes(algorithm.label, "The label");
      return host(`crypto/oaep${op === "encrypt" ? "Encrypt" : "Decrypt"}`, key.algorithm.hash.name, materialOf(key), data, label);
    }
    const iv = bytes(name === "AES-CTR" ? algorithm.counter : algorithm.iv, name === "AES-CTR" ? "counter" : "iv");
    if (name !== "AES-GCM" && iv.byteLength !== 16) fail("OperationError", `${name} needs 16 bytes of iv or counter`);
    if (name === "AES-GCM" && (algorithm.tagLength ?? 128) !== 128) {
      web.unsupported("AES-GCM with a tag of other than 128 bits", "SubtleCrypto");
    }
    const additional = algorithm.additionalData === undefined
      ? new ArrayBuffer(0) : bytes(algorithm.additionalData, "additionalData");
    return host(`crypto/${op}`, name, materialOf(key), iv, data, additional, Number(algorithm.length ?? 0));
  }

  function deriveBits(algorithm, key, length, usage) {
    checkUse(key, algorithm, usage);
    if (algorithm.name === "ECDH") {
      const { public: other } = algorithm;
      if (!(other instanceof CryptoKey)) throw new TypeError("public must be a CryptoKey");
      if (other.type !== "public" || other.algorithm.namedCurve !== key.algorithm.namedCurve) {
        fail("InvalidAccessError", "The public key does not fit the private key");
      }
      const secret = host("crypto/agree", key.algorithm.namedCurve, materialOf(key), materialOf(other));
      if (length === null || length === undefined) return secret;
      if (length > secret.byteLength * 8) fail("OperationError", "The shared secret is shorter than that");
      return secret.slice(0, Math.ceil(length / 8));
    }
    if (length === null || length === undefined || length % 8 !== 0) {
      fail("OperationError", "The length must be a multiple of 8");
    }
    const hash = hashOf(algorithm);
    const salt = bytes(algorithm.salt, "The salt");
    if (algorithm.name === "PBKDF2") {
      const iterations = Number(algorithm.iterations);
      if (!(iterations >= 1 && iterations < 2 ** 32)) fail("OperationError", "The iterations must be a positive number");
      return host("crypto/pbkdf2", hash, materialOf(key), salt, iterations, length / 8);
    }
    return host("crypto/hkdf", hash, materialOf(key), salt, bytes(algorithm.info, "info"), length / 8);
  }

  /** How many bits a derived key has. */
  function keyLength(algorithm) {
    if (algorithm.name.startsWith("AES")) return algorithm.length;
    if (algorithm.name !== "HMAC") return null;
    return algorithm.length ?? (["SHA-384", "SHA-512"].includes(hashOf(algorithm)) ? 1024 : 512);
  }

  class SubtleCrypto {
    constructor(key) {
      if (key !== internal) throw new TypeError("Illegal constructor");
    }
    async digest(algorithm, data) {
      return host("crypto/digest", hashOf({ hash: algorithm }), bytes(data, "The data"));
    }
    async importKey(format, data, algorithm, extractable, usages) {
      return importKey(format, data, normalize(algorithm), Boolean(extractable), [...usages]);
    }
    async exportKey(format, key) {
      return exportKey(format, key);
    }
    async generateKey(algorithm, extractable, usages) {
      return generateKey(normalize(algorithm), Boolean(extractable), [...usages]);
    }
    async sign(algorithm, key, data) {
      return sign(normalize(algorithm), key, data);
    }
    async verify(algorithm, key, signature, data) {
      return verify(normalize(algorithm), key, signature, data);
    }
    async encrypt(algorithm, key, data) {
      return cipher("encrypt", normalize(algorithm), key, data);
    }
    async decrypt(algorithm, key, data) {
      return cipher("decrypt", normalize(algorithm), key, data);
    }
    async deriveBits(algorithm, key, length = null) {
      return deriveBits(normalize(algorithm), key, length, "deriveBits");
    }
    async deriveKey(algorithm, key, derivedAlgorithm, extractable, usages) {
      const target = normalize(derivedAlgorithm);
      const material = deriveBits(normalize(algorithm), key, keyLength(target), "deriveKey");
      return importKey("raw", material, target, Boolean(extractable), [...usages]);
    }
    async wrapKey() {
      web.unsupported("wrapKey", "SubtleCrypto");
    }
    async unwrapKey() {
      web.unsupported("unwrapKey", "SubtleCrypto");
    }
  }

  for (const constructor of [CryptoKey, SubtleCrypto]) {
    web.enumerable(constructor);
    web.tag(constructor);
  }
  return { CryptoKey, SubtleCrypto, subtle: new SubtleCrypto(internal) };
})
