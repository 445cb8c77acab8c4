"""Loads the libraries named on standard input; prints one JSON object {name: "" or error}.

    loader.py WORKERS [BATCH]

BATCH of them share a process, for what they need is loaded once then. If that ends by a signal, those it had not
loaded get a process each.
"""

import ctypes
import ctypes.util
import json
import os
import signal
import sys
import threading  # noqa: F401: what extension modules expect to be there


def attempt(paths):
    """One process for all; gives what it had to say before it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        for path in paths:
            signal.alarm(60)
            reason = ""
            try:
                ctypes.CDLL(path, mode=os.RTLD_NOW)
            except OSError as error:
                reason = str(error)[:2000] or "?"
            os.write(write, json.dumps([path, reason]).encode() + b"\n")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = dict(json.loads(line) for line in pipe if line.endswith(b"\n"))
    status = os.waitpid(child, 0)[1]
    missing = [path for path in paths if path not in found]
    if len(paths) == 1 and missing:
        return {paths[0]: f"status {status}"}
    for path in missing:
        found |= attempt([path])
    return found


def main():
    paths = [path for path in sys.stdin.read().split("\n") if path]
    workers, batch = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 24
    batches = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    pipes = []
    for number in range(workers):
        read, write = os.pipe()
        if os.fork() == 0:
            results = {}
            for chosen in batches[number::workers]:
                results |= attempt(chosen)
            with os.fdopen(write, "w") as out:
                json.dump(results, out)
            os._exit(0)
        os.close(write)
        pipes.append(os.fdopen(read))
    results = {}
    for pipe in pipes:
        results |= json.load(pipe)
    print(json.dumps(results))


main()
