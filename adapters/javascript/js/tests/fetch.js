// fetch, in a world where http://here/ and https://there/ echo the request (see src/conformance/mod.rs).
test("a plain request", async () => {
  const response = await fetch("http://here/echo?q#h");
  equal([response.status, response.statusText, response.ok, response.url, response.redirected, response.type],
    [200, "Text", true, "http://here/echo?q#h", false, "basic"]);
  equal(response.headers.getSetCookie(), ["a=1", "b=2"]);
  equal(await response.json(), { body: null, headers: [["accept", "*/*"]], method: "GET", url: "http://here/echo?q" });
});

test("a body", async () => {
  const response = await fetch("http://here/", { method: "POST", body: "hé", headers: { Authorization: "x" } });
  const { method, body, headers } = await response.json();
  equal([method, body], ["POST", "aMOp"]);
  equal(headers, [["accept", "*/*"], ["authorization", "x"], ["content-type", "text/plain;charset=UTF-8"]]);
  const streamed = await fetch(new Request("http://here/", { method: "PUT", body: ReadableStream.from([new Uint8Array([1])]) }));
  equal((await streamed.json()).body, "AQ==");
});

test("redirects", async () => {
  const init = { method: "POST", body: "b", headers: { authorization: "secret", "content-language": "en" } };
  const found = await fetch("http://here/redirect/302//echo#f", init);
  equal([found.url, found.redirected], ["http://here/echo#f", true]);
  const rewritten = await found.json();
  equal([rewritten.method, rewritten.body, rewritten.headers], ["GET", null, [["accept", "*/*"], ["authorization", "secret"]]]);
  const kept = await (await fetch("http://here/redirect/307/https://there/echo", init)).json();
  equal([kept.method, kept.body, kept.headers.map(([name]) => name)], ["POST", "Yg==", ["accept", "content-language", "content-type"]]);
  const manual = await fetch("http://here/redirect/301/elsewhere", { redirect: "manual" });
  equal([manual.status, manual.headers.get("location")], [301, "elsewhere"]);
  await rejects("TypeError", "redirect", fetch("http://here/redirect/301/x", { redirect: "error" }));
  await rejects("TypeError", "20 redirects", fetch("http://here/redirect/302/http://here/redirect/302/../302/x".replace("../302/x", "")));
});

test("null bodies", async () => {
  const response = await fetch("http://here/empty");
  equal([response.status, response.body, await response.text()], [204, null, ""]);
});

test("failures", async () => {
  await rejects("TypeError", "ftp", fetch("ftp://a/"));
  await rejects("TypeError", "Invalid URL", fetch("nonsense"));
  await rejects("Error", "cannot connect", fetch("http://nowhere/"));
  await rejects("TypeError", "cannot have body", fetch("http://here/", { body: "x" }));
  const controller = new AbortController();
  const pending = fetch("http://here/", { signal: controller.signal });
  controller.abort();
  await rejects("AbortError", "aborted", pending);
  await rejects("AbortError", "aborted", fetch("http://here/", { signal: controller.signal }));
});
