"""Imports modules and says which fail.

Standard input: a JSON list of module names. The file that the argument names gets one JSON object,
{module: error}, of those that failed. Each module that fails among the others is tried again alone, in a
process of its own, so that no module fails for what another one did.
"""

import importlib
import json
import os
import subprocess
import sys


def attempt(name):
    try:
        importlib.import_module(name)
    except BaseException as error:  # a module may call sys.exit
        return f"{type(error).__name__}: {error}"
    return None


def alone(name, answer):
    command = [sys.executable, "-B", __file__, answer]
    child = subprocess.run(command, input=json.dumps([name]), text=True)
    try:
        with open(answer) as file:
            return json.load(file).get(name)
    except ValueError:
        return f"the interpreter ended with status {child.returncode}"
    finally:
        open(answer, "w").close()


def main(answer):
    names = json.load(sys.stdin)
    failed = {name: error for name in names if (error := attempt(name)) is not None}
    if len(names) > 1:
        again = {name: alone(name, answer) for name in failed}
        failed = {name: error for name, error in again.items() if error is not None}
    with open(answer, "w") as file:
        json.dump(failed, file)
    sys.stdout.flush()
    # Threads and exit handlers of the imported modules have no say any more.
    os._exit(0)


main(sys.argv[1])
