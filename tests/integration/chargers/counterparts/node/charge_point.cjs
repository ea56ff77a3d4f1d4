"use strict";
// A charge point out of ocpp-rpc, which holds every message of either side to its own JSON Schemas (strict mode).
//
// Whom it connects to stands in the environment. Each line of stdin orders something: plug, unplug, heartbeat, rest.
// Each line of stdout tells something, as JSON: what the central system asked or answered, what the car draws, and what
// was wrong.

const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const { setImmediate: immediately } = require("node:timers/promises");
const { RPCClient } = require("ocpp-rpc");
const { Outlet } = require("./outlet.cjs");
const { ChargePoint16 } = require("./ocpp16.cjs");
const { ChargePoint201 } = require("./ocpp201.cjs");

const VERSIONS = { 1.6: ChargePoint16, "2.0.1": ChargePoint201 };
const { OCPP_URL, OCPP_IDENTITY, OCPP_PASSWORD, OCPP_VERSION, OCPP_CA_FILE } = process.env;

const tell = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const wrong = (where, error) => tell({ wrong: `${where}: ${error.rpcErrorCode ?? error.name}: ${error.message}` });

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

const outlet = new Outlet();
let told_a = 0;

async function call(action, payload) {
  // undefined is what JSON leaves out, and not what a schema would take.
  const answer = await client.call(action, JSON.parse(JSON.stringify(payload)));
  tell({ answered: action, transaction: answer.transactionId ?? payload.transactionInfo?.transactionId });
  if (outlet.drawn_a !== told_a) tell({ draws_a: (told_a = outlet.drawn_a) });
  return answer;
}

const point = new VERSIONS[OCPP_VERSION](call, outlet);
const orders = {
  plug: () => point.plug(),
  unplug: () => point.unplug(),
  heartbeat: () => point.heartbeat(),
  rest: () => point.tellTheRest(),
};

// One thing after the other, as a charge point has one question open at a time; nothing more once it is switched off.
let last = Promise.resolve();
let isOff = false;
function next(where, what) {
  last = last.then(() => (isOff ? undefined : what())).catch((error) => wrong(where, error));
}

client.handle(async ({ method, params }) => {
  // An answer that came in the same read is first taken in by whoever awaits it.
  await immediately();
  const limits = params.csChargingProfiles ?? params.chargingProfile;
  tell({ asked: method, purpose: limits?.chargingProfilePurpose });
  const [answer, then] = point.answers[method](params);
  if (then) setImmediate(() => next(method, then));
  return JSON.parse(JSON.stringify(answer));
});

async function main() {
  await client.connect();
  next("boot", () => point.boot());
  for await (const order of createInterface({ input: process.stdin })) next(order, orders[order]);
  await last;
  isOff = true;
  await client.close();
}

main().catch((error) => {
  wrong("connecting", error);
  process.exitCode = 1;
});
