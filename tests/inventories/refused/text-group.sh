#!/bin/sh
echo '{"web": "h"}'
