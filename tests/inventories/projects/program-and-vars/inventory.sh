#!/bin/sh
echo '{"web": {"hosts": ["w1"], "vars": {"x": "program", "y": "program"}}, "_meta": {"hostvars": {"w1": {"h": "program"}}}}'
