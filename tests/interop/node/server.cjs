// An echo server on ws, compression on. Prints its address, then a line of JSON for what happens.
"use strict";

const { WebSocketServer } = require("ws");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  maxPayload: 64 * 1024 * 1024,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has("v2.chat") ? "v2.chat" : false),
});

server.on("listening", () => say(`127.0.0.1:${server.address().port}`));

server.on("connection", (socket, request) => {
  say({
    event: "opened",
    key: request.headers["x-api-key"] ?? null,
    name: request.headers["x-wskeeper-key-name"] ?? null,
    extensions: socket.extensions,
  });
  socket.on("ping", (payload) => say({ event: "ping", payload: payload.toString() }));
  socket.on("close", (code, reason) => say({ event: "closed", code, reason: reason.toString() }));
  socket.on("error", () => {}); // its close follows
  socket.on("message", (data, isBinary) => {
    const [word, code, ...reason] = isBinary ? [] : data.toString().split(" ");
    if (word === "close") socket.close(Number(code), reason.join(" "));
    else socket.send(data, { binary: isBinary });
  });
});

process.on("SIGTERM", () => process.exit(0));
