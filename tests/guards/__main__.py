"""python3 -m tests.guards [words]: take out every guard (whose name has the words), one by one."""

import sys

from tests.guards.guards import GUARDS
from tests.guards.run import SOME_FAILED, copy, outcome, without


def main(words: str) -> int:
    wanted = [guard for guard in GUARDS if words in guard.name]
    if not wanted:
        names = "\n".join(f"  {guard.name}" for guard in GUARDS)
        sys.stderr.write(f"No guard's name has {words!r}. There are:\n{names}\n")
        return 2
    untested = 0
    with copy() as project:
        for number, guard in enumerate(wanted, 1):
            with without(guard, project):
                ran = outcome(project, guard.held_by)
            held = ran.code == SOME_FAILED
            untested += not held
            said = "its test fails" if held else f"NOT HELD (pytest's exit code {ran.code})"
            sys.stdout.write(f"{number:3} of {len(wanted)}  {guard.name}: {said}\n")
            sys.stdout.flush()
    return 1 if untested else 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
