"""Compiles sources to bytecode that depends on nothing but source, name and interpreter.

Arguments: the folder that all paths are relative to. Standard input: a JSON object {"jobs": number, "tag": cache
tag, "files": [path]}. Standard output: JSON lines {"done": number, "skipped": [[path, reason]]}, one for each batch.

A file that is no Python of this version is skipped, as pip does: packages ship templates and tests of errors.
"""

import sys

# The current folder must not give modules: `-I` would do this, but it ignores PYTHONHASHSEED too.
del sys.path[0]

import gc
import importlib.util
import json
import marshal
import os
import selectors
import threading
from types import CodeType

BATCH = 16
# PEP 552: hash-based, checked: neither a time nor trust decides whether the bytecode is that of the source.
CHECKED_HASH = (0b11).to_bytes(4, "little")


def intern_singletons():
    """Before Python 3.12 the strings that exist once in a process are interned only when some name needs them."""
    for string in ["", *map(chr, range(256))]:
        sys.intern(string)


def strings(code, names, constants):
    """Collects the qualified names and the string constants of `code` and all code in it."""
    names.add(code.co_qualname)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            strings(constant, names, constants)
        elif type(constant) is str:
            constants.add(constant)


def depends_on_others(code):
    """Whether other files that were compiled before can make `code` another one.

    The compiler uses one string for a qualified name and an equal constant, and interns it as a name. If an equal
    string was interned before, the name becomes that one, and the constant stays apart. Identifiers are
    interned as constants too.
    """
    if sys.version_info < (3, 11):
        return False
    names, constants = set(), set()
    strings(code, names, constants)
    return any(not (name.isascii() and name.isidentifier()) for name in names & constants)


def values(source, name):
    """The code of `source` in a form of `marshal` that is the same in every process.

    Version 0 of the format has values alone: neither which of them are one object nor which strings are interned,
    both of which depend on what the process did before. It knows no slices, which Python 3.14 has as constants.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    try:
        return marshal.dumps(code, 0)
    except ValueError:
        if not depends_on_others(code):
            return marshal.dumps(code)
        # While there is `code` its names stay interned, so the second result is what any process would make of it.
        return marshal.dumps(compile(source, name, "exec", dont_inherit=True, optimize=0))


def bytecode(source, name):
    # What is read again has no references from elsewhere, by which `marshal` decides what it marks as shared.
    code = marshal.dumps(marshal.loads(values(source, name)))
    return importlib.util.MAGIC_NUMBER + CHECKED_HASH + importlib.util.source_hash(source) + code


def compile_file(path, tag):
    with open(path, "rb") as file:
        source = file.read()
    # The relative path is the embedded file name; the import system replaces it by the real one.
    content = bytecode(source, path)
    folder, name = os.path.split(path)
    folder = os.path.join(folder, "__pycache__")
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, f"{name[:-3]}.{tag}.pyc")
    if os.path.lexists(target):
        os.unlink(target)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(content)


def compile_batch(paths, tag):
    skipped = []
    for path in paths:
        try:
            compile_file(path, tag)
        except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
            skipped.append([path, f"{type(error).__name__}: {error}"])
        except MemoryError as error:
            # The parser says so, with a message, of sources that are nested too deeply; a machine without
            # memory has none.
            if not error.args:
                raise
            skipped.append([path, f"{type(error).__name__}: {error}"])
    return skipped


def work(queue, answers, files, tag):
    """Takes batches until there are none. All workers read one pipe, so each comes once."""
    while number := os.read(queue, 4):
        first = int.from_bytes(number, "little") * BATCH
        paths = files[first : first + BATCH]
        line = json.dumps({"done": len(paths), "skipped": compile_batch(paths, tag)})
        with open(answers, "w", closefd=False) as file:
            file.write(line + "\n")


def worker(queue, answers, files, tag):
    """In a process of its own, on a stack of fixed size: how deeply a source may nest must not be the machine's."""
    failed = []

    def run():
        try:
            work(queue, answers, files, tag)
        except BaseException:
            failed.append(True)
            sys.excepthook(*sys.exc_info())

    threading.stack_size(64 << 20)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    sys.stderr.flush()
    os._exit(1 if failed else 0)


def start(queue, files, tag):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.close(queue[1])
        worker(queue[0], writer, files, tag)
    os.close(writer)
    return pid, reader


def feed(queue, batches):
    with open(queue, "wb") as file:
        file.write(b"".join(number.to_bytes(4, "little") for number in batches))


def forward(readers):
    """Whole lines from all workers, until all have ended."""
    selector = selectors.DefaultSelector()
    rests = dict.fromkeys(readers, b"")
    for reader in readers:
        selector.register(reader, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            chunk = os.read(key.fd, 65536)
            if not chunk:
                selector.unregister(key.fd)
            lines, newline, rests[key.fd] = (rests[key.fd] + chunk).rpartition(b"\n")
            sys.stdout.buffer.write(lines + newline)
            sys.stdout.buffer.flush()


def main(top):
    request = json.load(sys.stdin)
    files, tag = request["files"], request["tag"]
    if sys.implementation.cache_tag != tag:
        sys.exit(f"expected an interpreter with the cache tag {tag}, found {sys.implementation.cache_tag}")
    # Nothing here makes cycles of references.
    gc.disable()
    intern_singletons()
    os.chdir(top)
    os.umask(0o022)
    batches = range((len(files) + BATCH - 1) // BATCH)
    queue = os.pipe()
    workers = [start(queue, files, tag) for _ in range(max(1, min(request["jobs"], len(batches))))]
    os.close(queue[0])
    # The pipe may be smaller than what goes through it.
    threading.Thread(target=feed, args=(queue[1], batches)).start()
    forward([reader for _, reader in workers])
    if any([os.waitpid(pid, 0)[1] for pid, _ in workers]):
        sys.exit("a worker failed")


main(sys.argv[1])
