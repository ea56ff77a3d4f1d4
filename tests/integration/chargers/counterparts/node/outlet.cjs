"use strict";
// One outlet with a car that takes all it is offered, and its meter. Knows no version of OCPP.

const PHASES = 3;
const VOLTAGE_V = 230;
const MOST_A = 32;
const LEAST_A = 6;

class Outlet {
  #profiles = new Map();
  #ahead_ms = 0;
  #counted_ms = Infinity;
  #register_wh = 1000;
  drawn_a = 0;
  isOccupied = false;
  isParked = false;

  // The time by the central system's clock, as it was told last.
  now() {
    return new Date(Date.now() + this.#ahead_ms);
  }

  setClock(text) {
    this.#ahead_ms = Date.parse(text) - Date.now();
  }

  put(profile) {
    this.#profiles.set(profile.id, profile);
  }

  // Whether there was a profile of this id.
  clear(id) {
    return this.#profiles.delete(id);
  }

  offered_a() {
    const profiles = [...this.#profiles.values()];
    const highest = (purpose) =>
      profiles.filter((one) => one.purpose === purpose).sort((one, other) => other.level - one.level)[0]?.limit_a;
    return highest("TxProfile") ?? highest("TxDefaultProfile") ?? MOST_A;
  }

  // A car stands there, and nobody began to charge it.
  park() {
    this.isParked = true;
  }

  plug() {
    this.isOccupied = true;
    this.isParked = false;
  }

  // A TxProfile ends with its transaction.
  unplug() {
    this.isOccupied = false;
    for (const [id, profile] of this.#profiles) if (profile.purpose === "TxProfile") this.#profiles.delete(id);
    this.settle();
  }

  // Take up what is offered; whether that changed what is drawn. Nothing else does, so that each change is told.
  settle() {
    this.#count();
    const before_a = this.drawn_a;
    const offered_a = Math.min(this.offered_a(), MOST_A);
    this.drawn_a = this.isOccupied && offered_a >= LEAST_A ? offered_a : 0;
    return this.drawn_a !== before_a;
  }

  // What the meter says: measurand, unit, and a phase where it has one.
  readings() {
    this.#count();
    const currents = Array.from({ length: PHASES }, (_, line) => ["Current.Import", "A", this.drawn_a, `L${line + 1}`]);
    return [
      ["Energy.Active.Import.Register", "Wh", this.energy_wh()],
      ["Power.Active.Import", "W", this.#power_w()],
      ...currents,
    ];
  }

  energy_wh() {
    return Math.floor(this.#register_wh);
  }

  // Count what was drawn until now.
  #count() {
    const now_ms = this.now().getTime();
    this.#register_wh += (this.#power_w() * Math.max(0, now_ms - this.#counted_ms)) / 3_600_000;
    this.#counted_ms = now_ms;
  }

  #power_w() {
    return this.drawn_a * VOLTAGE_V * PHASES;
  }
}

module.exports = { Outlet };
