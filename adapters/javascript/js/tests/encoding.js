// Text encodings and base64.
const bytes = (...values) => new Uint8Array(values);

test("TextEncoder", () => {
  equal(new TextEncoder().encode("aé€😀"), bytes(97, 195, 169, 226, 130, 172, 240, 159, 152, 128));
  equal(new TextEncoder().encode(), bytes());
  equal(new TextEncoder().encode("\ud800"), bytes(239, 191, 189));
  const target = new Uint8Array(4);
  equal(new TextEncoder().encodeInto("aé😀", target), { read: 2, written: 3 });
  equal(target, bytes(97, 195, 169, 0));
  equal(new TextEncoder().encodeInto("abcdef", target), { read: 4, written: 4 });
  equal(new TextEncoder().encodeInto("abc😀", target), { read: 3, written: 3 });
  equal(new TextEncoder().encodeInto("😀", target), { read: 2, written: 4 });
});

test("TextDecoder", () => {
  equal(new TextDecoder().decode(bytes(0xef, 0xbb, 0xbf, 97, 0xff)), "a\ufffd");
  equal(new TextDecoder("utf8", { ignoreBOM: true }).decode(bytes(0xef, 0xbb, 0xbf, 97)), "\ufeffa");
  equal(new TextDecoder("latin1").encoding, "windows-1252");
  equal(new TextDecoder("latin1").decode(bytes(0xe9, 0x80)), "é€");
  equal(new TextDecoder("utf-16le").decode(bytes(0x3d, 0xd8, 0, 0xde)), "😀");
  equal(new TextDecoder("shift_jis").decode(bytes(0x82, 0xa0)), "あ");
  equal(new TextDecoder().decode(bytes(97, 98, 99).subarray(1, 2)), "b");
  equal(new TextDecoder().decode(bytes(97).buffer), "a");
  equal(new TextDecoder().decode(), "");
  throws("TypeError", "not valid", () => new TextDecoder("utf-8", { fatal: true }).decode(bytes(0xff)));
  throws("RangeError", "klingon", () => new TextDecoder("klingon"));
  throws("TypeError", "", () => new TextDecoder().decode("text"));
});

test("TextDecoder keeps unfinished characters", () => {
  const decoder = new TextDecoder();
  const text = "\ufeffaé€😀z";
  let result = "";
  for (const byte of new TextEncoder().encode(text)) result += decoder.decode(bytes(byte), { stream: true });
  equal(result + decoder.decode(), text.slice(1));
  decoder.decode(bytes(0xe2, 0x82), { stream: true });
  equal(decoder.decode(), "\ufffd");
});

test("base64", () => {
  equal(btoa("\x00\xff a"), "AP8gYQ==");
  equal(atob(" AP8g\nYQ== "), "\x00\xff a");
  equal(atob("YQ"), "a");
  equal(atob(""), "");
  throws("InvalidCharacterError", "", () => btoa("€"));
  for (const text of ["Y", "YQ=", "Y===", "Y-Q=", "YQ==YQ=="]) {
    throws("InvalidCharacterError", "", () => atob(text));
  }
  try {
    atob("!");
  } catch (error) {
    ok(error instanceof DOMException);
    equal(error.code, 5);
  }
});
