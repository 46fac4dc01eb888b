// A client on ws, compression on: client.cjs SCENARIO URL [KEY]. Prints one line of JSON.
"use strict";

const { once } = require("node:events");
const WebSocket = require("ws");

const [scenario, url, key] = process.argv.slice(2);
const headers = key === undefined ? {} : { "X-Api-Key": key };

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const scenarios = {
  async echo(socket) {
    const text = "the same again and again, ".repeat(40_000);
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, n) => (n * 7919) % 251));
    socket.send(text);
    const [heardText, textIsBinary] = await once(socket, "message");
    socket.send(bytes);
    const [heardBytes, bytesAreBinary] = await once(socket, "message");
    socket.close();
    await once(socket, "close");
    return {
      text: !textIsBinary && heardText.toString() === text,
      bytes: bytesAreBinary && heardBytes.equals(bytes),
      extensions: socket.extensions,
      protocol: socket.protocol,
    };
  },

  async close(socket) {
    socket.close(4001, "bye");
    const [code, reason] = await once(socket, "close");
    return { code, reason: reason.toString() };
  },

  async closed(socket) {
    socket.send("close 4002 so long");
    const [code, reason] = await once(socket, "close");
    return { code, reason: reason.toString() };
  },

  async ping(socket) {
    socket.ping("from client");
    const [payload] = await once(socket, "pong");
    socket.close();
    await once(socket, "close");
    return { pong: payload.toString() };
  },
};

async function refused(socket) {
  const [, answer] = await once(socket, "unexpected-response");
  let body = "";
  for await (const chunk of answer) body += chunk;
  return { status: answer.statusCode, headers: answer.headers, body };
}

async function main() {
  const socket = new WebSocket(url, ["v1.chat", "v2.chat"], {
    headers,
    maxPayload: 64 * 1024 * 1024,
    perMessageDeflate: { threshold: 0 },
  });
  if (scenario === "refused") return refused(socket);
  await once(socket, "open");
  return scenarios[scenario](socket);
}

main().then(say);
