"use strict";
// A charge point out of one of two libraries, ocpp-rpc and ocpp-ts.
//
// Which one, and whom it connects to, stands in the environment. Each line of stdin orders something: park (a car that
// waits for a remote start), plug, unplug, heartbeat, rest.
// Each line of stdout tells something, as JSON: what the central system asked or answered, what the car draws, and what
// was wrong.

const { createInterface } = require("node:readline");
const { setImmediate: immediately } = require("node:timers/promises");
const { Outlet } = require("./outlet.cjs");
const { ocppRpc } = require("./ocpp_rpc.cjs");
const { ocppTs } = require("./ocpp_ts.cjs");
const { ChargePoint16 } = require("./ocpp16.cjs");
const { ChargePoint201 } = require("./ocpp201.cjs");

const VERSIONS = { 1.6: ChargePoint16, "2.0.1": ChargePoint201 };
const { OCPP_LIBRARY, OCPP_VERSION } = process.env;

const tell = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const wrong = (where, error) => tell({ wrong: `${where}: ${error.rpcErrorCode ?? error.name}: ${error.message}` });

const outlet = new Outlet();
let told_a = 0;

async function call(action, payload) {
  // undefined is what JSON leaves out, and not what a schema would take.
  const answer = await client.call(action, JSON.parse(JSON.stringify(payload)));
  tell({ answered: action, transaction: answer.transactionId ?? payload.transactionInfo?.transactionId });
  if (outlet.drawn_a !== told_a) tell({ draws_a: (told_a = outlet.drawn_a) });
  return answer;
}

const point = new VERSIONS[OCPP_VERSION](call, outlet, OCPP_LIBRARY);
const orders = {
  park: () => point.park(),
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

async function answer(method, params) {
  // An answer that came in the same read is first taken in by whoever awaits it.
  await immediately();
  const limits = params.csChargingProfiles ?? params.chargingProfile;
  tell({ asked: method, purpose: limits?.chargingProfilePurpose });
  const [answered, then] = point.answers[method](params);
  if (then) setImmediate(() => next(method, then));
  return JSON.parse(JSON.stringify(answered));
}

const client =
  OCPP_LIBRARY === "ocpp-ts"
    ? ocppTs(process.env, answer, Object.keys(point.answers))
    : ocppRpc(process.env, answer, wrong);

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
