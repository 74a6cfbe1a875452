"""Answers queries of tests/parity: how ansible-core reads inventories and host patterns, and what its modules make of files.

One query per line on standard input, one answer per line on standard output, both in JSON.
  {"run": ["ansible-inventory", "--list", ...], "directory": DIR}  -> {"code", "stdout", "stderr"}
  {"patterns": [...], "sources": [...], "directory": DIR, "as_limit": BOOL}
      -> for each pattern and for several orders of sets: ["host", ...], or null if a part matches nothing
  {"edits": [[MODULE, {PARAMETERS}, CONTENT], ...], "directory": DIR}
      -> for each edit of a file with that content (null: none; each character is a byte), applied twice: {"patterns": whether all are Python's,
         "runs": [{"error", "changed", "content"}, ...]}
A command runs in a fork of this process, so that commands do not affect each other and the half second to import Ansible is spent once.
"""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import warnings

ORDERS = 12
PATTERNS = ["regexp", "insertafter", "insertbefore"]


def run(arguments, directory):
    from ansible.cli.adhoc import AdHocCLI
    from ansible.cli.inventory import InventoryCLI

    programs = {"ansible": AdHocCLI, "ansible-inventory": InventoryCLI}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.chdir(directory)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                programs[arguments[0]].cli_executor(arguments)
                code = 0
            except SystemExit as end:
                code = end.code or 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return {"code": code, "stdout": texts[0], "stderr": texts[1]}


def select(patterns, sources, directory, as_limit):
    from ansible.errors import AnsibleError
    from ansible.inventory.group import Group
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader

    os.chdir(directory)
    # The names in the corpus cause warnings.
    sys.stderr = io.StringIO()

    def hosts(inventory, pattern):
        try:
            if not as_limit:
                return [host.name for host in inventory.get_hosts(pattern)]
            inventory.subset(pattern)
            inventory.clear_caches()
            return [host.name for host in inventory.get_hosts("all")]
        except AnsibleError:
            return None

    # Ansible keeps groups in sets, whose order depends on memory addresses. Several orders show which results do not depend on it.
    answers = []
    for seed in range(ORDERS):
        Group.__hash__ = lambda group, seed=seed: hash((seed, group.name))
        inventory = InventoryManager(DataLoader(), sources)
        answers.append([hosts(inventory, pattern) for pattern in patterns])
    sys.stderr = sys.__stderr__
    return [list(orders) for orders in zip(*answers)]


def is_pattern(text):
    try:
        re.compile((text or "").encode())
    except re.error:
        return False
    return True


def edit(modules, module, parameters, content, directory):
    from ansible.module_utils.testing import patch_module_args

    path = parameters["path"]
    if os.path.exists(path):
        os.remove(path)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content.encode("latin-1"))
    runs = []
    for _ in range(2):
        printed = io.StringIO()
        error = None
        try:
            with contextlib.redirect_stdout(printed), patch_module_args({**parameters, "_ansible_tmpdir": directory}):
                modules[module].main()
        except SystemExit:
            pass
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        # A module that fails in the middle has printed nothing.
        result = json.loads(printed.getvalue() or "{}")
        if result.get("failed"):
            error = result["msg"]
        after = None
        if os.path.exists(path):
            with open(path, "rb") as file:
                after = file.read().decode("latin-1")
        runs.append({"error": error, "changed": bool(result.get("changed")), "content": after})
    return {"patterns": all(map(is_pattern, (parameters.get(name) for name in PATTERNS))), "runs": runs}


def edits(cases, directory):
    from ansible.modules import blockinfile, lineinfile

    modules = {"lineinfile": lineinfile, "blockinfile": blockinfile}
    warnings.simplefilter("ignore")
    return [edit(modules, *case, directory) for case in cases]


def main():
    # Imports everything that forks need, including plugins, which a plain list of hosts would not import.
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write("all: {hosts: {h: }}")
        file.flush()
        select(["all"], [file.name], "/", False)
    answers = os.fdopen(os.dup(1), "w")
    # Ansible's own output must not be mistaken for an answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        if "run" in question:
            answer = run(question["run"], question["directory"])
        elif "edits" in question:
            answer = edits(question["edits"], question["directory"])
        else:
            answer = select(question["patterns"], question["sources"], question["directory"], question["as_limit"])
        print(json.dumps(answer), file=answers, flush=True)


main()
