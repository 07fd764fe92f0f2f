"""The fault suite: `python3 -m tests.faults --minutes 20 --seed 1`.

Starts stores, a web server, several workers and receivers of its own, posts webhooks of simulated
lives, injects faults at random moments, and compares in the end what was acknowledged with what
arrived. Leaves with 1 if anything is lost, undelivered or doubled.
"""

import argparse
import sys
from pathlib import Path
from tempfile import mkdtemp

from tests.faults.fairness import measure
from tests.faults.faults import FAULTS
from tests.faults.report import write_docs
from tests.faults.run import Wanted, run
from tests.faults.stage import Plan

NAMES = ("F1", "F3", *(fault.name for fault in FAULTS if fault.name != "F1"))


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    folder = asked.out or Path(mkdtemp(prefix="bridge-faults-"))
    if asked.fairness:
        measured = measure(folder)
        sys.stdout.write(f"{measured}\n{'Fair' if measured.is_fair else 'NOT FAIR'}.\n")
        return 0 if measured.is_fair else 1
    told = run(_wanted(asked), folder)
    sys.stdout.write(told.text())
    for kind in ("lost", "undelivered", "doubled", "wrong"):
        for problem in getattr(told.verdict, kind)[:20]:
            sys.stdout.write(f"{kind}: {problem.what}\n")
    sys.stdout.write(f"\nThe raw record is in {folder}.\n")
    if asked.write_docs:
        write_docs(told)
    return 0 if told.verdict.kept_the_promise else 1


def _wanted(asked: argparse.Namespace) -> Wanted:
    faults = tuple(name.upper() for name in asked.faults.split(",") if name)
    if unknown := set(faults) - set(NAMES):
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    plan = Plan(
        seed=asked.seed,
        mortal=asked.workers if "F3" not in faults else max(1, asked.workers // 2),
        stopping=asked.workers - asked.workers // 2 if "F3" in faults else 0,
        exits="F1" in faults,
        share=0.05 if "F13" in faults else 0.0,
        hold=asked.hold,
    )
    return Wanted(
        plan=plan,
        minutes=asked.minutes,
        rate=asked.rate,
        faults=faults,
        hastened=asked.hastened,
        patience=asked.patience,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.faults", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=5.0, help="of load and faults (5)")
    add("--seed", type=int, default=1, help="of the lives, the moments and the choices (1)")
    add("--faults", default=",".join(NAMES), help="which, such as f1,f3,f8 (all)")
    add("--rate", type=float, default=48.0, help="webhooks a second (48)")
    add("--workers", type=int, default=6, help="half of them are killed, half stopped (6)")
    add("--hastened", type=float, default=1.0, help="faults so many times as often (1)")
    add("--hold", type=int, default=180, help="seconds of BRIDGE_IDENTITY_HOLD (180)")
    add("--patience", type=float, default=900.0, help="seconds to deliver all after the end (900)")
    add("--out", type=Path, help="folder of the raw record (a new temporary one)")
    add("--write-docs", action="store_true", help="put the table into docs/reliability.md")
    add("--fairness", action="store_true", help="measure a healthy destination beside a hung one")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
