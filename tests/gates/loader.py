"""Loads each library named on standard input in a process of its own; prints one JSON object {name: "" or error}."""

import ctypes
import json
import os
import signal
import sys

# What extension modules expect to be there already, as in any Python process.
import ctypes.util, threading  # noqa: E401, F401


def attempt(path):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(60)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        reason = b""
        try:
            ctypes.CDLL(path, mode=os.RTLD_NOW)
        except OSError as error:
            reason = str(error).encode(errors="replace") or b"?"
        os.write(write, reason[:4000])
        os._exit(0)
    os.close(write)
    reason = b""
    while chunk := os.read(read, 4096):
        reason += chunk
    os.close(read)
    status = os.waitpid(child, 0)[1]
    return reason.decode(errors="replace") or (f"status {status}" if status else "")


paths = [path for path in sys.stdin.read().split("\n") if path]
workers = int(sys.argv[1])
pipes = []
for number in range(workers):
    read, write = os.pipe()
    if os.fork() == 0:
        with os.fdopen(write, "w") as out:
            json.dump({path: attempt(path) for path in paths[number::workers]}, out)
        os._exit(0)
    os.close(write)
    pipes.append(os.fdopen(read))
results = {}
for pipe in pipes:
    results |= json.load(pipe)
print(json.dumps(results))
