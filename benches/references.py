#!/usr/bin/env python3
"""References in a tree: akb's one pass against a pass a path, and scanning against copying memory. Prints ratios.

    cargo build --release && python3 benches/references.py TREE [--paths N] [--akb FILE] [--rounds N] [--work FOLDER] [--scan-only]

Overwriting: into a copy of TREE, references to N paths are planted (a text file for each, and the end of every hundredth
file); akb overwrites all in one pass. Beside it, a pass a path: `sed -i` over all files, which is how references are
usually removed. Scanning: akb looks for the N paths with one thread; beside it, as many bytes are copied in memory.
"""

import argparse
import ctypes
import hashlib
import os
import pathlib
import subprocess
import tempfile

import beside

HERE = pathlib.Path(__file__).resolve().parent.parent


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tree", type=pathlib.Path)
    arguments.add_argument("--paths", type=int, default=40)
    arguments.add_argument("--akb", type=pathlib.Path, default=HERE / f"target/{os.uname().machine}-unknown-linux-gnu/release/akb")
    arguments.add_argument("--scan-only", action="store_true", help="sed takes minutes for a gigabyte")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "akb-bench-references")
    options = arguments.parse_args()
    paths = [f"/bench/{hashlib.sha256(str(number).encode()).hexdigest()[:32]}-input-{number}" for number in range(options.paths)]
    tree = options.work / "tree"

    def prepare():
        beside.copy(options.tree, tree)
        for number, path in enumerate(paths):
            (tree / f"planted-{number}.txt").write_text(f"built with {path}/bin/cc\n")
        files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
        for number, file in enumerate(files[::100]):
            with open(file, "ab") as out:
                out.write(paths[number % len(paths)].encode() + b"/lib\0")

    find = [option for path in paths for option in ("--find", path)]

    def one_pass():
        beside.command([options.akb, "references", tree, *find, "--replace", "--functional"])

    def pass_a_path():
        for path in paths:
            word = path.split("/")[2][:32]
            subprocess.run(["find", tree, "-type", "f", "-exec", "sed", "-i", "-e", f"s|/bench/{word}-|/bench/{'e' * 32}-|g", "{}", "+"], check=True)

    options.work.mkdir(parents=True, exist_ok=True)
    prepare()
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{size / 1e9:.2f} GB, {len(paths)} paths")
    if not options.scan_only:
        beside.report(beside.rounds({"akb": one_pass, "sed, a pass a path": pass_a_path}, options.rounds, prepare))

    # Exit status 6: something was found.
    scan = lambda: subprocess.run([options.akb, "--jobs", "1", "references", tree, *find], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: E731
    block = 64 << 20
    source, target = ctypes.create_string_buffer(os.urandom(block), block), ctypes.create_string_buffer(block)

    def copying():
        for _ in range(size // block + 1):
            ctypes.memmove(target, source, block)

    prepare()
    medians = beside.rounds({"akb references": scan, "memory copy": copying}, options.rounds)
    beside.report(medians, size / 1e9, "s per GB")
    print(f"scanning runs at {medians['memory copy'][0] / medians['akb references'][0]:.2f} of the speed of copying")


main()
