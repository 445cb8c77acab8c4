"""Calls one hook of a PEP 517 build backend. Standard library only, Python 3.8 and later.

Reads a JSON request on standard input:

    {"action": "build" or "requires" or "flags", "answer": FILE, "nice": 0,
     "source": FOLDER, "backend": "module:object", "backend_path": [FOLDER, ...],
     "config_settings": {...}, "out": FOLDER}

and writes a JSON answer to the file that the request names: {"wheel": NAME}, {"requires": [...]},
{"flags": {...}} or {"error": {"type": ..., "name": ..., "message": ...}}.
"""

import importlib
import json
import os
import sys
import sysconfig
import traceback


class Refused(Exception):
    """The project or its backend breaks PEP 517."""


def backend_path(request):
    """The folders of an in-tree backend: inside the source tree, links followed."""
    source = os.path.realpath(request["source"])
    folders = []
    for entry in request["backend_path"]:
        folder = os.path.realpath(os.path.join(source, entry))
        if os.path.isabs(entry) or os.path.commonpath([source, folder]) != source:
            raise Refused("backend-path %r is outside the source tree" % entry)
        folders.append(folder)
    return folders


def load_backend(request):
    """Imports the backend, from nowhere but backend-path if the project has one."""
    folders = backend_path(request)
    sys.path[:0] = folders
    name, _, attributes = request["backend"].partition(":")
    module = importlib.import_module(name)
    if folders:
        origin = os.path.realpath(getattr(module, "__file__", None) or "/")
        if not any(origin.startswith(folder + os.sep) for folder in folders):
            raise Refused("backend %s was loaded from %s, not from backend-path" % (name, origin))
    backend = module
    for attribute in filter(None, attributes.split(".")):
        backend = getattr(backend, attribute)
    return backend


def requires(request):
    hook = getattr(load_backend(request), "get_requires_for_build_wheel", None)
    if hook is None:  # PEP 517: the same as one that returns nothing
        return {"requires": []}
    return {"requires": [str(requirement) for requirement in hook(request["config_settings"] or None)]}


def build(request):
    hook = getattr(load_backend(request), "build_wheel", None)
    if hook is None:
        raise Refused("backend %s has no build_wheel" % request["backend"])
    return {"wheel": str(hook(request["out"], request["config_settings"] or None))}


def flags(_request):
    names = ["CC", "CFLAGS", "LDFLAGS", "LDSHARED"]
    return {"flags": {name: sysconfig.get_config_var(name) or "" for name in names}}


ACTIONS = {"requires": requires, "build": build, "flags": flags}


def main():
    request = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.nice(request["nice"])
    # Python put this file's folder first, where nothing of a build may come from.
    sys.path.pop(0)
    sys.argv[:] = ["setup.py"]
    try:
        answer = ACTIONS[request["action"]](request)
    except BaseException as error:  # SystemExit too: distutils ends so when a compiler fails
        traceback.print_exc()
        name = getattr(error, "name", None)
        answer = {"error": {"type": type(error).__name__, "name": name and str(name), "message": str(error)}}
    sys.stdout.flush()
    sys.stderr.flush()
    with open(request["answer"], "w", encoding="utf-8") as file:
        json.dump(answer, file)
    sys.exit("error" in answer)


main()
