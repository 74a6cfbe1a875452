#!/usr/bin/env python3
import json
hosts = [f"node{number}" for number in range(3)]
print(json.dumps({"nodes": {"hosts": hosts, "vars": {"ansible_user": "autobot"}}, "_meta": {"hostvars": {host: {"index": index} for index, host in enumerate(hosts)}}}))
