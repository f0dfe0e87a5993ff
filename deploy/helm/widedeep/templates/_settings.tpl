{{- /* The server's settings: those of values.yaml and those that are the chart's. */}}
{{- define "widedeep.settings" -}}
{{- $settings := deepCopy .Values.settings }}
{{- $_ := set $settings "port" .Values.ports.grpc }}
{{- $_ := set $settings "metrics" true }}
{{- $_ := set $settings "metrics_port" .Values.ports.http }}
{{- if .Values.tls.enabled }}
{{- $_ := set $settings "tls_cert" "/etc/widedeep/tls/tls.crt" }}
{{- $_ := set $settings "tls_key" "/etc/widedeep/tls/tls.key" }}
{{- if .Values.tls.clientCertificates }}
{{- $_ := set $settings "tls_client_ca" (ternary "/etc/widedeep/client-ca/ca.crt" "/etc/widedeep/tls/ca.crt" (ne .Values.tls.clientCASecretName "")) }}
{{- end }}
{{- end }}
{{- if .Values.tokens.secretName }}
{{- $_ := set $settings "tokens" "/etc/widedeep/tokens/tokens" }}
{{- end }}
{{- if and .Values.gpu.enabled (not (hasKey $settings "providers")) }}
{{- $_ := set $settings "providers" "CUDAExecutionProvider" }}
{{- end }}
{{- if and (eq (get $settings "front_end") "native") (or .Values.tls.enabled (get $settings "tracing")) }}
{{- fail "settings.front_end: the native front end has neither TLS nor tracing; use grpcio or auto" }}
{{- end }}
{{- if eq (int .Values.ports.grpc) (int .Values.ports.http) }}
{{- fail "ports.grpc and ports.http must differ" }}
{{- end }}
{{- if and .Values.tls.enabled (eq .Values.probes.type "grpc") }}
{{- fail "probes.type: Kubernetes' gRPC probes cannot speak TLS; use http" }}
{{- end }}
{{- toJson $settings }}
{{- end }}

{{- /* TOML by hand: toToml writes every number as a float. Tables follow the plain keys. */}}
{{- define "widedeep.toml" -}}
{{- $settings := include "widedeep.settings" . | fromJson }}
{{- range $key, $value := $settings }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ include "widedeep.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $settings }}
{{- if kindIs "map" $value }}

[{{ $key }}]
{{- range $name, $item := $value }}
{{ quote $name }} = {{ toJson $item }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "widedeep.tomlValue" -}}
{{- if kindIs "float64" . }}
{{- if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- else }}
{{- toJson . }}
{{- end }}
{{- end }}

{{- /* Seconds that stopping takes at most, and a margin. */}}
{{- define "widedeep.terminationSeconds" -}}
{{- $settings := .Values.settings }}
{{- $drain := ternary $settings.drain_wait_s 1 (hasKey $settings "drain_wait_s") }}
{{- $grace := ternary $settings.grace_s 30 (hasKey $settings "grace_s") }}
{{- addf .Values.preStopSeconds $drain $grace .Values.stopMarginSeconds | ceil | int }}
{{- end }}
