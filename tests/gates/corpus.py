#!/usr/bin/env python3
"""Assembles the ELF corpus of the gates: dynamic ELF files of wheels and Debian packages.

    corpus.py pin [GROUP..]           resolve wanted.txt anew and write corpus.tsv (names, versions, SHA-256; no addresses)
    corpus.py fetch FOLDER [GROUP..]  download what corpus.tsv pins, check every hash, unpack the ELF files to FOLDER/control

Needs Python 3.11, pip, and on Debian apt-get and dpkg-deb; no root. Where files come from is pip's and apt's own
configuration. A version that the Debian archive no longer has is reported; pin again then. FOLDER/control has one
folder a unit: a wheel, or all packages of one Debian architecture together, since those need each other.
"""

import argparse
import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
LOCK = HERE / "corpus.tsv"
PYTHON = "3.11"


def platforms(group):
    """pip's platform tags of a group of wheels, the newest first."""
    libc, _, machine = group.rpartition("-")
    if libc == "musl":
        return [f"musllinux_1_{minor}_{machine}" for minor in (2, 1)]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 4, -1)]
    return tags + [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]


def pip(group, *arguments):
    tags = [option for tag in platforms(group) for option in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--only-binary", ":all:", "--python-version", PYTHON]
    return subprocess.run([*command, *tags], capture_output=True, text=True)


class Apt:
    """apt with lists and a status of its own, for an architecture that need not be this machine's."""

    def __init__(self, folder, arch):
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        settings = {
            "Dir::State": folder / "state", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
            "APT::Architecture": arch, "APT::Architectures": arch, "Debug::NoLocking": "true",
            "APT::Sandbox::User": "", "Acquire::Languages": "none", "APT::Install-Recommends": "false",
        }
        self.options = [option for key, value in settings.items() for option in ("-o", f"{key}={value}")]
        # One list that cannot be had must not stop the others: what is missing in the end is told then.
        done = subprocess.run(["apt-get", *self.options, "-q", "update"], capture_output=True, text=True)
        print(done.stderr[-1000:], end="", file=sys.stderr)

    def run(self, tool, *arguments, **options):
        done = subprocess.run([tool, *self.options, *arguments], capture_output=True, text=True, **options)
        if done.returncode != 0:
            sys.exit(f"{tool} {' '.join(arguments)[:200]} ended with {done.returncode}\n{done.stderr[-3000:]}")
        return done.stdout


def wanted():
    groups, names = {}, []
    for line in (HERE / "wanted.txt").read_text().splitlines():
        if line.startswith("["):
            groups[tuple(line.strip("[]").split())] = names = []
        elif not line.startswith("#"):
            names.extend(line.split())
    return groups


def pin_wheel(group, name):
    with tempfile.TemporaryDirectory() as target:
        done = pip(group, "install", "-q", "--dry-run", "--ignore-installed", "--target", target, "--report", "-", name)
    if done.returncode != 0:
        print(f"no wheel: {group} {name}", file=sys.stderr)
        return None
    [found] = json.loads(done.stdout)["install"]
    digest = found["download_info"]["archive_info"]["hashes"]["sha256"]
    return ("wheel", group, found["metadata"]["name"].lower(), found["metadata"]["version"], digest)


def pin_debian(arch, names):
    """Every package with all that it depends on. One at a time: some conflict, which unpacking does not mind."""
    with tempfile.TemporaryDirectory() as folder:
        apt = Apt(pathlib.Path(folder), arch)
        def closure(name):
            uris = apt.run("apt-get", "install", "--print-uris", "-y", "-q", name)
            return re.findall(r"^'[^']+' (\S+)_(\S+)_(?!all)[a-z0-9]+\.deb ", uris, re.M)

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            found = sorted({pair for pairs in pool.map(closure, names) for pair in pairs})
        shown = apt.run("apt-cache", "show", *(f"{name}={version.replace('%3a', ':')}" for name, version in found))
        field = lambda stanza, key: re.search(rf"^{key}: (\S+)$", stanza, re.M)[1]  # noqa: E731
        stanzas = [stanza for stanza in shown.split("\n\n") if stanza.strip()]
        return [("deb", arch, *(field(stanza, key) for key in ("Package", "Version", "SHA256"))) for stanza in stanzas]


def pin(groups):
    """Resolves the groups named, or all; what corpus.tsv has of others stays."""
    old = [tuple(line.split("\t")) for line in LOCK.read_text().splitlines()] if LOCK.exists() else []
    chosen = {key: names for key, names in wanted().items() if not groups or key[1] in groups}
    rows = [row for row in old if row[:2] not in chosen and row[:2] in wanted()]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for (kind, group), names in chosen.items():
            if kind == "wheel":
                rows += filter(None, pool.map(lambda name, group=group: pin_wheel(group, name), sorted(names)))
            else:
                rows += pin_debian(group, names)
            LOCK.write_text("".join("\t".join(row) + "\n" for row in sorted(set(rows))))
    print(f"{len(rows)} packages pinned")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_wheels(group, rows, folder):
    """Gives (row, file); pip checks the hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    have = {digest(path): path for path in folder.iterdir()}
    missing = [row for row in rows if row[4] not in have]
    for start in range(0, len(missing), 20):
        text = "".join(f"{row[2]}=={row[3]} --hash=sha256:{row[4]}\n" for row in missing[start : start + 20])
        (folder.parent / f"{group}.txt").write_text(text)
        done = pip(group, "download", "-q", "--require-hashes", "-d", folder, "-r", folder.parent / f"{group}.txt")
        if done.returncode != 0:
            sys.exit(done.stderr[-3000:])
    have = {digest(path): path for path in folder.iterdir()}
    return [(row, have[row[4]]) for row in rows]


def download_debian(arch, rows, folder):
    folder.mkdir(parents=True, exist_ok=True)
    have = {digest(path): path for path in folder.glob("*.deb")}
    missing = [f"{row[2]}={row[3]}" for row in rows if row[4] not in have]
    if missing:
        apt = Apt(folder.parent / f"apt-{arch}", arch)
        for start in range(0, len(missing), 50):
            apt.run("apt-get", "download", "-q", *missing[start : start + 50], cwd=folder)
        have = {digest(path): path for path in folder.glob("*.deb")}
    return [(row, have[row[4]]) for row in rows]


def is_dynamic(data):
    """A little- or big-endian ELF program or library with a PT_DYNAMIC that has bytes."""
    if data[:4] != b"\x7fELF" or len(data) < 64:
        return False
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    kind = struct.unpack_from(order + "H", data, 16)[0]
    at, size = struct.unpack_from(order + "Q", data, 32)[0] if wide else struct.unpack_from(order + "I", data, 28)[0], 0
    size, count = struct.unpack_from(order + "HH", data, 54 if wide else 42)
    if kind not in (2, 3):
        return False
    for number in range(count):
        place = at + number * size
        if place + size <= len(data) and struct.unpack_from(order + "I", data, place)[0] == 2:
            return struct.unpack_from(order + ("Q" if wide else "I"), data, place + (32 if wide else 16))[0] > 0
    return False


def keep(unit, name, data, mode):
    target = unit / name
    if ".." in pathlib.PurePath(name).parts or not is_dynamic(data):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o755 if mode & 0o111 else 0o644)


def unpack_wheel(path, unit):
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                if file.peek(4)[:4] == b"\x7fELF":
                    keep(unit, member.filename, file.read(), member.external_attr >> 16 or 0o644)


def unpack_debian(path, unit):
    fsys = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(fsys)) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            # All of Debian's /lib, /bin and /sbin are folders of /usr.
            if name.split("/")[0] in ("lib", "lib64", "bin", "sbin"):
                name = f"usr/{name}"
            if member.isreg():
                keep(unit, name, archive.extractfile(member).read(), member.mode)
            elif member.issym() and ".so" in name:
                target = unit / name
                target.parent.mkdir(parents=True, exist_ok=True)
                link = member.linkname
                if link.startswith("/"):
                    top = "/usr" if link.split("/")[1] in ("lib", "lib64") else ""
                    link = os.path.relpath(f"{top}{link}", os.path.dirname("/" + name))
                if not os.path.lexists(target):
                    target.symlink_to(link)


def fetch(folder, groups):
    rows = [tuple(line.split("\t")) for line in LOCK.read_text().splitlines()]
    control = folder / "control"
    for kind, group in sorted({row[:2] for row in rows}):
        if groups and group not in groups:
            continue
        mine = [row for row in rows if row[:2] == (kind, group)]
        top = control / (group if kind == "wheel" else f"debian-{group}")
        shutil.rmtree(top, ignore_errors=True)
        # A few at a time: archives and what is in them need not lie on the disk together.
        for start in range(0, len(mine), 20 if kind == "wheel" else len(mine)):
            downloads = folder / "downloads" / group
            download = download_wheels if kind == "wheel" else download_debian
            for row, path in download(group, mine[start : start + 20] if kind == "wheel" else mine, downloads):
                if kind == "wheel":
                    unpack_wheel(path, top / f"{row[2]}-{row[3]}")
                else:
                    unpack_debian(path, top)
            shutil.rmtree(downloads)
    groups, seen, size = {}, set(), 0
    for path in sorted(control.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = digest(path)
            if name not in seen:
                seen.add(name)
                size += path.stat().st_size
                group = path.relative_to(control).parts[0]
                groups[group] = groups.get(group, 0) + 1
    for group, count in groups.items():
        print(f"{group:14} {count:6}")
    print(f"{'distinct':14} {len(seen):6}  {size / 1e9:.2f} GB")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = arguments.add_subparsers(dest="command", required=True)
    commands.add_parser("pin").add_argument("groups", nargs="*", metavar="GROUP")
    fetching = commands.add_parser("fetch")
    fetching.add_argument("folder", type=pathlib.Path)
    fetching.add_argument("groups", nargs="*", metavar="GROUP")
    options = arguments.parse_args()
    os.environ.pop("PIP_FIND_LINKS", None)
    pin(options.groups) if options.command == "pin" else fetch(options.folder.resolve(), options.groups)


main()
