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
STRIPS = {"strip -S": ["strip", "-S"], "llvm-strip -S": ["llvm-strip", "-S"], "strip": ["strip"], "llvm-strip": ["llvm-strip"]}
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
    def __init__(self, folder, editor, checks, strips, jobs):
        self.folder, self.editor, self.checks, self.jobs = folder, editor, checks, jobs
        self.strips = {name: command for name, command in STRIPS.items() if name in strips}
        self.pool = concurrent.futures.ThreadPoolExecutor(jobs)
        self.control = folder / "control"
        self.cache_path = folder / "control.json"
        # What was found out about untouched files; by hash where that is all that counts.
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
        # Files of a distribution are found by the folders that everything shares, so they can share a process.
        how = [str(self.jobs), "24" if group.startswith("debian") else "1"]
        command = [sys.executable, LOADER, *how]
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
            command = [linker, "--library-path", self.library_path(own, arch), own / "usr/bin/python3.11", LOADER, *how]
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

    def sysroot(self, own):
        """Where an emulator finds interpreters: /lib is a link below /usr on Debian, and not in the corpus."""
        top = self.folder / "loaders" / own.name
        for link in (top / "lib", top / "lib64"):
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(own / "usr/lib")
        return top

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
                command, env = [emulator, "-L", self.sysroot(own), *options, root / file, *arguments], {}
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

    def cached(self, key, make):
        """What is known of untouched files need not be found out again: the corpus is pinned."""
        if key not in self.cache:
            self.cache[key] = json.loads(json.dumps(make()))
        return self.cache[key]

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
        for record in records.values():
            record |= {"group": group, "unit": control.name}
        # What a dynamic linker is for, a dynamic linker cannot do itself: those are left as they are.
        records = {file: record for file, record in records.items() if not record.get("linker")}
        files = list(records)
        if "load" in self.checks:
            before = self.cached(f"{group}/{control.name} load", lambda: self.load(group, control, files))
            after = self.load(group, edited, files)
            for file, record in records.items():
                record |= {"control": before[file], "load": after[file]}
                record["broken"] = before[file] is not None and self.kind(control, before[file]) != self.kind(edited, after[file])
        old = {}
        if "start" in self.checks:
            programs = [file for file in files if records[file].get("interpreter") and os.access(control / file, os.X_OK)]
            untouched = lambda: dict(zip(programs, self.pool.map(lambda file: self.start(group, control, file), programs)))  # noqa: E731
            old = self.cached(f"{group}/{control.name} start", untouched)
            for file, start in zip(programs, self.pool.map(lambda file: self.start(group, edited, file), programs)):
                records[file]["starts"] = old[file] is not None
                start = json.loads(json.dumps(start))
                if start != old[file]:
                    # What is remembered of the untouched one may have been a machine's mood.
                    old[file] = json.loads(json.dumps(self.start(group, control, file)))
                if start != old[file]:
                    records[file]["start"] = [old[file], start]
        if "read" in self.checks:
            for file, read in zip(files, self.pool.map(lambda file: self.read(control / file, edited / file), files)):
                records[file] |= read
        for name, command in self.strips.items():
            self.strip(group, name, command, control, edited, records, old)
        shutil.rmtree(edited)
        return records.values()

    @staticmethod
    def kind(root, reason):
        """An error without the folder."""
        return numberless(reason.replace(str(root), ""))[:300]

    def strip(self, group, name, command, control, edited, records, starts):
        """Strips an edited unit: whatever then happens must happen to the stripped untouched one, too."""
        if name.startswith("strip") and HOSTS[group][0] in CROSS:
            command = [CROSS[HOSTS[group][0]], *command[1:]]
        if not shutil.which(command[0]):
            return

        def facts(tree, files):
            root = self.folder / "stripped" / tree.name
            failed = self.stripped(command, tree, root, records)
            loads = self.load(group, root, files)
            programs = [file for file in files if file in starts]
            begun = dict(zip(programs, self.pool.map(lambda file: self.start(group, root, file), programs)))
            return json.loads(json.dumps({file: [bool(failed[file]), self.kind(root, loads[file] or ""), begun.get(file)] for file in files}))

        files = list(records)
        found = facts(edited, files)
        # Most load, and so must have loaded before; only the rest needs a look at the untouched unit.
        suspects = [file for file in files if found[file] != [False, "", starts.get(file)]]
        plain = facts(control, suspects) if suspects else {}
        for file, record in records.items():
            different = file in plain and plain[file] != found[file]
            # What stripping breaks untouched as well, it may break in two ways.
            as_before = [False, self.kind(control, record.get("control") or ""), starts.get(file)]
            broken_anyway = different and "control" in record and plain[file] != as_before
            record.setdefault("stripped", {})[name] = [found[file], plain[file]] if different and not broken_anyway else ""
            record.setdefault("fragile", {})[name] = file in plain and "control" in record and plain[file] != as_before
        shutil.rmtree(self.folder / "stripped")

    def stripped(self, command, tree, root, records):
        """Makes a stripped copy of a tree; gives file -> whether that failed."""
        shutil.rmtree(root, ignore_errors=True)
        for folder, _, names in os.walk(tree):
            to = root / pathlib.Path(folder).relative_to(tree)
            to.mkdir(parents=True, exist_ok=True)
            for name in names:
                path = pathlib.Path(folder) / name
                if path.is_symlink():
                    (to / name).symlink_to(os.readlink(path))
                elif str(path.relative_to(tree)) not in records:
                    shutil.copy(path, to / name)

        def one(file):
            status = run([*command, "-o", root / file, tree / file], timeout=300)[0]
            if status:
                shutil.copy(tree / file, root / file)
            return status

        return dict(zip(records, self.pool.map(one, records)))


def table(records):
    """(What, how many, of how many, how many are wanted)."""
    def row(name, key, test, aim=0):
        checked = [record for record in records if key in record]
        return (name, sum(1 for record in checked if test(record)), len(checked), aim)

    for record in records:
        record |= {f"{key} {name}": reason for key in ("stripped", "fragile") for name, reason in record.get(key, {}).items()}
    grown = sorted(record["grown"] for record in records if "grown" in record)
    return [
        row("refused", "file", lambda record: "refused" in record),
        row("load, untouched", "control", lambda record: record["control"] == "", None),
        row("loads newly broken", "broken", lambda record: record["broken"]),
        row("programs that start otherwise", "starts", lambda record: "start" in record),
        *(row(f"broken by a later {name}", f"stripped {name}", lambda record, name=name: record[f"stripped {name}"]) for name in STRIPS),
        *(row(f"untouched, broken by {name}", f"fragile {name}", lambda record, name=name: record[f"fragile {name}"], None) for name in STRIPS),
        row("new readelf warnings", "readelf", lambda record: record["readelf"]),
        # The prototype had 280 of 5,589.
        row("new eu-elflint messages", "elflint", lambda record: record["elflint"], 279),
        row("grow by further edits", "further", lambda record: record["further"]),
        row("A,B,A,B,A differs from A", "stable", lambda record: not record["stable"]),
        row("undo is inexact", "undone", lambda record: not record["undone"]),
        row("planned in parts differs", "planned", lambda record: not record["planned"]),
        ("median growth, bytes", grown[len(grown) // 2] if grown else 0, len(grown), None),
    ]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("editor", type=pathlib.Path)
    arguments.add_argument("units", nargs="*", help="only units whose GROUP/NAME contains one of these")
    arguments.add_argument("--checks", default="load,start,read", help="of load, start, read [default: all]")
    arguments.add_argument("--strips", default="strip -S,llvm-strip -S", help="of " + ", ".join(STRIPS))
    arguments.add_argument("--results", default="results.jsonl", help="a file in FOLDER")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count())
    options = arguments.parse_args()
    gates = Gates(options.folder.resolve(), options.editor.resolve(), options.checks.split(","), options.strips.split(","), options.jobs)
    units = []
    for group in sorted(HOSTS):
        root = gates.control / group
        units += [(group, root)] if group.startswith("debian") else [(group, path) for path in sorted(root.glob("*")) if path.is_dir()]
    chosen = [(group, path) for group, path in units if not options.units or any(text in f"{group}/{path.name}" for text in options.units)]
    seen, records = set(), []
    with open(gates.folder / options.results, "w") as out:
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
    for name, number, total, aim in table(records):
        holds = aim is None or number <= aim
        wrong += not holds
        print(f"{name:34} {number:7} of {total:6}  {'' if aim is None else 'ok' if holds else f'at most {aim} wanted'}")
    sys.exit(1 if wrong else 0)


main()
