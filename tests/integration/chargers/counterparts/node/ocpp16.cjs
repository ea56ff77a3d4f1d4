"use strict";
// What a charge point of OCPP 1.6 says and answers.

const CONFIGURATION = {
  ChargeProfileMaxStackLevel: "5",
  ChargingScheduleAllowedChargingRateUnit: "Current",
  MeterValueSampleInterval: "60",
  MeterValuesSampledData: "Energy.Active.Import.Register",
};
const ID_TAG = "04A2B3C4";
const CONNECTOR = 1;
const ACCEPTED = { status: "Accepted" };

class ChargePoint16 {
  #transaction = null;
  #configuration = new Map(Object.entries(CONFIGURATION));

  constructor(call, outlet, library) {
    this.call = call;
    this.outlet = outlet;
    this.library = library;
  }

  async boot() {
    const answer = await this.call("BootNotification", {
      chargePointVendor: this.library,
      chargePointModel: "1.6",
      firmwareVersion: "1.0",
    });
    this.outlet.setClock(answer.currentTime);
    await this.call("StatusNotification", { connectorId: 0, errorCode: "NoError", status: "Available" });
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

  async plug(idTag = ID_TAG) {
    const { outlet } = this;
    await this.call("StatusNotification", { connectorId: CONNECTOR, errorCode: "NoError", status: "Preparing" });
    await this.call("Authorize", { idTag });
    const started = await this.call("StartTransaction", {
      connectorId: CONNECTOR,
      idTag,
      meterStart: outlet.energy_wh(),
      timestamp: outlet.now().toISOString(),
    });
    this.#transaction = started.transactionId;
    outlet.plug();
    outlet.settle();
    await this.tellChange();
  }

  async unplug(reason = "EVDisconnected") {
    this.outlet.unplug();
    await this.call("StopTransaction", {
      transactionId: this.#transaction,
      meterStop: this.outlet.energy_wh(),
      timestamp: this.outlet.now().toISOString(),
      reason,
      transactionData: [this.#meterValue("Transaction.End")],
    });
    this.#transaction = null;
    await this.tellState();
  }

  async tellChange() {
    await this.tellState();
    await this.tellMeter();
  }

  async tellState() {
    const { outlet } = this;
    const idle = outlet.isParked ? "Preparing" : "Available";
    const status = !outlet.isOccupied ? idle : outlet.drawn_a > 0 ? "Charging" : "SuspendedEVSE";
    const timestamp = outlet.now().toISOString();
    await this.call("StatusNotification", { connectorId: CONNECTOR, errorCode: "NoError", status, timestamp });
  }

  async tellMeter() {
    const transactionId = this.#transaction ?? undefined;
    await this.call("MeterValues", { connectorId: CONNECTOR, transactionId, meterValue: [this.#meterValue()] });
  }

  async tellTheRest() {
    await this.call("DataTransfer", { vendorId: "com.example", messageId: "a", data: "b" });
    await this.call("DiagnosticsStatusNotification", { status: "Idle" });
    await this.call("FirmwareStatusNotification", { status: "Idle" });
    await this.call("LogStatusNotification", { status: "Idle" });
    const timestamp = this.outlet.now().toISOString();
    await this.call("SecurityEventNotification", { type: "SettingSystemTime", timestamp });
  }

  // For each request: the answer, and what follows once it is sent.
  answers = {
    GetConfiguration: ({ key = [...this.#configuration.keys()] }) => [
      {
        configurationKey: key
          .filter((name) => this.#configuration.has(name))
          .map((name) => ({ key: name, readonly: false, value: this.#configuration.get(name) })),
        unknownKey: key.filter((name) => !this.#configuration.has(name)),
      },
    ],
    ChangeConfiguration: ({ key, value }) => {
      this.#configuration.set(key, value);
      return [ACCEPTED];
    },
    SetChargingProfile: ({ csChargingProfiles: profile }) => {
      const isOfAnother = profile.transactionId !== undefined && profile.transactionId !== this.#transaction;
      if (isOfAnother) return [{ status: "Rejected" }];
      this.outlet.put({
        id: profile.chargingProfileId,
        purpose: profile.chargingProfilePurpose,
        level: profile.stackLevel,
        limit_a: profile.chargingSchedule.chargingSchedulePeriod[0].limit,
      });
      return [ACCEPTED, () => this.#obey()];
    },
    ClearChargingProfile: ({ id }) => [
      { status: this.outlet.clear(id) ? "Accepted" : "Unknown" },
      () => this.#obey(),
    ],
    GetCompositeSchedule: ({ connectorId, duration }) => [
      {
        status: "Accepted",
        connectorId,
        scheduleStart: this.outlet.now().toISOString(),
        chargingSchedule: {
          duration,
          chargingRateUnit: "A",
          chargingSchedulePeriod: [{ startPeriod: 0, limit: this.outlet.offered_a() }],
        },
      },
    ],
    TriggerMessage: ({ requestedMessage }) => [
      ACCEPTED,
      () => (requestedMessage === "MeterValues" ? this.tellMeter() : this.tellState()),
    ],
    RemoteStartTransaction: ({ idTag }) => [ACCEPTED, () => this.plug(idTag)],
    RemoteStopTransaction: ({ transactionId }) =>
      transactionId === this.#transaction ? [ACCEPTED, () => this.unplug("Remote")] : [{ status: "Rejected" }],
    Reset: () => [ACCEPTED, () => this.#restart()],
  };

  async #obey() {
    if (this.outlet.settle()) await this.tellChange();
  }

  async #restart() {
    if (this.#transaction !== null) await this.unplug("SoftReset");
    await this.boot();
  }

  #meterValue(context = "Sample.Periodic") {
    const sampledValue = this.outlet
      .readings()
      .map(([measurand, unit, value, phase]) => ({ value: value.toFixed(1), context, measurand, unit, phase }));
    return { timestamp: this.outlet.now().toISOString(), sampledValue };
  }
}

module.exports = { ChargePoint16 };
