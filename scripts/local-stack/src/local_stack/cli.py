"""The command line of the stack: `demo` and `run`."""

import argparse
from datetime import date, timedelta
from pathlib import Path

from rich.console import Console

from ev_service.errors import EvError
from local_stack.day import LONGEST_STEP
from local_stack.run import STATE, run


def main() -> int:
    """Run the command line; the exit code is 1 if it failed."""
    arguments = _build_parser().parse_args()
    console = Console()
    try:
        if arguments.command == "run":
            return run(arguments.state, console)
        # Imported here: the drawing library takes a second and memory that a run keeps.
        from local_stack.demo import demo

        return demo(arguments, console)
    except EvError as error:
        console.print(f"[red]stopped:[/] {error.message}", soft_wrap=True)
        return 1


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local_stack", description="The whole stack as processes on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo_command = commands.add_parser(
        "demo",
        prog="make demo",
        help="play one day and show the controls",
        description="Plays one day on a clock that jumps from decision to decision, then shows seven controls at work. "
        "With make, options go into ARGS: make demo ARGS='--fast --seed 3'.",
    )
    demo_command.add_argument("--fast", action="store_true", help="no pause between decisions")
    demo_command.add_argument(
        "--day", type=date.fromisoformat, help="the day to play, YYYY-MM-DD; default: one in June"
    )
    demo_command.add_argument("--seed", type=int, default=7, help="seed of noise and overloads; default 7")
    longest_min = int(LONGEST_STEP / timedelta(minutes=1))
    demo_command.add_argument(
        "--step-min",
        type=int,
        choices=range(1, longest_min + 1),
        metavar="MINUTES",
        default=10,
        help=f"minutes between decisions, 1 to {longest_min}; default 10",
    )
    demo_command.add_argument(
        "--measured", action="store_true", help="play a day of measured sun and load from the folder EV_DATA_DIR"
    )
    run_command = commands.add_parser(
        "run",
        prog="make run",
        help="the same stack at real speed, staying up",
        description="Starts the stack at real speed on the ports of .env.example and stays up until Ctrl-C. Settings "
        "come from the environment.",
    )
    run_command.add_argument(
        "--state", type=Path, default=STATE, help="folder for passwords, keys and logs; default .state"
    )
    return parser
