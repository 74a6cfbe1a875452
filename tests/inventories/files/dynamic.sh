#!/bin/sh
# What a cloud's script prints.
[ "$*" = --list ] || exit 1
cat <<'JSON'
{"web": {"hosts": ["w1", "w2"], "vars": {"x": "yes", "n": 1e3, "big": 12345678901234567890, "f": 1.10, "t": true, "e": "\ud83d\ude00"}, "children": ["sub"]},
 "sub": {"hosts": ["s1"], "children": ["leaf"]}, "leaf": {"vars": {"x": "0644"}}, "all": {"vars": {"a": [1, {"b": null}]}},
 "_meta": {"hostvars": {"w1": {"ansible_host": "10.0.0.1", "nested": {"k": [1.5, "x"]}}, "stranger": {"a": 1}, "s1": {}}}}
JSON
