#!/usr/bin/env python3
"""The NAR hash of a tree: akb against nix-hash. Prints ratios.

    cargo build --release --example nar && python3 benches/nar_hash.py TREE [--rounds N]

Both are one process with one thread, and must print the same hash. The tree is in the page cache.
"""

import argparse
import os
import pathlib
import sys

import beside

HERE = pathlib.Path(__file__).resolve().parent.parent


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tree", type=pathlib.Path)
    target = HERE / f"target/{os.uname().machine}-unknown-linux-gnu/release/examples/nar"
    arguments.add_argument("--nar", type=pathlib.Path, default=target)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    akb = lambda: beside.command([options.nar, options.tree]).strip()  # noqa: E731
    nix = lambda: beside.command(["nix-hash", "--type", "sha256", options.tree]).strip()  # noqa: E731
    ours, theirs = akb(), nix()
    if ours.removeprefix("sha256:") != theirs:
        sys.exit(f"akb says {ours}, nix-hash {theirs}")
    size = sum(path.lstat().st_size for path in options.tree.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{size / 1e9:.2f} GB, {theirs}")
    beside.report(beside.rounds({"akb": akb, "nix-hash": nix}, options.rounds), size / 1e9, "s per GB")


main()
