"use strict";
// What a charging station of OCPP 2.0.1 says and answers.

const { randomUUID } = require("node:crypto");

const VARIABLES = {
  ProfileStackLevel: "5",
  RateUnit: "A",
  TxUpdatedInterval: "60",
  TxUpdatedMeasurands: "Energy.Active.Import.Register",
};
const ID_TOKEN = { idToken: "04A2B3C4", type: "ISO14443" };
const EVSE = { id: 1, connectorId: 1 };
const ACCEPTED = { status: "Accepted" };

class ChargePoint201 {
  #transaction = null;
  #variables = new Map(Object.entries(VARIABLES));

  constructor(call, outlet, library) {
    this.call = call;
    this.outlet = outlet;
    this.library = library;
  }

  async boot(reason = "PowerUp") {
    const chargingStation = { vendorName: this.library, model: "2.0.1", firmwareVersion: "1.0" };
    const answer = await this.call("BootNotification", { reason, chargingStation });
    this.outlet.setClock(answer.currentTime);
    await this.tellState();
  }

  async heartbeat() {
    this.outlet.setClock((await this.call("Heartbeat", {})).currentTime);
    await this.tellMeter();
  }

  async park() {
    this.outlet.park();
    await this.tellState();
  }

  async plug(idToken = ID_TOKEN, remoteStartId = undefined) {
    this.outlet.plug();
    this.outlet.settle();
    await this.tellState();
    if (remoteStartId === undefined) await this.call("Authorize", { idToken });
    this.#transaction = { id: randomUUID(), seqNo: 0 };
    const triggerReason = remoteStartId === undefined ? "Authorized" : "RemoteStart";
    await this.#tellTransaction("Started", triggerReason, { evse: EVSE, idToken }, { remoteStartId });
    await this.call("NotifyEVChargingNeeds", {
      evseId: EVSE.id,
      chargingNeeds: {
        requestedEnergyTransfer: "AC_three_phase",
        departureTime: new Date(this.outlet.now().getTime() + 4 * 3_600_000).toISOString(),
        acChargingParameters: { energyAmount: 20_000, evMinCurrent: 6, evMaxCurrent: 32, evMaxVoltage: 230 },
      },
    });
  }

  async unplug(stoppedReason = "EVDisconnected", triggerReason = "EVDeparted") {
    this.outlet.unplug();
    await this.#tellTransaction("Ended", triggerReason, {}, { stoppedReason });
    this.#transaction = null;
    await this.tellState();
  }

  async tellState() {
    const { outlet } = this;
    await this.call("StatusNotification", {
      timestamp: outlet.now().toISOString(),
      connectorStatus: outlet.isOccupied || outlet.isParked ? "Occupied" : "Available",
      evseId: EVSE.id,
      connectorId: EVSE.connectorId,
    });
  }

  async tellMeter() {
    if (this.#transaction !== null) await this.#tellTransaction("Updated", "MeterValuePeriodic");
    else await this.#tellIdleMeter();
  }

  async tellTheRest() {
    const now = this.outlet.now().toISOString();
    await this.call("DataTransfer", { vendorId: "com.example", messageId: "a", data: { b: 1 } });
    await this.call("FirmwareStatusNotification", { status: "Idle" });
    await this.call("LogStatusNotification", { status: "Idle" });
    await this.call("SecurityEventNotification", { type: "SettingSystemTime", timestamp: now });
    const event = { eventId: 1, timestamp: now, trigger: "Delta", actualValue: "true" };
    const where = { component: { name: "ChargingStation" }, variable: { name: "Problem" } };
    const eventData = [{ ...event, eventNotificationType: "HardWiredNotification", ...where }];
    await this.call("NotifyEvent", { generatedAt: now, seqNo: 0, eventData });
    await this.call("NotifyReport", { requestId: 1, generatedAt: now, seqNo: 0 });
    await this.#tellIdleMeter();
  }

  // For each request: the answer, and what follows once it is sent.
  answers = {
    GetVariables: ({ getVariableData }) => [
      {
        getVariableResult: getVariableData.map(({ component, variable }) => {
          const attributeValue = this.#variables.get(variable.name);
          const attributeStatus = attributeValue === undefined ? "UnknownVariable" : "Accepted";
          return { component, variable, attributeStatus, attributeValue };
        }),
      },
    ],
    SetVariables: ({ setVariableData }) => {
      for (const { variable, attributeValue } of setVariableData) this.#variables.set(variable.name, attributeValue);
      const set = ({ component, variable }) => ({ component, variable, attributeStatus: "Accepted" });
      return [{ setVariableResult: setVariableData.map(set) }];
    },
    SetChargingProfile: ({ chargingProfile: profile }) => {
      const isOfAnother = profile.transactionId !== undefined && profile.transactionId !== this.#transaction?.id;
      if (isOfAnother) return [{ status: "Rejected", statusInfo: { reasonCode: "TxNotFound" } }];
      this.outlet.put({
        id: profile.id,
        purpose: profile.chargingProfilePurpose,
        level: profile.stackLevel,
        limit_a: profile.chargingSchedule[0].chargingSchedulePeriod[0].limit,
      });
      return [ACCEPTED, () => this.#obey()];
    },
    ClearChargingProfile: ({ chargingProfileId }) => [
      { status: this.outlet.clear(chargingProfileId) ? "Accepted" : "Unknown" },
      () => this.#obey(),
    ],
    GetCompositeSchedule: ({ evseId, duration }) => [
      {
        status: "Accepted",
        schedule: {
          evseId,
          duration,
          scheduleStart: this.outlet.now().toISOString(),
          chargingRateUnit: "A",
          chargingSchedulePeriod: [{ startPeriod: 0, limit: this.outlet.offered_a() }],
        },
      },
    ],
    TriggerMessage: ({ requestedMessage }) => {
      if (requestedMessage === "StatusNotification") return [ACCEPTED, () => this.tellState()];
      if (requestedMessage === "MeterValues") return [ACCEPTED, () => this.#tellIdleMeter("Trigger")];
      if (this.#transaction === null) return [{ status: "Rejected" }];
      return [ACCEPTED, () => this.#tellUpdate("Trigger", { evse: EVSE })];
    },
    RequestStartTransaction: ({ idToken, remoteStartId }) => [ACCEPTED, () => this.plug(idToken, remoteStartId)],
    RequestStopTransaction: ({ transactionId }) =>
      transactionId === this.#transaction?.id
        ? [ACCEPTED, () => this.unplug("Remote", "RemoteStop")]
        : [{ status: "Rejected" }],
    Reset: () => [
      { status: this.#transaction === null ? "Accepted" : "Scheduled" },
      () => (this.#transaction === null ? this.boot("RemoteReset") : undefined),
    ],
  };

  async #obey() {
    if (this.outlet.settle()) await this.#tellUpdate("ChargingStateChanged");
  }

  // What was asked for while a transaction ran may have its turn when that is over.
  async #tellUpdate(triggerReason, more = {}) {
    if (this.#transaction !== null) await this.#tellTransaction("Updated", triggerReason, more);
  }

  async #tellTransaction(eventType, triggerReason, more = {}, info = {}) {
    const { outlet } = this;
    const { id: transactionId, seqNo } = this.#transaction;
    this.#transaction.seqNo += 1;
    const chargingState = !outlet.isOccupied ? "Idle" : outlet.drawn_a > 0 ? "Charging" : "SuspendedEVSE";
    const context = { Started: "Transaction.Begin", Updated: "Sample.Periodic", Ended: "Transaction.End" }[eventType];
    await this.call("TransactionEvent", {
      eventType,
      timestamp: outlet.now().toISOString(),
      triggerReason,
      seqNo,
      transactionInfo: { transactionId, chargingState, ...info },
      meterValue: [this.#meterValue(context)],
      ...more,
    });
  }

  async #tellIdleMeter(context = "Sample.Clock") {
    await this.call("MeterValues", { evseId: EVSE.id, meterValue: [this.#meterValue(context)] });
  }

  #meterValue(context) {
    const sampledValue = this.outlet
      .readings()
      .map(([measurand, unit, value, phase]) => ({ value, context, measurand, phase, unitOfMeasure: { unit } }));
    return { timestamp: this.outlet.now().toISOString(), sampledValue };
  }
}

module.exports = { ChargePoint201 };
