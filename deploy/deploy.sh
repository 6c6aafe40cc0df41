#!/bin/sh
# Sends everything in this folder to the Prefect server at PREFECT_API_URL: the work pool, the deployments, the
# automations. To be run again after a change; what is there is updated.
#
#   sh deploy/deploy.sh [process|docker|kubernetes]
set -eu
cd "$(dirname "$0")/.."
type="${1:-process}"
template="deploy/pools/$type.json"
[ -f "$template" ] || { echo "there is no $template: expected process, docker or kubernetes" >&2; exit 2; }

prefect --no-prompt work-pool create timeloom --type "$type" --base-job-template "$template" --overwrite
prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml
if [ -n "${TIMELOOM_WEBHOOK:-}" ]; then
  python -m flows.automations --webhook "$TIMELOOM_WEBHOOK"
else
  python -m flows.automations
fi
