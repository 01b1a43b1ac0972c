// Cryptography that needs no fresh randomness works in queries; the rest is refused.
test("digests and signatures", async () => {
  const { subtle } = crypto;
  const key = await subtle.importKey("raw", new Uint8Array(8), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  equal((await subtle.sign("HMAC", key, new Uint8Array(1))).byteLength, 32);
});

test("keys are not generated", async () => {
  await rejects("Error", "Can't use cryptographic randomness in queries and mutations.",
    crypto.subtle.generateKey({ name: "AES-GCM", length: 128 }, true, ["encrypt"]));
});
