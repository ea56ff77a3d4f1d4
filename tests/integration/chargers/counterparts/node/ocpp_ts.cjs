"use strict";
// ocpp-ts, which checks what it is asked and nothing else: neither answers nor what it sends. Speaks 1.6.
//
// Whom it trusts beside the system's authorities stands in NODE_EXTRA_CA_CERTS: it has no option of its own for that.

const { OcppClient } = require("ocpp-ts");

// answer: gives the answer to a call, for the actions that are named.
function ocppTs({ OCPP_URL, OCPP_IDENTITY, OCPP_PASSWORD }, answer, actions) {
  const client = new OcppClient(OCPP_IDENTITY);
  for (const action of actions) {
    client.on(action, (params, respond) => void answer(action, params).then(respond));
  }
  const login = Buffer.from(`${OCPP_IDENTITY}:${OCPP_PASSWORD}`).toString("base64");
  const connect = () =>
    new Promise((resolve, reject) => {
      client.on("error", reject);
      client.on("connect", resolve);
      client.connect(`${OCPP_URL}/`, { Authorization: `Basic ${login}` });
    });
  return {
    connect,
    call: (action, payload) => client.callRequest(action, payload),
    // It cannot close its connection; the end of the process does, also while its timers run.
    close: () => process.exit(),
  };
}

module.exports = { ocppTs };
