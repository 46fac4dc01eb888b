// The ways in. What the page shows as code is the text of these functions.

function bySubprotocol(url, key) {
  return new WebSocket(url, ["wskeeper", `wskeeper.key.${key}`]);
}

async function buyTicket(url, key) {
  const shop = new URL("/.wskeeper/ticket", url.replace("ws", "http"));
  const headers = { "X-Api-Key": key };
  const answer = await fetch(shop, { method: "POST", headers });
  const { ticket, code, detail } = await answer.json();
  if (answer.ok) return ticket;
  throw new Error(`no ticket: ${answer.status} ${code}. ${detail}`);
}

async function byTicket(url, key) {
  const ticket = await buyTicket(url, key);
  return new WebSocket(`${url}?wskeeper_ticket=${ticket}`);
}

async function byTicketAsSubprotocol(url, key) {
  const ticket = await buyTicket(url, key);
  return new WebSocket(url, ["wskeeper", `wskeeper.ticket.${ticket}`]);
}

function byFirstMessage(url, key) {
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token: key }));
  return socket; // Its first message is the gateway's: {"type": "auth_ok"}
}

const WAYS = {
  subprotocol: { connect: bySubprotocol, needs: [] },
  ticket: { connect: byTicket, needs: [buyTicket] },
  ticket_subprotocol: { connect: byTicketAsSubprotocol, needs: [buyTicket] },
  first_message: { connect: byFirstMessage, needs: [] },
};

const WRONG_KEY = "wsk_wrong";
const MAX_EVENTS = 200;

const { gateway, chat, plain } = document.body.dataset;
const chatUrl = `ws://${gateway}${chat}`;
const plainUrl = `ws://${gateway}${plain}`;
const find = (id) => document.getElementById(id);

// The connection that messages are sent on.
let socket = null;

// By list: what ends the telling of a connection that another one has overtaken.
const overtakings = new Map();

function clear(list) {
  overtakings.get(list)?.abort();
  const overtaking = new AbortController();
  overtakings.set(list, overtaking);
  list.replaceChildren();
  return overtaking.signal;
}

function tell(list, event, text) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = event;
  line.dataset.event = event;
  line.append(name, ` ${text}`);
  list.append(line);
  while (list.children.length > MAX_EVENTS) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

function watch(watched, list, signal) {
  const on = (event, say) => {
    watched.addEventListener(event, (what) => tell(list, event, say(what)), { signal });
  };
  on("open", () => watched.protocol && `subprotocol ${watched.protocol}`);
  on("message", ({ data }) => data);
  on("error", () => "(browsers say no more)");
  on("close", ({ code, reason }) => `${code} ${reason || "(no reason)"}`);
}

function showState() {
  const open = socket !== null && socket.readyState === WebSocket.OPEN;
  find("disconnect").disabled = !open;
  for (const control of find("say").elements) control.disabled = !open;
}

function chosenWay() {
  return document.querySelector("input[name=way]:checked").value;
}

async function connect(key) {
  const list = find("events");
  const signal = clear(list);
  if (socket !== null) socket.close(1000);
  try {
    const opened = await WAYS[chosenWay()].connect(chatUrl, key);
    if (signal.aborted) {
      opened.close();
      return;
    }
    socket = opened;
    watch(opened, list, signal);
    for (const event of ["open", "close"]) opened.addEventListener(event, showState);
  } catch (failure) {
    if (!signal.aborted) tell(list, "error", failure.message);
  }
}

function beRefused(url, list) {
  const signal = clear(list);
  watch(bySubprotocol(url, WRONG_KEY), list, signal);
}

function givenKey() {
  return find("key").value.trim();
}

function showWay() {
  const way = chosenWay();
  for (const about of document.querySelectorAll("[data-about]")) {
    about.hidden = about.dataset.about !== way;
  }
  const { connect: how, needs } = WAYS[way];
  const key = JSON.stringify(givenKey() || "wsk_…");
  const call = `const key = ${key};\nconst socket = await ${how.name}("${chatUrl}", key);`;
  find("code").textContent = [...needs, how, call].join("\n\n");
  find("connect").disabled = givenKey() === "";
}

// The key may come in the fragment, which browsers send to nobody; it leaves the address bar.
function takeKey() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) return;
  find("key").value = key;
  history.replaceState(null, "", location.pathname);
}

async function copy() {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(find("code").textContent);
  } catch {
    said = "Not allowed";
  }
  find("copy").textContent = said;
  setTimeout(() => (find("copy").textContent = "Copy"), 1500);
}

takeKey();
showWay();
addEventListener("hashchange", () => {
  takeKey();
  showWay();
});
find("key").addEventListener("input", showWay);
find("ways").addEventListener("change", showWay);
find("copy").addEventListener("click", copy);
find("connect").addEventListener("click", () => connect(givenKey()));
find("connect-wrong").addEventListener("click", () => connect(WRONG_KEY));
find("disconnect").addEventListener("click", () => socket.close(1000));
find("refuse-close").addEventListener("click", () => beRefused(chatUrl, find("refused-close")));
find("refuse-http").addEventListener("click", () => beRefused(plainUrl, find("refused-http")));
find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (find("text").value === "") return;
  socket.send(find("text").value);
  find("text").value = "";
});
