"""Kills commands at random moments and looks at what they leave: nothing may be left but readable runs.

    python benchmarks/kills.py --count 200 --seed 1

Each command runs with a temporary folder and a mark of its own; it is killed (SIGKILL, the command alone, as
the kernel does for want of memory) after a random time. Within ten seconds no process may carry the mark, the
temporary folder must be empty, nothing hidden may lie beside the artifacts, and every run must be one that
`tandem report` reads. Some five minutes for 20 kills. Ends with 1 if anything was left.
"""

import argparse
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

MARK = "TANDEM_KILLS"
LIMIT_S = 10.0
LOOK_S = 0.1
TANDEM = (sys.executable, "-P", "-m", "pipelines.cli.main")
SHORT = ("--profile", "smoke", "--round-s", "0.5")
COMMANDS = {
    "compare": ("compare", "MODEL", *SHORT, "--rounds", "1", "--no-mobile"),
    "slo": ("slo", "MODEL", "--p99-ms", "50", *SHORT),
    "smoke": ("smoke", "MODEL", "--runner", "local"),
    "serve torchserve": ("serve", "torchserve", "--model", "MODEL"),
    "serve tfserving": ("serve", "tfserving", "--model", "MODEL"),
    "mobile": ("mobile", "MODEL"),
    "export": ("export", "MODEL", "--force"),
}


def tandem(words: tuple[str, ...], model: str, folder: Path, **variables: str) -> "subprocess.Popen[bytes]":
    """Start a command in `folder`, quietly, in a session of its own."""
    return subprocess.Popen(
        [*TANDEM, *(model if word == "MODEL" else word for word in words)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def carrying(mark: str) -> list[str]:
    """List the command lines of the processes that carry the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
            except OSError:
                continue
    return found


def gone_after(mark: str, temporary: Path) -> float | None:
    """Return the seconds until no process and no temporary folder is left; None if that takes too long."""
    started = time.monotonic()
    while time.monotonic() - started < LIMIT_S:
        if not carrying(mark) and not any(temporary.iterdir()):
            return time.monotonic() - started
        time.sleep(LOOK_S)
    return None


def unreadable(folder: Path, model: str) -> list[str]:
    """List runs that `tandem report` does not read; a smoke test's folder must hold its results."""
    found = []
    for run in sorted((folder / "runs").glob("2*")):
        if run.name.endswith("-smoke") or "-smoke-" in run.name:
            readable = (run / "smoke.xml").is_file()
        else:
            readable = tandem(("report", str(run)), model, folder).wait(120) == 0
        if not readable:
            found.append(f"unreadable: {run.name}")
    return found


def kill_once(name: str, model: str, folder: Path, after_s: float) -> tuple[list[str], float | None]:
    """Start a command, kill it after `after_s`: what is wrong then, and seconds until all was gone."""
    mark, temporary = secrets.token_hex(8), Path(tempfile.mkdtemp(dir=folder, prefix="tmp-"))
    process = tandem(COMMANDS[name], model, folder, **{MARK: mark, "TMPDIR": str(temporary)})
    time.sleep(after_s)
    process.kill()
    process.wait()
    took_s = gone_after(mark, temporary)
    wrong = [] if took_s is not None else [*carrying(mark), *map(str, temporary.iterdir())]
    wrong += [f"left: {path}" for path in (folder / "artifacts").rglob(".*-*")]
    wrong += unreadable(folder, model)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    shutil.rmtree(temporary, ignore_errors=True)
    return wrong, took_s


def main() -> int:
    """Kill, print a line per kill and a summary; 1 if anything was left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="kills")
    parser.add_argument("--seed", type=int, default=1, help="of the commands and the moments")
    parser.add_argument(
        "--within-s", type=float, default=20.0, help="the latest moment, seconds after the start"
    )
    parser.add_argument("--model", default="digits_cnn", help="a small model")
    parser.add_argument("--artifacts", type=Path, help="begin with a copy of these instead of an export")
    options = parser.parse_args()
    chance, bad, times = random.Random(options.seed), 0, []  # noqa: S311 - moments, no secrets
    kills: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        if options.artifacts:
            shutil.copytree(options.artifacts, folder / "artifacts")
        if tandem(("export", "MODEL"), options.model, folder).wait(600) != 0:
            raise SystemExit("the artifacts could not be exported")
        for number in range(options.count):
            command, after_s = chance.choice(list(COMMANDS)), chance.uniform(0.05, options.within_s)
            wrong, took_s = kill_once(command, options.model, folder, after_s)
            kills[command] += 1
            bad += bool(wrong)
            times += [took_s] if took_s is not None else []
            told = f"gone after {took_s:.1f} s" if took_s is not None else "NOT GONE"
            print(f"{number + 1}: {command} after {after_s:.1f} s: {told} {' | '.join(wrong)}", flush=True)
    print(f"{sum(kills.values())} kills ({dict(kills)}): {bad} left something; the slowest was gone after "
          f"{max(times, default=0):.1f} s")  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
