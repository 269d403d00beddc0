#!/usr/bin/env bash
# Makes the Secrets that deploy/kubernetes names, those that do not exist yet: make-secrets.sh DATABASE-URL-FILE PROVIDER-KEY-FILE
# Both files hold one line. The API's token, which is kept nowhere else in clear, is written to ./agentrun-token. No secret is printed or an argument of a
# command. Needs kubectl (or what KUBECTL names) and openssl; the two namespaces must be there.
set -euo pipefail

database_url_file=${1:?"usage: make-secrets.sh DATABASE-URL-FILE PROVIDER-KEY-FILE"}
provider_key_file=${2:?"usage: make-secrets.sh DATABASE-URL-FILE PROVIDER-KEY-FILE"}
namespace=${MAIN_NAMESPACE:-agentrun}
runners=${AGENTRUN_RUNTIME_NAMESPACE:-agentrun-v01}
token_file=${TOKEN_FILE:-agentrun-token}

kubectl() { command "${KUBECTL:-kubectl}" "$@"; }
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
one_line() { tr -d '\r\n' <"$1"; }

# An ES256 key as a JSON Web Key Set. Of its 121 bytes of DER, d is at 7 and x, y are the last 64.
runner_keys() {
  local der
  der=$(openssl ecparam -name prime256v1 -genkey -noout -outform DER | openssl base64 -A)
  part() { openssl base64 -d -A <<<"$der" | tail -c "+$1" | head -c 32 | base64url; }
  printf '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"%s","d":"%s","x":"%s","y":"%s"}]}' \
    "$(date -u +%Y-%m-%d)-$(openssl rand -hex 3)" "$(part 8)" "$(part 58)" "$(part 90)"
}

# One token with every scope. The Secret has only its digest.
api_tokens() {
  local token
  token="agr_$(openssl rand 32 | base64url)"
  (umask 077 && printf '%s\n' "$token" >"$token_file")
  printf '[{"name":"operator","tokenSha256":"%s","scopes":["admin"]}]' \
    "$(printf %s "$token" | openssl dgst -sha256 -r | cut -d' ' -f1)"
}

webhook_key() { openssl rand 32 | base64url; }

# make NAMESPACE SECRET KEY COMMAND…: what COMMAND prints becomes the value.
make() {
  local where=$1 name=$2 key=$3
  shift 3
  if [ -n "$(kubectl get secret "$name" --namespace "$where" --ignore-not-found --output name)" ]; then
    echo "$where/$name exists"
  else
    "$@" | kubectl create secret generic "$name" --namespace "$where" --from-file="$key=/dev/stdin" >/dev/null
    echo "$where/$name made"
  fi
}

make "$namespace" agentrun-database url one_line "$database_url_file"
make "$namespace" agentrun-runner-keys keys.json runner_keys
make "$namespace" agentrun-api-tokens tokens.json api_tokens
make "$namespace" agentrun-webhooks key webhook_key
make "$runners" agentrun-provider key one_line "$provider_key_file"
