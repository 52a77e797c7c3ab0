#!/bin/sh
# Writes prometheusrule.yaml anew from the rules of ../../prometheus. A test compares.
set -eu
cd "$(dirname "$0")"
{
  echo '# Written by prometheusrule.sh from ../../prometheus: change it there.'
  echo 'apiVersion: monitoring.coreos.com/v1'
  echo 'kind: PrometheusRule'
  echo 'metadata:'
  echo '  name: psapwatch'
  echo 'spec:'
  echo '  groups:'
  for file in recording alerts; do
    sed -e '1,/^groups:/d' -e 's/^\(.\)/  \1/' "../../prometheus/$file.yml"
  done
} > prometheusrule.yaml
