#!/usr/bin/env python3
"""akb build beside `uv sync`: time, CPU and memory on the same inputs, in one run. Prints ratios.

    cargo build --release && python3 benches/uv_sync.py LOCKED_PROJECT [--rounds N]

LOCKED_PROJECT is a folder with authentik's uv.lock and pyproject.toml, and vendor-hashes' recipe and lock as akb.toml and
akb.lock. Both
tools get the same interpreter, compiler and libraries: uv runs in a chroot of akb's own input tree (so this needs
root). uv itself comes from the Python index, by pip. Cold: empty caches, downloads included; akb's input packages
are there for both before the clock starts, as an installed system's are. Warm: caches full, a new target.
uv compiles bytecode too (`--compile-bytecode`), since akb does; and copies, since a tree that is edited must not be
linked to a cache.
"""

import argparse
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent
# Where the cache keeps input trees.
TREES = "v1/folders/debian"
AKB = HERE / "target" / f"{os.uname().machine}-unknown-linux-gnu" / "release" / "akb"


def default_index():
    text = (HERE / "src/registries.rs").read_text()
    return os.environ.get("UV_DEFAULT_INDEX") or re.search(r'PYTHON_INDEX: &str = "([^"]+)"', text)[1]


def files_origin(index):
    """Where the index keeps files: the origin of a link on one of its pages."""
    with urllib.request.urlopen(f"{index.rstrip('/')}/six/") as page:
        link = re.search(r'href="(https?://[^/"]+)/', page.read().decode())
    return link[1] if link else index.rstrip("/").rsplit("/", 1)[0]


def tree_memory(root):
    """Resident bytes of a process and all below it, shared pages counted once per process."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append((int(entry.name), int(fields[21])))
            except (OSError, IndexError):
                pass
    total, todo = 0, [root]
    while todo:
        for pid, pages in children.get(todo.pop(), []):
            total += pages * resource.getpagesize()
            todo.append(pid)
    return total


def measure(command, **options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    peak, done = [0], threading.Event()

    def watch():
        while not done.wait(0.2):
            peak[0] = max(peak[0], tree_memory(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = child.communicate()[0]
    done.set()
    watcher.join()
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode != 0:
        sys.exit(f"{command} ended with {child.returncode}\n{output.decode(errors='replace')[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "peak": peak[0]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("project", type=pathlib.Path)
    arguments.add_argument("--rounds", type=int, default=3, help="warm rounds; the median counts")
    options = arguments.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="akb-bench-"))
    index = default_index()
    origin = files_origin(index)

    project = work / "project"
    shutil.copytree(options.project, project)
    subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    subprocess.run([work / "venv/bin/pip", "-q", "install", "uv"], check=True)

    env = {"HOME": str(work / "home"), "PATH": os.environ["PATH"]}
    for name in ("SSL_CERT_FILE", "UV_DEFAULT_INDEX", "HTTPS_PROXY", "AKB_DEBIAN_MIRROR"):
        if name in os.environ:
            env[name] = os.environ[name]

    def akb(cache, out):
        return [AKB, "build", project, "--locked", "--cache", cache, "--out", out]

    # The input tree, made once, for both.
    inputs = work / "inputs"
    subprocess.run([*akb(inputs, work / "first")], check=True, env=env, stdout=subprocess.DEVNULL)
    shutil.rmtree(work / "first")
    [tree] = (inputs / TREES).glob("*/usr")

    def cold_cache(name):
        """A cache with the input tree and nothing else."""
        cache = work / name
        shutil.copytree(inputs / TREES, cache / TREES, symlinks=True)
        return cache

    root = work / "root"
    for folder in ("usr", "etc", "proc", "dev", "tmp", "work"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    shutil.copytree(tree.parent / "etc", root / "etc", symlinks=True, dirs_exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(pathlib.Path("/etc") / name, root / "etc" / name)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    shutil.copytree("/etc/ssl", root / "etc/ssl", symlinks=True, dirs_exist_ok=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "work/ca.crt")
    shutil.copy(work / "venv/bin/uv", root / "work/uv")
    (root / "work/project").mkdir()
    lock = (project / "uv.lock").read_text()
    lock = lock.replace("https://files.invalid", origin).replace("https://index.invalid/simple", index.rstrip("/"))
    (root / "work/project/uv.lock").write_text(lock)
    shutil.copy(project / "pyproject.toml", root / "work/project")
    members = sorted(set(re.findall(r'editable = "([^".][^"]*)"', lock)))
    for member in members:
        folder = root / "work/project" / member
        folder.mkdir(parents=True)
        name = pathlib.PurePath(member).name
        version = re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock)[1]
        (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "{version}"\n')

    inner = (
        "set -e; mount --rbind {tree} {root}/usr; mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev; "
        "exec chroot {root} /usr/bin/env -i HOME=/work/home PATH=/usr/bin SSL_CERT_FILE=/work/ca.crt UV_LINK_MODE=copy "
        "UV_CACHE_DIR=/work/{cache} UV_PROJECT_ENVIRONMENT=/work/{out} UV_PYTHON_DOWNLOADS=never "
        "/work/uv sync --project /work/project --frozen --no-dev --no-install-workspace "
        "--no-install-package opencontainers --python /usr/bin/python3.14 --compile-bytecode"
    )

    def uv(cache, out):
        command = inner.format(tree=tree, root=root, cache=cache, out=out)
        return ["unshare", "--mount", "sh", "-c", command]

    results = {}
    cache = cold_cache("akb-cache")
    results["akb cold"] = measure(akb(cache, work / "akb-cold"), env=env)
    results["uv cold"] = measure(uv("uv-cache", "uv-cold"))
    for tool in ("akb", "uv"):
        rounds = []
        for number in range(options.rounds):
            name = f"{tool}-warm-{number}"
            rounds.append(measure(akb(cache, work / name), env=env) if tool == "akb" else measure(uv("uv-cache", name)))
            shutil.rmtree(work / name if tool == "akb" else root / "work" / name)
        results[f"{tool} warm"] = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}

    for name, result in results.items():
        print(f"{name:9}  wall {result['wall']:7.1f} s  cpu {result['cpu']:7.1f} s  peak {result['peak'] / 1e6:7.0f} MB")
    for kind in ("cold", "warm"):
        akb_result, uv_result = results[f"akb {kind}"], results[f"uv {kind}"]
        ratios = "  ".join(f"{key} {akb_result[key] / uv_result[key]:.2f}" for key in akb_result)
        print(f"akb / uv, {kind}:  {ratios}")
    shutil.rmtree(work, ignore_errors=True)


main()
