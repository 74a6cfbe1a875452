"""Answers for tests/parity: what ansible-core makes of inventories and host patterns.

One question per line on standard input, one answer per line on standard output, both JSON.
  {"run": ["ansible-inventory", "--list", ...], "directory": DIR}  -> {"code", "stdout", "stderr"}
  {"patterns": [...], "sources": [...], "directory": DIR, "as_limit": BOOL} -> [["host", ...] or null, ...]
A command runs in a fork of this process: nothing is left of one for the next, and importing Ansible costs its half second once.
"""

import json
import os
import sys
import tempfile


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


def select(patterns, sources, directory, as_limit=False):
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader

    os.chdir(directory)
    inventory = InventoryManager(DataLoader(), sources)

    def hosts(pattern):
        try:
            if not as_limit:
                return [host.name for host in inventory.get_hosts(pattern)]
            inventory.subset(pattern)
            inventory.clear_caches()
            return [host.name for host in inventory.get_hosts("all")]
        except AnsibleError:
            return None

    return [hosts(pattern) for pattern in patterns]


def main():
    # Imports what every fork needs.
    select(["all"], ["a,"], "/")
    run(["ansible-inventory", "-i", "a,", "--list"], "/")
    answers = os.fdopen(os.dup(1), "w")
    # What Ansible prints by itself is no answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        if "run" in question:
            answer = run(question["run"], question["directory"])
        else:
            answer = select(question["patterns"], question["sources"], question["directory"], question["as_limit"])
        print(json.dumps(answer), file=answers, flush=True)


main()
