// The whole page: it subscribes to a few queries and draws what they say, calls a few mutations, and has no other state
// than the room in the address, the name of who sits here, and earlier messages that were asked for.

const { ConvexClient, anyApi: api } = globalThis.convex;

const HEARTBEAT_MS = 10_000;
const ONLINE_MS = 25_000;
const SAME_HEAD_MS = 5 * 60_000;
const PAGE_SIZE = 100;

const client = new ConvexClient(location.origin);
const session = newSession();
const $ = (id) => document.getElementById(id);

// ---- Who sits here ------------------------------------------------------------------------------------------------

const nameInput = $("name");
nameInput.value = localStorage.getItem("name") ?? `Guest ${Math.floor(Math.random() * 900) + 100}`;
nameInput.addEventListener("change", () => {
  nameInput.value = nameInput.value.trim() || "Guest";
  localStorage.setItem("name", nameInput.value);
  heartbeat();
});

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- The room -----------------------------------------------------------------------------------------------------

let room; // Its name.
let known; // Messages of the room by id: the newest, which stay live, and earlier ones as far as they were asked for.
let history; // How far earlier messages were asked for: `{ cursor, isDone }`.
let subscriptions = []; // What to unsubscribe when leaving the room.

function enterRoom() {
  for (const unsubscribe of subscriptions) unsubscribe();
  room = decodeURIComponent(location.hash.slice(1)) || "general";
  known = new Map();
  history = { cursor: null, isDone: false };
  $("room-name").textContent = room;
  document.title = `#${room} – Chat`;
  showError(null);
  drawRooms();
  drawMessages();
  subscriptions = [
    client.onUpdate(api.messages.list, { room }, receiveNewest, showError),
    client.onUpdate(api.presence.list, { room }, receivePeople, showError),
  ];
  heartbeat();
}

let rooms = [];
client.onUpdate(
  api.rooms.list,
  {},
  (names) => {
    rooms = names;
    drawRooms();
  },
  showError,
);

function drawRooms() {
  const names = [...new Set(["general", ...rooms, room])].sort();
  $("rooms").replaceChildren(
    ...names.map((name) => {
      const link = element("a", { textContent: name, href: `#${encodeURIComponent(name)}` });
      if (name === room) link.setAttribute("aria-current", "page");
      return link;
    }),
  );
}

$("new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.elements.room;
  const name = input.value.trim().toLowerCase().replace(/\s+/g, "-");
  if (name !== "") location.hash = encodeURIComponent(name);
  input.value = "";
});

addEventListener("hashchange", enterRoom);

// ---- Messages -----------------------------------------------------------------------------------------------------

function receiveNewest(newest) {
  // Messages being sent live only in the query's result, until that has the real ones.
  for (const [id, message] of known) if (message.sending) known.delete(id);
  const wasCutOff = known.size > 0 && newest.length > 0 && !newest.some((message) => known.has(message._id));
  if (wasCutOff) {
    // More was said than the query holds since the last result (this window slept): do not hide the gap.
    known.clear();
    history = { cursor: null, isDone: false };
  }
  for (const message of newest) known.set(message._id, message);
  drawMessages();
}

$("earlier").addEventListener("click", async () => {
  const here = room;
  const paginationOpts = { numItems: PAGE_SIZE, cursor: history.cursor };
  try {
    const result = await client.query(api.messages.page, { room, paginationOpts });
    if (here !== room) return;
    history = { cursor: result.continueCursor, isDone: result.isDone };
    for (const message of result.page) known.set(message._id, message);
    drawMessages();
  } catch (error) {
    showError(error);
  }
});

let oldestDrawn;

function drawMessages() {
  const scroller = $("scroller");
  const { scrollTop, scrollHeight } = scroller;
  const wasAtEnd = scrollHeight - scrollTop - scroller.clientHeight < 40;
  const messages = [...known.values()].sort((a, b) => a._creationTime - b._creationTime);
  $("messages").replaceChildren(...messages.map((message, index) => drawMessage(message, messages[index - 1])));
  $("empty").hidden = messages.length > 0;
  $("earlier").hidden = history.isDone || messages.length < 50;
  // Stay at the end, or with what is being read: that moved if the list grew above it.
  const grewAbove = messages[0]?._id !== oldestDrawn;
  if (wasAtEnd) scroller.scrollTop = scroller.scrollHeight;
  else scroller.scrollTop = grewAbove ? scrollTop + scroller.scrollHeight - scrollHeight : scrollTop;
  oldestDrawn = messages[0]?._id;
}

function drawMessage(message, previous) {
  const { author, text, _creationTime: time, sending } = message;
  const follows = previous?.author === author && time - previous._creationTime < SAME_HEAD_MS;
  const item = element("li", { className: `${follows ? "more" : ""} ${sending ? "sending" : ""}` });
  item.style.setProperty("--hue", hue(author));
  const clock = new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const head = element("div", { className: "head" });
  head.append(element("span", { className: "author", textContent: author }), element("time", { textContent: clock }));
  item.append(
    element("div", { className: "avatar", textContent: [...author][0]?.toUpperCase() ?? "?" }),
    head,
    element("div", { className: "text", textContent: text }),
  );
  return item;
}

let sent = 0;
const composer = $("composer");
const input = composer.elements.text;

composer.addEventListener("submit", async (event) => {
  event.preventDefault();
  const message = { room, author: nameInput.value, text: input.value };
  input.value = "";
  showError(null);
  $("scroller").scrollTop = $("scroller").scrollHeight;
  try {
    await client.mutation(api.messages.send, message, {
      // Shown at once, and replaced by the server's own result; taken back if the server refuses.
      optimisticUpdate: (store) => {
        const newest = store.getQuery(api.messages.list, { room: message.room });
        if (newest === undefined || message.text.trim() === "") return;
        const time = Math.max(Date.now(), newest[0]?._creationTime ?? 0);
        const sending = { _id: `sending-${sent++}`, _creationTime: time, sending: true, ...message };
        store.setQuery(api.messages.list, { room: message.room }, [sending, ...newest]);
      },
    });
  } catch (error) {
    if (input.value === "") input.value = message.text;
    showError(error);
  }
});

input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

// ---- Presence -----------------------------------------------------------------------------------------------------

function heartbeat() {
  // Offline, beats would only queue up; the first one after that comes with the connection.
  if (!client.connectionState().isWebSocketConnected) return;
  client.mutation(api.presence.heartbeat, { session, room, name: nameInput.value }).catch(showError);
}

setInterval(heartbeat, HEARTBEAT_MS);

addEventListener("pagehide", () => {
  // Sockets die with the page; a request with `keepalive` outlives it.
  const body = JSON.stringify({ path: "presence:leave", args: { session }, format: "json" });
  const headers = { "Content-Type": "application/json" };
  fetch("/api/mutation", { method: "POST", keepalive: true, headers, body });
});

addEventListener("pageshow", (event) => {
  if (event.persisted) heartbeat();
});

function receivePeople(windows) {
  // The latest beat of all, ours included, tells the server's time.
  const now = Math.max(...windows.map((window) => window.seen));
  const online = windows.filter((window) => window.seen > now - ONLINE_MS);
  const names = [...new Set(online.map((window) => window.name))].sort((a, b) => a.localeCompare(b));
  $("people").replaceChildren(...names.map((name) => element("li", { textContent: name })));
  $("people-count").textContent = names.length || "";
}

// ---- Common -------------------------------------------------------------------------------------------------------

client.subscribeToConnectionState(({ isWebSocketConnected }) => {
  const pill = $("connection");
  pill.textContent = isWebSocketConnected ? "live" : "connecting";
  if (isWebSocketConnected && !pill.classList.contains("live")) heartbeat();
  pill.classList.toggle("live", isWebSocketConnected);
});

function showError(error) {
  const box = $("error");
  box.hidden = error === null;
  // A ConvexError carries data made for the page; anything else is for whoever develops the app.
  box.textContent = error === null ? "" : (error.data?.message ?? error.message);
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function hue(text) {
  let hash = 0;
  for (const character of text) hash = (hash * 31 + character.codePointAt(0)) | 0;
  return (Math.abs(hash) * 137) % 360;
}

enterRoom();
