#!/usr/bin/env bash
# Makes the search attributes that AgentRun's workflows carry, all of type Keyword. Those that exist are left alone, so
# it can be run before every deployment. Needs the `temporal` command; reads TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and
# what else that command reads (TEMPORAL_TLS, TEMPORAL_API_KEY, ...).
set -euo pipefail

attributes=(AgentRunTenant AgentRunProject AgentRunSession AgentRunRun AgentRunTask AgentRunState)

existing=$(temporal operator search-attribute list --output json)
for name in "${attributes[@]}"; do
  if grep -q "\"$name\"" <<<"$existing"; then
    echo "$name exists"
  else
    temporal operator search-attribute create --name "$name" --type Keyword
    echo "$name made"
  fi
done
