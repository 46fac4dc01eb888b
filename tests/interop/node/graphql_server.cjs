// A GraphQL service on graphql-ws. Prints its address, then a line of JSON for what happens.
"use strict";

const { GraphQLInt, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString } = require("graphql");
const { useServer } = require("graphql-ws/use/ws");
const { WebSocketServer } = require("ws");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({
    name: "Query",
    fields: { hello: { type: GraphQLString, resolve: () => "world" } },
  }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: {
      countTo: {
        type: GraphQLInt,
        args: { last: { type: new GraphQLNonNull(GraphQLInt) } },
        resolve: (number) => number,
        async *subscribe(_, { last }) {
          for (let number = 1; number <= last; number++) yield number;
        },
      },
    },
  }),
});

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });

useServer(
  {
    schema,
    onConnect: (context) => {
      const { headers } = context.extra.request;
      say({
        event: "connected",
        name: headers["x-wskeeper-key-name"] ?? null,
        protocol: context.extra.socket.protocol,
        locale: context.connectionParams?.locale ?? null,
      });
    },
    onDisconnect: (_, code, reason) => say({ event: "disconnected", code, reason: String(reason) }),
  },
  server,
);

server.on("listening", () => say(`127.0.0.1:${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
