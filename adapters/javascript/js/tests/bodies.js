// Forms and streamed bodies, in actions.
test("multipart forms make the round trip", async () => {
  const form = new FormData();
  form.append("text", "line\nbreak");
  form.append("quo\"te", "é");
  form.append("file", new Blob([new Uint8Array([0, 13, 10, 255])], { type: "a/b" }), "f\"1.bin");
  form.append("file", new File(["x"], "two"));
  const response = new Response(form);
  ok(response.headers.get("content-type").startsWith("multipart/form-data; boundary="));
  const back = await response.formData();
  equal([...back.keys()], ["text", "quo\"te", "file", "file"]);
  equal([back.get("text"), back.get("quo\"te")], ["line\r\nbreak", "é"]);
  const [one, two] = back.getAll("file");
  equal([one.name, one.type, await one.arrayBuffer()], ["f\"1.bin", "a/b", new Uint8Array([0, 13, 10, 255]).buffer]);
  equal([two.name, two.type, await two.text()], ["two", "application/octet-stream", "x"]);
  await rejects("TypeError", "content type", new Response("x").formData());
  await rejects("TypeError", "multipart", new Response("x", { headers: { "content-type": "multipart/form-data; boundary=b" } }).formData());
});

test("FormData", () => {
  const form = new FormData();
  form.set("a", 1);
  form.append("a", 2);
  equal([form.getAll("a"), form.has("b"), form.get("b")], [["1", "2"], false, null]);
  form.set("a", 3);
  equal([...form], [["a", "3"]]);
  form.delete("a");
  equal([...form], []);
  throws("TypeError", "Blob", () => form.append("a", "text", "name"));
});

test("streams as bodies", async () => {
  const encoder = new TextEncoder();
  const make = () => new ReadableStream({
    start(controller) {
      for (const text of ["a", "b"]) controller.enqueue(encoder.encode(text));
      controller.close();
    },
  });
  equal(await new Response(make()).text(), "ab");
  const response = new Response(make());
  const copy = response.clone();
  equal([await response.text(), await copy.text()], ["ab", "ab"]);
  const chunks = [];
  for await (const chunk of new Response("xyz").body) chunks.push(...chunk);
  equal(chunks, [120, 121, 122]);
  const read = new Response("xyz");
  const reader = read.body.getReader();
  await rejects("TypeError", "already read", read.text());
  await reader.read();
  equal(read.bodyUsed, true);
  const text = new Response("h€y").body.pipeThrough(new TextDecoderStream());
  let result = "";
  for await (const chunk of text) result += chunk;
  equal(result, "h€y");
  await rejects("TypeError", "Uint8Array", new Response(ReadableStream.from(["text"])).text());
});
