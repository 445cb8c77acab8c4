"""What the benches share: rounds that alternate between the contestants, and medians."""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import venv


def measure(work):
    """Wall and CPU seconds of a call, children included."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.monotonic()
    work()
    wall = time.monotonic() - start
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after))
    return wall, cpu


def command(arguments, **options):
    """Runs a command; ends the bench if it fails."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))[:300]} ended with {done.returncode}\n{done.stderr.decode(errors='replace')[-3000:]}")
    return done.stdout.decode(errors="replace")


def copy(tree, to):
    """A fresh copy of a tree, in the page cache, to be edited."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(tree, to, symlinks=True)
    os.sync()


def rounds(contestants, count, prepare=lambda: None):
    """Name -> median (wall, CPU). In every round each contestant runs once, after `prepare`."""
    times = {name: [] for name in contestants}
    for _ in range(count):
        for name, work in contestants.items():
            prepare()
            times[name].append(measure(work))
    return {name: tuple(map(statistics.median, zip(*values))) for name, values in times.items()}


def report(medians, per=1, unit="s"):
    """Prints each contestant, and how many times faster the first one is than each other one."""
    first, (wall, cpu) = next(iter(medians.items()))
    for name, (its_wall, its_cpu) in medians.items():
        print(f"{name:44} wall {its_wall / per:9.3f} {unit}  cpu {its_cpu / per:9.3f} {unit}")
    for name, (its_wall, its_cpu) in list(medians.items())[1:]:
        print(f"{first} is faster than {name}: wall {its_wall / wall:.1f} times, cpu {its_cpu / max(cpu, 1e-9):.1f} times")


def tools(folder, *packages):
    """A virtual environment with packages; gives its bin folder."""
    if not (folder / "bin").is_dir():
        venv.create(folder, with_pip=True)
        command([folder / "bin/pip", "-q", "install", *packages])
    return folder / "bin"
