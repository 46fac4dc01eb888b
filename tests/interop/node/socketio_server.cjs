// A socket.io service. Prints its address, then a line of JSON for what happens.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const http = createServer();
const io = new Server(http, { maxHttpBufferSize: 1e7 });

http.on("request", (request) => {
  say({
    event: "request",
    method: request.method,
    transport: new URL(request.url, "http://h").searchParams.get("transport"),
    name: request.headers["x-wskeeper-key-name"] ?? null,
    key: request.headers["x-api-key"] ?? null,
  });
});

io.on("connection", (socket) => {
  const transport = () => socket.conn.transport.name;
  say({ event: "connected", transport: transport() });
  socket.conn.on("upgrade", () => say({ event: "upgraded", transport: transport() }));
  socket.on("echo", (value, acknowledge) => acknowledge(value, transport()));
  socket.on("disconnect", (reason) => say({ event: "disconnected", reason }));
});

http.listen(0, "127.0.0.1", () => say(`127.0.0.1:${http.address().port}`));
process.on("SIGTERM", () => process.exit(0));
