#!/usr/bin/env python3
"""Runs the gates of the ELF editor over the corpus and prints a table of counts.

    corpus.py fetch FOLDER && cargo build --release --example gates && gates.py FOLDER EDITOR [UNIT..]

EDITOR is the example `gates` (edit.rs). Every file of FOLDER/control gets a long search path and, if it has one, a longer
interpreter; then it is loaded, stripped by GNU strip and llvm-strip and loaded again, and read by readelf and eu-elflint,
each time beside the untouched file. Needs binutils, llvm, elfutils and, for foreign machines, qemu-user; what is not
there is counted as not checked. Details go to FOLDER/results.jsonl. Ends with 1 if a gate does not hold.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
LOADER = HERE / "loader.py"
TRIPLES = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "i386": "i386-linux-gnu"}
# Group of units -> (Debian architecture whose dynamic linker and Python load it, emulator).
HOSTS = {
    "x86_64": ("amd64", None), "debian-amd64": ("amd64", None),
    "aarch64": ("arm64", "qemu-aarch64"), "debian-arm64": ("arm64", "qemu-aarch64"),
    "i686": ("i386", "qemu-i386"), "debian-i386": ("i386", "qemu-i386"),
    "musl-x86_64": ("amd64", None), "musl-aarch64": ("arm64", "qemu-aarch64"),
}
LINKERS = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1", "i386": "ld-linux.so.2"}
STRIPS = {"strip": ["strip", "-S"], "llvm-strip": ["llvm-strip", "-S"], "strip -s": ["strip"], "llvm-strip -s": ["llvm-strip"]}
# GNU strip knows one machine; the others' are called by the triple.
CROSS = {"arm64": "aarch64-linux-gnu-strip"}


def run(command, timeout=120, **options):
    """(exit status, output); a time-out counts as a status of its own."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **options)
    except subprocess.TimeoutExpired:
        return "timeout", ""
    return done.returncode, done.stdout.decode(errors="replace")


def numberless(text):
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{6,}\b|\d+", "N", text)


class Gates:
    def __init__(self, folder, editor, jobs):
        self.folder, self.editor = folder, editor
        self.pool = concurrent.futures.ThreadPoolExecutor(jobs)
        self.control = folder / "control"
        self.cache_path = folder / "control.json"
        # What readelf and eu-elflint say of untouched files, by hash.
        self.cache = json.loads(self.cache_path.read_text()) if self.cache_path.exists() else {}
        for group, (arch, _) in HOSTS.items():
            for letter in "abc":
                links = folder / "loaders" / group / (letter * 200)
                links.mkdir(parents=True, exist_ok=True)
                for name, target in self.linkers(arch):
                    link = links / name
                    link.unlink(missing_ok=True)
                    link.symlink_to(target)

    def linkers(self, arch):
        root = self.control / f"debian-{arch}"
        own = pathlib.Path("/lib64") if arch == "amd64" else root / "usr/lib"
        yield LINKERS[arch], own / LINKERS[arch]
        machine = TRIPLES[arch].split("-")[0]
        yield f"ld-musl-{machine}.so.1", root / f"usr/lib/{machine}-linux-musl/libc.so"

    # Loading.

    def library_path(self, root, arch):
        lib = root / "usr/lib" / TRIPLES[arch]
        folders = [lib, root / "usr/lib"]
        folders += [lib / name for name in ("samba", "samba/ldb", "pulseaudio", "libreoffice", "blas", "lapack", "dovecot")]
        folders += [root / "usr/lib" / name for name in ("libreoffice/program", "dovecot", "vlc", "R/lib", "strongswan", "ipsec")]
        folders += sorted({path.parent for path in (root / "usr/lib").glob("*/lib*.so.*")} - set(folders))[:40]
        return ":".join(str(folder) for folder in folders if folder.is_dir())

    def load(self, group, root, files):
        """File -> why it does not load; "" where it does, None where nobody could try."""
        arch, emulator = HOSTS[group]
        if group.startswith("musl"):
            return self.list_musl(arch, emulator, root, files)
        own = root if group.startswith("debian") else self.control / f"debian-{arch}"
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        command = [sys.executable, LOADER]
        if group == "debian-amd64":
            env["LD_LIBRARY_PATH"] = self.library_path(root, arch)
        elif group != "x86_64":
            if emulator.endswith("i386"):
                emulator = None
            elif not shutil.which(emulator):
                return dict.fromkeys(files)
            # Its standard library is this Python's own, but for the compiled modules.
            env["PYTHONHOME"] = sys.base_prefix
            env["PYTHONPATH"] = str(own / "usr/lib/python3.11/lib-dynload")
            linker = own / "usr/lib" / LINKERS[arch]
            command = [linker, "--library-path", self.library_path(own, arch), own / "usr/bin/python3.11", LOADER]
            if emulator:
                command.insert(0, emulator)
        names = {str(root / file): file for file in files}
        done = subprocess.run(command, input="\n".join(names), capture_output=True, text=True, env=env)
        if done.returncode != 0:
            print(f"{root}: loader: {done.returncode} {done.stderr[-1500:]}", file=sys.stderr)
            return dict.fromkeys(files, f"loader ended with {done.returncode}")
        return {names[path]: reason for path, reason in json.loads(done.stdout).items()}

    def list_musl(self, arch, emulator, root, files):
        linker = dict(self.linkers(arch))[f"ld-musl-{TRIPLES[arch].split('-')[0]}.so.1"]
        if not linker.exists() or emulator and not shutil.which(emulator):
            return dict.fromkeys(files)

        def one(file):
            status, text = run([*([emulator] if emulator else []), linker, "--list", root / file])
            lines = sorted({re.sub(r"\(0x\w+\)", "", line.replace(str(root), "")) for line in text.splitlines()})
            # Python's own symbols are always missing here: what counts is that nothing more is.
            return "\n".join(line for line in lines if "rror" in line or "not found" in line) + (f"status {status}" if status not in (0, 127) else "")

        return dict(zip(files, self.pool.map(one, files)))

    def start(self, group, root, file):
        """What the kernel and the dynamic linker do with a program, and what it says of its version."""
        arch, emulator = HOSTS[group]
        if group.startswith("musl"):
            return None
        own = root if group.startswith("debian") else self.control / f"debian-{arch}"
        paths = {} if group == "x86_64" else {"LD_LIBRARY_PATH": self.library_path(own, arch)}
        trace = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "1", "LD_BIND_NOW": "1"}
        facts = []
        for variables, arguments in ((trace, []), ({}, ["--version"])):
            variables = variables | paths
            # Programs of packages are not asked to run beyond user programs.
            if arguments and group.startswith("debian") and "/bin/" not in f"/{file}":
                continue
            if emulator:
                if not shutil.which(emulator):
                    return None
                options = [option for key, value in variables.items() for option in ("-E", f"{key}={value}")]
                command, env = [emulator, "-L", own, *options, root / file, *arguments], {}
            else:
                command, env = [root / file, *arguments], variables
            env = env | {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C"}
            nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 and not emulator else {}
            scratch = self.folder / "scratch"
            scratch.mkdir(exist_ok=True)
            scratch.chmod(0o777)
            try:
                status, text = run(command, timeout=30, env=env, cwd=scratch, start_new_session=True, **nobody)
            except OSError as error:
                status, text = f"errno {error.errno}", ""
            text = re.sub(r"0x[0-9a-f]+", "", text.replace(str(root), ""))
            text = re.sub(r"\S*/ld-(linux|musl)\S*", "LD", text)
            facts.append([status, sorted(set(text.splitlines())) if arguments == [] else status])
        return facts

    # Reading.

    def readelf(self, path):
        what = ["-a"] if path.stat().st_size < 8 << 20 else ["-h", "-l", "-S", "-d", "-V", "-n", "-I", "--dyn-syms"]
        status, text = run(["readelf", "-W", *what, path], timeout=300)
        lines = [numberless(line) for line in text.splitlines() if "arning:" in line or "rror:" in line]
        return lines + ([f"status {status}"] if status == "timeout" or status and status < 0 else [])

    def elflint(self, path):
        status, text = run(["eu-elflint", "--gnu-ld", path], timeout=300)
        return [numberless(line) for line in text.splitlines() if line != "No errors"] + (["timeout"] if status == "timeout" else [])

    def read_control(self, path):
        with open(path, "rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()
        if name not in self.cache:
            self.cache[name] = {"readelf": self.readelf(path), "elflint": self.elflint(path)}
        return self.cache[name]

    def read(self, control, edited):
        old, new = self.read_control(control), {"readelf": self.readelf(edited), "elflint": self.elflint(edited)}
        return {key: sorted((collections.Counter(new[key]) - collections.Counter(old[key])).elements()) for key in new}

    # One unit.

    def unit(self, group, control):
        edited = self.folder / "edited" / control.name
        shutil.rmtree(edited, ignore_errors=True)
        edited.mkdir(parents=True)
        (self.folder / "edited").chmod(0o755)
        done = subprocess.run([self.editor, control, edited, self.folder / "loaders" / group], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"the editor ended with {done.returncode} on {control}")
        records = {record["file"]: record for record in map(json.loads, done.stdout.splitlines())}
        files = list(records)
        before, after = self.load(group, control, files), self.load(group, edited, files)
        for file, record in records.items():
            record |= {"group": group, "unit": control.name, "control": before[file], "load": after[file]}
            record["broken"] = bool(after[file]) and not before[file] or bool(
                after[file] and before[file] and self.kind(control, before[file]) != self.kind(edited, after[file]))
        programs = [file for file, record in records.items() if record.get("interpreter") and os.access(control / file, os.X_OK)]
        starts = lambda root: dict(zip(programs, self.pool.map(lambda file: self.start(group, root, file), programs)))  # noqa: E731
        old, new = starts(control), starts(edited)
        for file in programs:
            records[file]["starts"] = old[file] is not None and not (old[file] and isinstance(old[file][0][0], str))
            if old[file] != new[file]:
                records[file]["start"] = [old[file], new[file]]
        for file, read in zip(files, self.pool.map(lambda file: self.read(control / file, edited / file), files)):
            records[file] |= read
        for name, command in STRIPS.items():
            self.strip(group, name, command, control, edited, records, after, new)
        shutil.rmtree(edited)
        return records.values()

    @staticmethod
    def kind(root, reason):
        """An error without the folder."""
        return numberless(reason.replace(str(root), ""))[:300]

    def strip(self, group, name, command, control, edited, records, loaded, started):
        """Strips copies of a unit, edited and untouched: whatever then happens must happen to both."""
        if name.startswith("strip") and HOSTS[group][0] in CROSS:
            command = [CROSS[HOSTS[group][0]], *command[1:]]
        if not shutil.which(command[0]):
            for record in records.values():
                record.setdefault("stripped", {})[name] = None
            return
        root, failed, loads = self.stripped(group, command, edited, records)
        suspects = [file for file in records if failed[file] or self.kind(root, loads[file] or "") != self.kind(edited, loaded[file] or "")]
        rest = [file for file in started if file not in suspects]
        starts = dict(zip(rest, self.pool.map(lambda file: self.start(group, root, file), rest)))
        suspects += [file for file in rest if starts[file] != started[file]]

        def facts(root, failed, loads, file):
            start = self.start(group, root, file) if file in started else None
            return [bool(failed[file]), self.kind(root, loads[file] or ""), start]

        found = {file: facts(root, failed, loads, file) for file in suspects}
        if suspects:
            root, failed, loads = self.stripped(group, command, control, records)
        for file, record in records.items():
            same = file not in found or found[file] == facts(root, failed, loads, file)
            reason = "" if same else [found[file], facts(root, failed, loads, file)]
            record.setdefault("stripped", {})[name] = reason
        shutil.rmtree(root)

    def stripped(self, group, command, tree, records):
        """Strips a copy of a tree. Gives it, which files that failed for, and which load."""
        root = self.folder / "stripped" / tree.name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tree, root, symlinks=True)
        failed = dict(zip(records, self.pool.map(lambda file: run([*command, root / file], timeout=300)[0], records)))
        return root, failed, self.load(group, root, list(records))


def table(records):
    count = lambda test: sum(1 for record in records if test(record))  # noqa: E731
    edited = [record for record in records if "refused" not in record]
    grown = sorted(record["grown"] for record in edited)
    rows = [
        ("files", len(records), None),
        ("refused", count(lambda record: "refused" in record), 0),
        ("load in the control", count(lambda record: record["control"] == ""), None),
        ("loads newly broken", count(lambda record: record["broken"]), 0),
        ("programs", count(lambda record: "starts" in record), None),
        ("programs that start otherwise", count(lambda record: "start" in record), 0),
    ]
    for name in STRIPS:
        checked = count(lambda record: record["stripped"][name] is not None)
        rows.append((f"broken by a later {name} (of {checked})", count(lambda record: record["stripped"][name]), 0))
    rows += [
        ("new readelf warnings", count(lambda record: record["readelf"]), 0),
        ("new eu-elflint messages", count(lambda record: record["elflint"]), 0),
        ("growth, median bytes", grown[len(grown) // 2] if grown else 0, None),
        ("files that grow by further edits", count(lambda record: record.get("further")), 0),
        ("A,B,A,B,A differs from A", sum(1 for record in edited if not record["stable"]), 0),
        ("undo inexact", sum(1 for record in edited if not record["undone"]), 0),
    ]
    return rows


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("editor", type=pathlib.Path)
    arguments.add_argument("units", nargs="*", help="only units whose GROUP/NAME contains one of these")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count())
    options = arguments.parse_args()
    gates = Gates(options.folder.resolve(), options.editor.resolve(), options.jobs)
    units = []
    for group in sorted(HOSTS):
        root = gates.control / group
        units += [(group, root)] if group.startswith("debian") else [(group, path) for path in sorted(root.glob("*")) if path.is_dir()]
    chosen = [(group, path) for group, path in units if not options.units or any(text in f"{group}/{path.name}" for text in options.units)]
    seen, records = set(), []
    with open(gates.folder / "results.jsonl", "w") as out:
        for group, path in chosen:
            for record in gates.unit(group, path):
                with open(path / record["file"], "rb") as file:
                    name = hashlib.file_digest(file, "sha256").hexdigest()
                if name not in seen:
                    seen.add(name)
                    records.append(record)
                    out.write(json.dumps(record) + "\n")
            out.flush()
            gates.cache_path.write_text(json.dumps(gates.cache))
            print(f"{group} {path.name}", file=sys.stderr)
    wrong = 0
    for name, number, aim in table(records):
        holds = aim is None or number <= aim
        wrong += not holds
        print(f"{name:44} {number:8} {'' if aim is None else 'ok' if holds else f'expected {aim}'}")
    sys.exit(1 if wrong else 0)


main()
