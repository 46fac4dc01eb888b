// A client on graphql-ws: graphql_client.cjs SCENARIO URL [KEY]. Prints one line of JSON.
"use strict";

const { createClient } = require("graphql-ws");
const WebSocket = require("ws");

const [scenario, url, key] = process.argv.slice(2);
const params = key === undefined ? {} : { apiKey: key };

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const closes = [];
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: { ...params, locale: "en" },
  retryAttempts: 0,
  keepAlive: 50,
  on: { closed: (event) => closes.push({ code: event.code, reason: event.reason }) },
});

async function all(query) {
  const values = [];
  for await (const result of client.iterate({ query })) values.push(result);
  return values;
}

const scenarios = {
  async query() {
    return { results: await all("{ hello }") };
  },

  async subscription() {
    return { results: await all("subscription { countTo(last: 500) }") };
  },

  async idle() {
    // Its own pings go there and back meanwhile; without an answer it would close.
    const first = await all("{ hello }");
    await new Promise((done) => setTimeout(done, 300));
    return { results: [...first, ...(await all("subscription { countTo(last: 2) }"))] };
  },
};

async function main() {
  try {
    const said = await scenarios[scenario]();
    await client.dispose();
    return said;
  } catch (failure) {
    // graphql-ws throws the event of the close.
    return { refused: { code: failure.code, reason: failure.reason } };
  }
}

main().then((said) => {
  say({ ...said, closes });
  process.exit(0);
});
