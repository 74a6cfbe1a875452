#!/bin/sh
echo '{"lone": {"a": 1, "b": "0644"}, "bare": {}, "web": {"hosts": ["h"], "note": "ignored"}, "list": ["h", "lone"], "_meta": {"hostvars": {"lone": {"c": 2}, "h": {"d": "x"}}, "profile": "inventory_legacy"}}'
