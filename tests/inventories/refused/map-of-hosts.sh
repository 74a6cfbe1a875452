#!/bin/sh
echo '{"web": {"hosts": {"h": {}}}}'
