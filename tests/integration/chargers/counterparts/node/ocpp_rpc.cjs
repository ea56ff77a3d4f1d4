"use strict";
// ocpp-rpc, which holds every message of either side to its own JSON Schemas (strict mode). Speaks 1.6 and 2.0.1.

const { readFileSync } = require("node:fs");
const { RPCClient } = require("ocpp-rpc");

// answer: gives the answer to a call. wrong: is told of what breaks the rules.
function ocppRpc({ OCPP_URL, OCPP_IDENTITY, OCPP_PASSWORD, OCPP_VERSION, OCPP_CA_FILE }, answer, wrong) {
  const client = new RPCClient({
    endpoint: OCPP_URL,
    identity: OCPP_IDENTITY,
    password: OCPP_PASSWORD,
    protocols: [`ocpp${OCPP_VERSION}`],
    strictMode: true,
    reconnect: false,
    callTimeoutMs: 10_000,
    wsOpts: OCPP_CA_FILE ? { ca: readFileSync(OCPP_CA_FILE) } : {},
  });
  client.on("strictValidationFailure", ({ method, error }) => wrong(method, error));
  client.on("badMessage", ({ error }) => wrong("a message", error));
  client.handle(({ method, params }) => answer(method, params));
  return {
    connect: () => client.connect(),
    call: (action, payload) => client.call(action, payload),
    close: () => client.close(),
  };
}

module.exports = { ocppRpc };
