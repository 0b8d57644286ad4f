#!/bin/sh
# Start Alertmanager in the foreground, natively or as a container's command: what Prometheus fires, sent to a webhook.
#
#   infra/monitoring/alertmanager.sh [any option of Alertmanager's]
#
# TOPSHELF_ALERTMANAGER_WEBHOOK takes Alertmanager's JSON, also when an alert is over; without it, alerts only stand on
# Alertmanager's page. TOPSHELF_ALERTMANAGER_DATA (/alertmanager) keeps silences and what was sent.
set -eu
data=${TOPSHELF_ALERTMANAGER_DATA:-/alertmanager}
alertmanager=$(command -v alertmanager || command -v prometheus-alertmanager) # Debian's name
umask 077 # the webhook's address may hold a secret
{
  cat <<'YAML'
route:
  receiver: operators
  group_by: [alertname, job]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 12h
  routes:
    - matchers: [severity = "page"]
      repeat_interval: 1h
inhibit_rules:
  # A host that does not answer explains what else is wrong with it.
  - source_matchers: [alertname = "EndpointDown"]
    target_matchers: [severity = "ticket"]
    equal: [job]
receivers:
  - name: operators
YAML
  if [ -n "${TOPSHELF_ALERTMANAGER_WEBHOOK:-}" ]; then
    quoted=$(printf '%s' "$TOPSHELF_ALERTMANAGER_WEBHOOK" | sed "s/'/''/g")
    printf "    webhook_configs:\n      - url: '%s'\n        send_resolved: true\n" "$quoted"
  fi
} >"$data/alertmanager.yml"
exec "$alertmanager" --config.file="$data/alertmanager.yml" --storage.path="$data" "$@"
