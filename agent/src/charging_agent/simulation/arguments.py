"""Arguments of `python -m charging_agent.simulation`."""

import argparse
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from charging_agent.simulation.simulation import InformationKind, Policy

_DESCRIPTION = """Replay recorded charging sessions under one or more policies with a virtual clock, and show what each
delivers and costs. Without --sessions it runs on the sessions of a made-up workplace."""

_EPILOG = """example:
  python -m charging_agent.simulation --sessions caltech_sessions.csv.gz --from 2019-09-01 --to 2019-09-30
      --timezone America/Los_Angeles --tariff tariff.json --policy uncontrolled equal --picture out/september.png

The sessions of a period are those that arrived in it. Energy that does not fit into a stay at the charging point's
power counts for nobody. The bill covers whole calendar months: energy by time of use, and the demand charge on each
month's highest step. docs/plan.md explains the figures."""

_STEP = re.compile(r"(\d+)\s*(s|min|h)")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the user asked for."""

    sessions: Path | None
    """CSV of sessions; None: generated ones."""

    first: date
    """First local day."""

    to: date | None
    """`--to` as given; None: the last day that has sessions, or two weeks of generated ones."""

    zone: ZoneInfo
    tariff: Path | None
    feeder_kw: float
    voltage_v: float
    max_current_a: float
    information: InformationKind
    policies: tuple[Policy, ...]
    whole_amperes: bool
    follows_rules: bool
    step_s: int
    load: Path | None
    pv: Path | None
    taper_percent: float
    whole_steps: bool
    json: Path | None
    schedule: Path | None
    picture: Path | None


def parse_arguments(words: list[str] | None = None) -> Arguments:
    """Parse the command line; exits with a message where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m charging_agent.simulation",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_site(parser)
    _add_policies(parser)
    _add_outputs(parser)
    found = parser.parse_args(words)
    groups: list[list[Policy]] = found.policy or []
    policies = tuple(dict.fromkeys(policy for group in groups for policy in group))
    return Arguments(
        sessions=found.sessions,
        first=found.first,
        to=found.to,
        zone=found.timezone,
        tariff=found.tariff,
        feeder_kw=found.feeder_kw,
        voltage_v=found.voltage_v,
        max_current_a=found.max_current_a,
        information=InformationKind(found.information),
        policies=policies or tuple(Policy),
        whole_amperes=found.whole_amperes,
        follows_rules=found.rules == "on",
        step_s=found.step,
        load=found.load,
        pv=found.pv,
        taper_percent=found.taper_percent,
        whole_steps=found.whole_steps,
        json=found.json,
        schedule=found.schedule,
        picture=found.picture,
    )


def _add_site(parser: argparse.ArgumentParser) -> None:
    site = parser.add_argument_group("site")
    site.add_argument("--sessions", type=Path, metavar="F", help="sessions, CSV or CSV.gz with the columns of ACN-Data")
    site.add_argument("--from", dest="first", type=_day, default=date(2026, 6, 1), metavar="D", help="first local day")
    site.add_argument(
        "--to",
        type=_day,
        metavar="D",
        help="last local day, included; the first of a month after a --from on a first means the whole month before it",
    )
    site.add_argument("--timezone", type=_zone, default=ZoneInfo("UTC"), metavar="Z", help="of the site (default UTC)")
    site.add_argument("--tariff", type=Path, metavar="T", help="JSON in ACN-Sim's schema (default: a made-up tariff)")
    site.add_argument("--feeder-kw", type=_positive, default=150.0, metavar="KW", help="limit of all power (150)")
    site.add_argument("--voltage-v", type=_positive, default=208.0, metavar="V", help="of the single phase (208)")
    site.add_argument("--max-current-a", type=_positive, default=32.0, metavar="A", help="of a charging point (32)")
    site.add_argument("--load", type=Path, metavar="F", help="building: CSV of UTC time and kW")
    site.add_argument("--pv", type=Path, metavar="F", help="panels: CSV of UTC time and kW")
    site.add_argument(
        "--taper-percent",
        type=_percent,
        default=0.0,
        metavar="P",
        help="last part of each car's energy in which it takes less and less (0: ideal batteries)",
    )


def _add_policies(parser: argparse.ArgumentParser) -> None:
    policies = parser.add_argument_group("policies")
    policies.add_argument(
        "--policy",
        type=_policies,
        nargs="+",
        action="extend",
        metavar="P",
        help=f"one or several of {', '.join(Policy)} (default: all)",
    )
    policies.add_argument(
        "--information",
        choices=[kind.value for kind in InformationKind],
        default=InformationKind.ENTERED.value,
        help="what policies know of departures and energies (entered)",
    )
    policies.add_argument("--whole-amperes", action="store_true", help="charging points take 0 A or whole A from 6 on")
    policies.add_argument(
        "--rules",
        choices=["on", "off"],
        default="off",
        help="whether the guard bounds `equal` and `plan`: pause above 85 %%, ceilings of 5, 11 and 22 kW (off);"
        " `rules` follows them anyway",
    )
    policies.add_argument("--step", type=_step, default=300, metavar="S", help="between decisions, such as 5min")
    policies.add_argument(
        "--whole-steps", action="store_true", help="shorten each stay to the whole steps within, as ACN-Sim's users do"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    outputs = parser.add_argument_group("outputs, besides the table")
    outputs.add_argument("--json", type=Path, metavar="O", help="the figures")
    outputs.add_argument(
        "--schedule",
        type=Path,
        metavar="S",
        help="CSV of session_id, interval_start, power_kw; of several policies one file each, S-POLICY.csv",
    )
    outputs.add_argument("--picture", type=Path, metavar="FILE", help="PNG of the busiest week and of the cost")


def _policies(text: str) -> list[Policy]:
    try:
        return [Policy(name) for name in text.split(",") if name]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(Policy)}") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2019-09-01") from None


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time zone such as America/Los_Angeles") from None


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _percent(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _step(text: str) -> int:
    match = _STEP.fullmatch(text.strip())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 60 <= seconds <= 3600 or 3600 % seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no part of an hour such as 5min, between 1min and 1h")
    return seconds
