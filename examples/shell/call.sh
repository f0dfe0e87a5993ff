#!/usr/bin/env bash
# Asks a model what it takes, scores one row, and shows what a refusal looks like, with protoc and curl alone:
#     call.sh [ADDRESS [MODEL]]
# WIDEDEEP_CA names a PEM file of the authority of the server's certificate, WIDEDEEP_TOKEN holds a bearer token.
set -euo pipefail
address=${1:-localhost:8001} model=${2:-digits}
protos=$(dirname "$0")/../../protos
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

security=(--http2-prior-knowledge) scheme=http
if [[ ${WIDEDEEP_CA:-} ]]; then security=(--http2 --cacert "$WIDEDEEP_CA") scheme=https; fi
if [[ ${WIDEDEEP_TOKEN:-} ]]; then
  printf 'authorization: Bearer %s\n' "$WIDEDEEP_TOKEN" >"$work/token" # a file: everybody can read arguments
  security+=(--header "@$work/token")
fi

# call METHOD: a request as text comes in, the response as text goes out. A gRPC message on HTTP/2 is one byte for "not
# compressed", four for its length, and itself; the status comes after the answer, among the trailers.
call() {
  protoc -I "$protos" --encode="inference.$1Request" inference.proto >"$work/message"
  printf %b "\\0$(printf %08x "$(stat -c %s "$work/message")" | sed 's/../\\x&/g')" >"$work/request"
  cat "$work/message" >>"$work/request"
  curl --silent --show-error --fail --max-time 5 "${security[@]}" \
    --header 'content-type: application/grpc' --header 'te: trailers' --header 'grpc-timeout: 5S' \
    --data-binary "@$work/request" --dump-header "$work/headers" --output "$work/answer" \
    "$scheme://$address/inference.GRPCInferenceService/$1"
  status=$(sed -n 's/^grpc-status: *\([0-9]*\).*/\1/p' "$work/headers")
  if [[ $status != 0 ]]; then
    message=$(sed -n 's/^grpc-message: *\([^\r]*\).*/\1/p' "$work/headers")
    message=${message//\\/\\\\}
    printf 'status %s: %b\n' "$status" "${message//%/\\x}" >&2 # it is percent-encoded
    return 1
  fi
  tail -c +6 "$work/answer" | protoc -I "$protos" --decode="inference.$1Response" inference.proto
}

call ModelMetadata <<<"name: '$model'" >"$work/metadata"
inputs=$(awk '/^[a-z]/ {group = $1} group == "inputs" && $1 == "name:" {gsub("\"", "", $2); print $2}' "$work/metadata")
version=$(sed -n 's/^versions: "\(.*\)"/\1/p' "$work/metadata" | tail -n 1)
echo "$model version $version takes ${inputs//$'\n'/, }"

# One row of each input. Text has no raw contents worth writing, so the values go by number.
awk -v model="$model" '
  BEGIN { print "model_name: \"" model "\"" }
  /^[a-z]/ { group = $1 }
  group != "inputs" { next }
  $1 == "inputs" { size = 1; axes = 0 }
  $1 == "shape:" { if (axes++) size *= $2; else $2 = 1 }
  $1 == "}" { printf "contents {"; for (i = 0; i < size; i++) printf " fp32_contents: %.9g", (i % 8) / 8; print " }" }
  { print }
' "$work/metadata" >"$work/rows"
call ModelInfer <"$work/rows" >"$work/scored"
# Outputs come in the order of the metadata, the probabilities first.
escaped=$(sed -n 's/^raw_output_contents: "\(.*\)"$/\1/p' "$work/scored" | head -n 1)
# shellcheck disable=SC2059 # a format is what takes protoc's escapes as they are
printf "${escaped//%/%%}" | od --endian=little -A n -t f4 | xargs echo probabilities

call ModelMetadata <<<"name: 'no-such-model'" 2>&1 || true
