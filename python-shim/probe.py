"""Asks an interpreter what it is, and compilers whether they work. Standard library only, Python 3.8 and later.

Reads a JSON request on standard input:

    {"loader": FILE, "attempts": [[FLAG, ...], ...],
     "compilers": [{"language": "c" or "c++", "program": FILE}, ...],
     "questions": [[PROGRAM, ARGUMENT, ...], ...]}

and writes a JSON answer to standard output: what the interpreter says, what each compiler does with the first
attempt that works ("flags" is null where none does), and the outputs of the questions (null where one fails).
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile

CONFIG = ["AR", "CC", "CXX", "LDCXXSHARED", "LDSHARED"]

# It must find the C library's headers, start under its loader, and, in C++, find the language's own library.
PROGRAM = {
    "c": ("t.c", '#include <limits.h>\n#include <stdio.h>\nint main(void) { return printf("%d", 42) != 2; }\n'),
    "c++": (
        "t.cc",
        '#include <cstdlib>\n#include <string>\n#include <cstdio>\n'
        'int main() { return std::printf("%s", std::to_string(42).c_str()) != 2; }\n',
    ),
}

# What every extension module begins with.
MODULE = {"c": ("m.c", "#include <Python.h>\nint m;\n"), "c++": ("m.cc", "#include <Python.h>\nint m;\n")}


def run(command):
    """Status and output; a program that cannot be started has failed."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return 127, "%s: %s\n" % (command[0], error.strerror)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def libc(loader):
    """Such as "glibc 2.43" or "musl 1.2.5", whose loader tells its version when it is run."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        pass
    for line in run([loader])[1].splitlines():
        if line.startswith("Version "):
            return "musl " + line[len("Version "):].strip()
    return None


def interpreter(loader):
    return {
        "version": list(sys.version_info[:3]),
        "stdlib": sysconfig.get_path("stdlib"),
        "include": [sysconfig.get_path("include"), sysconfig.get_path("platinclude")],
        "libc": libc(loader),
        "config": {name: str(sysconfig.get_config_var(name) or "") for name in CONFIG},
    }


def write(named):
    name, text = named
    with open(name, "w", encoding="ascii") as file:
        file.write(text)
    return name


def attempt(program, language, flags):
    """Makes a program and runs it. The linker says which files it took."""
    command = [program, *flags, write(PROGRAM[language]), "-o", "t", "-Wl,--trace"]
    status, output = run(command)
    if status:
        return None, " ".join(command) + "\n" + output
    status, said = run([os.path.abspath("t")])
    if status or said != "42":
        return None, "%s\nwhat it made ends with status %d and says %r\n" % (" ".join(command), status, said)
    return output, ""


def compiler(wanted, attempts):
    language, program = wanted["language"], wanted["program"]
    failures = ""
    for flags in attempts:
        trace, failure = attempt(program, language, flags)
        failures += failure
        if trace is not None:
            break
    else:
        return {"flags": None, "output": failures}
    own = ["-I" + sysconfig.get_path(name) for name in ("include", "platinclude")]
    status, output = run([program, *flags, *own, "-c", write(MODULE[language]), "-o", "m.o"])
    _, search = run([program, *flags, "-E", "-v", "-x", language, os.devnull])
    return {
        "flags": flags,
        "trace": trace.splitlines(),
        "search": [os.path.normpath(line[1:]) for line in search.splitlines() if line.startswith(" /") and " " not in line[1:]],
        "headers": status == 0,
        "output": output,
    }


def main():
    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        answer = interpreter(request["loader"])
        answer["compilers"] = [compiler(wanted, request["attempts"]) for wanted in request["compilers"]]
        questions = [run(question) for question in request["questions"]]
        answer["answers"] = [None if status else output.strip() for status, output in questions]
        os.chdir("/")
    json.dump(answer, sys.stdout)


main()
