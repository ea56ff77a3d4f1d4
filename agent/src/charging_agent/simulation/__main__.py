"""`python -m charging_agent.simulation`: what each policy would have delivered and cost on recorded sessions."""

import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from charging_agent.simulation.arguments import Arguments, parse_arguments
from charging_agent.simulation.generated_sessions import generate_sessions
from charging_agent.simulation.picture import draw
from charging_agent.simulation.power_series import PowerSeriesError, read_power
from charging_agent.simulation.results import format_table, write_json, write_schedule
from charging_agent.simulation.sessions import (
    ChargingSession,
    SessionsError,
    last_day,
    read_sessions,
    select_period,
    trim_to_steps,
)
from charging_agent.simulation.simulation import Policy, PolicyRun, Simulation, run_policy
from charging_agent.simulation.tariff import TariffError, create_default_tariff, read_tariff
from charging_agent.simulation.virtual_site import SiteLimits

_GENERATED_DAYS, _HISTORY_DAYS = 14, 28


def main(words: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parse_arguments(words)
    try:
        simulation = _build_simulation(arguments)
        runs = [_run(simulation, policy, arguments) for policy in arguments.policies]
        _write(simulation, runs, arguments)
    except (SessionsError, TariffError, PowerSeriesError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(format_table([run.result for run in runs]))
    return 0


def _build_simulation(arguments: Arguments) -> Simulation:
    sessions, history = _choose_sessions(arguments)
    if arguments.whole_steps:
        sessions = trim_to_steps(sessions, arguments.step_s)
    if arguments.tariff is None:
        sys.stdout.write("No --tariff: a made-up one with a dear evening and a demand charge of 12 per kW.\n")
    tariff = create_default_tariff() if arguments.tariff is None else read_tariff(arguments.tariff)
    limits = SiteLimits(
        arguments.feeder_kw, arguments.voltage_v, arguments.max_current_a, whole_amperes=arguments.whole_amperes
    )
    simulation = Simulation.create(sessions, tariff, arguments.zone, limits, arguments.step_s)
    load_kw, pv_kw = read_power(arguments.load, simulation.grid), read_power(arguments.pv, simulation.grid)
    _describe(sessions, limits, tariff.name)
    return replace(
        simulation,
        history=history,
        load_kw=load_kw,
        pv_kw=pv_kw,
        capacity_kwp=float(pv_kw.max()),
        follows_rules=arguments.follows_rules,
        taper_share=arguments.taper_percent / 100,
    )


def _choose_sessions(
    arguments: Arguments,
) -> tuple[tuple[ChargingSession, ...], tuple[ChargingSession, ...]]:
    """The sessions to replay, and those before them."""
    if arguments.sessions is None:
        to = arguments.to or arguments.first + timedelta(days=_GENERATED_DAYS - 1)
        sys.stdout.write("No --sessions: cars of a made-up workplace, no recording.\n")
        before = arguments.first - timedelta(days=_HISTORY_DAYS)
        generated = generate_sessions(before, last_day(arguments.first, to), arguments.zone)
        sessions = select_period(generated, arguments.first, last_day(arguments.first, to), arguments.zone)
        return sessions, generated[: len(generated) - len(sessions)]
    recorded = read_sessions(arguments.sessions)
    if not recorded:
        raise SessionsError(f"{arguments.sessions} has no sessions")
    to = arguments.to or recorded[-1].arrival.astimezone(arguments.zone).date()
    last = last_day(arguments.first, to)
    sessions = select_period(recorded, arguments.first, last, arguments.zone)
    if not sessions:
        days = f"{recorded[0].arrival:%Y-%m-%d} to {recorded[-1].arrival:%Y-%m-%d}"
        raise SessionsError(f"no session arrived from {arguments.first} to {last}; the file has {days}")
    return sessions, tuple(session for session in recorded if session.arrival < sessions[0].arrival)


def _describe(sessions: tuple[ChargingSession, ...], limits: SiteLimits, tariff: str) -> None:
    recorded_kwh = sum(session.delivered_kwh for session in sessions)
    possible = [session.deliverable_kwh(limits.max_power_kw) for session in sessions]
    short = sum(kwh < session.delivered_kwh - 0.1 for kwh, session in zip(possible, sessions, strict=True))
    doubled = sum(session.connector > 1 for session in sessions)
    sys.stdout.write(
        f"{len(sessions)} sessions, {sessions[0].arrival:%Y-%m-%d %H:%M} to"
        f" {max(session.departure for session in sessions):%Y-%m-%d %H:%M} UTC, {recorded_kwh:,.0f} kWh; tariff"
        f" {tariff}\n"
    )
    if short:
        sys.stdout.write(
            f"{short} sessions took more than {limits.max_power_kw:.2f} kW could have given:"
            f" {sum(possible):,.0f} kWh count as deliverable\n"
        )
    if doubled:
        sys.stdout.write(f"{doubled} sessions overlap another one at their station and get a connector of their own\n")


def _run(simulation: Simulation, policy: Policy, arguments: Arguments) -> PolicyRun:
    shown: list[str] = []

    def report(at: datetime) -> None:
        day = f"{at.astimezone(arguments.zone):%Y-%m-%d}"
        if sys.stderr.isatty() and day not in shown[-1:]:
            shown.append(day)
            sys.stderr.write(f"\r{policy}: {day}")
            sys.stderr.flush()

    run = run_policy(simulation, policy, arguments.information, report)
    sys.stderr.write("\r" if shown else "")
    sys.stderr.write(f"{policy}: {run.result.decisions} decisions, done\n")
    return run


def _write(simulation: Simulation, runs: list[PolicyRun], arguments: Arguments) -> None:
    if arguments.json is not None:
        settings: dict[str, object] = {
            "step_s": arguments.step_s,
            "feeder_kw": arguments.feeder_kw,
            "max_power_kw": simulation.limits.max_power_kw,
            "whole_amperes": arguments.whole_amperes,
            "rules": "on" if arguments.follows_rules else "off",
            "timezone": arguments.zone.key,
            "generated": arguments.sessions is None,
        }
        write_json(arguments.json, [run.result for run in runs], settings)
    for run in runs if arguments.schedule is not None else ():
        assert arguments.schedule is not None
        write_schedule(_schedule_file(arguments.schedule, run, is_only=len(runs) == 1), run.schedule)
    if arguments.picture is not None:
        other_kw = simulation.load_kw - simulation.pv_kw
        draw(runs, other_kw, simulation.zone, simulation.limits.feeder_kw, arguments.picture)


def _schedule_file(file: Path, run: PolicyRun, *, is_only: bool) -> Path:
    return file if is_only else file.with_name(f"{file.stem}-{run.policy}{file.suffix}")


if __name__ == "__main__":
    sys.exit(main())
