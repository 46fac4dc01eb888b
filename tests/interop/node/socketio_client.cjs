// A socket.io client: URL, key, transports. Prints one line of JSON when it has left.
"use strict";

const { io } = require("socket.io-client");

const [url, key, ...transports] = process.argv.slice(2);
const socket = io(url, {
  transports,
  extraHeaders: { "X-Api-Key": key },
  reconnection: false,
});
const said = { transports: [], echoes: [], error: null };
const end = () => {
  process.stdout.write(JSON.stringify(said) + "\n");
  socket.disconnect();
};

async function echo(value) {
  const [back, transport] = await new Promise((resolve) =>
    socket.emit("echo", value, (...answer) => resolve(answer)),
  );
  said.echoes.push([Buffer.compare(Buffer.from(back), Buffer.from(value)) === 0, transport]);
}

socket.on("connect_error", (failure) => {
  said.error = failure.context?.status ?? failure.description?.message ?? failure.message;
  end();
});
// The engine opens before the socket does, and may have upgraded by then.
const upgraded = new Promise((resolve) =>
  socket.io.on("open", () => {
    const { engine } = socket.io;
    said.transports.push(engine.transport.name);
    engine.once("upgrade", (transport) => {
      said.transports.push(transport.name);
      resolve();
    });
  }),
);
socket.on("connect", async () => {
  if (transports.length > 1) await upgraded;
  await echo("grüße");
  await echo(Buffer.alloc(2_000_000, 7));
  end();
});
