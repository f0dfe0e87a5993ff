{{- define "widedeep.probes" -}}
{{- $probes := .Values.probes }}
{{- $ready := dict "httpGet" (dict "path" "/v2/health/ready" "port" "http") }}
{{- $live := dict "httpGet" (dict "path" "/v2/health/live" "port" "http") }}
{{- if eq $probes.type "grpc" }}
{{- $ready = dict "grpc" (dict "port" (int .Values.ports.grpc)) }}
{{- /* The health service says the same of being live and of being ready, and a pod that loads must not be killed. */}}
{{- $live = dict "tcpSocket" (dict "port" "grpc") }}
{{- end }}
startupProbe:
  {{- toYaml $ready | nindent 2 }}
  periodSeconds: {{ $probes.periodSeconds }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  failureThreshold: {{ divf $probes.startupSeconds $probes.periodSeconds | ceil | int }}
readinessProbe:
  {{- toYaml $ready | nindent 2 }}
  periodSeconds: {{ $probes.periodSeconds }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  failureThreshold: {{ $probes.readinessFailures }}
livenessProbe:
  {{- toYaml $live | nindent 2 }}
  periodSeconds: {{ $probes.periodSeconds }}
  timeoutSeconds: {{ $probes.timeoutSeconds }}
  failureThreshold: {{ $probes.livenessFailures }}
{{- end }}

{{- define "widedeep.modelsMount" -}}
{{- if has .Values.models.source (list "pvc" "imageVolume" "pull") }}
- name: models
  mountPath: {{ .Values.models.path | quote }}
  readOnly: true
  {{- if eq .Values.models.source "pvc" }}
  {{- with .Values.models.pvc.subPath }}
  subPath: {{ . | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "widedeep.modelsVolume" -}}
{{- $models := .Values.models }}
{{- if eq $models.source "pvc" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ required "models.pvc.claimName is needed for models.source pvc" $models.pvc.claimName | quote }}
    readOnly: true
{{- else if eq $models.source "imageVolume" }}
- name: models
  image:
    reference: {{ required "models.imageVolume.reference is needed for models.source imageVolume" $models.imageVolume.reference | quote }}
    pullPolicy: {{ $models.imageVolume.pullPolicy }}
{{- else if eq $models.source "pull" }}
- name: models
  emptyDir:
    sizeLimit: {{ $models.remote.sizeLimit }}
{{- end }}
{{- end }}

{{- define "widedeep.remoteUrl" -}}
{{- required "models.remote.url is needed for models.source pull and remote" .Values.models.remote.url }}
{{- end }}

{{- /* Where `pull` puts what it brings: a bundle appears by renaming, which the root of a volume cannot. */}}
{{- define "widedeep.pulled" -}}
{{ trimSuffix "/" .Values.models.path }}/pulled
{{- end }}

{{- /* A model's folder in a registry, which names no model's version, becomes that model's folder. */}}
{{- define "widedeep.pullTarget" -}}
{{- $url := include "widedeep.remoteUrl" . | trimSuffix "/" }}
{{- include "widedeep.pulled" . }}
{{- if and (hasPrefix "oci://" $url) (not (regexMatch "^oci://[^/]+/.*[:@]" $url)) }}/{{ base $url }}{{ end }}
{{- end }}

{{- /* What the server serves: a path, or a URL. */}}
{{- define "widedeep.served" -}}
{{- if eq .Values.models.source "remote" }}{{ include "widedeep.remoteUrl" . }}
{{- else if eq .Values.models.source "pull" }}{{ include "widedeep.pulled" . }}
{{- else }}{{ .Values.models.path }}
{{- end }}
{{- end }}

{{- /* What follows, up to the volumes, is for the container that reads models.remote: the init container or the server. */}}
{{- define "widedeep.credentials" -}}
{{- $remote := .Values.models.remote }}
{{- if and $remote.credentialsSecret (not (hasPrefix "oci://" $remote.url)) }}
- secretRef:
    name: {{ $remote.credentialsSecret | quote }}
{{- end }}
{{- end }}

{{- define "widedeep.remoteEnv" -}}
{{- $remote := .Values.models.remote }}
{{- if include "widedeep.registrySecret" . }}
- {name: DOCKER_CONFIG, value: /etc/widedeep/registry}
{{- end }}
{{- if $remote.plainHttp }}
{{- if not (hasPrefix "oci://" $remote.url) }}
{{- fail "models.remote.plainHttp is for oci://; for s3:// let AWS_ENDPOINT_URL say http://" }}
{{- end }}
- {name: WIDEDEEP_OCI_PLAIN_HTTP, value: {{ include "widedeep.registryHost" . | quote }}}
{{- end }}
{{- if $remote.caConfigMap }}
{{- if hasPrefix "gs://" $remote.url }}
{{- fail "models.remote.caConfigMap is for s3:// and oci://" }}
{{- end }}
- {name: {{ ternary "REQUESTS_CA_BUNDLE" "AWS_CA_BUNDLE" (hasPrefix "oci://" $remote.url) }}, value: /etc/widedeep/remote-ca/ca.crt}
{{- end }}
{{- end }}

{{- define "widedeep.remoteMounts" -}}
{{- if include "widedeep.registrySecret" . }}
- name: registry
  mountPath: /etc/widedeep/registry
  readOnly: true
{{- end }}
{{- if .Values.models.remote.caConfigMap }}
- name: remote-ca
  mountPath: /etc/widedeep/remote-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "widedeep.remoteVolumes" -}}
{{- with include "widedeep.registrySecret" . }}
- name: registry
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items:
      - key: .dockerconfigjson
        path: config.json
{{- end }}
{{- with .Values.models.remote.caConfigMap }}
- name: remote-ca
  configMap:
    name: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "widedeep.registrySecret" -}}
{{- if hasPrefix "oci://" .Values.models.remote.url }}{{ .Values.models.remote.credentialsSecret }}{{ end }}
{{- end }}

{{- define "widedeep.registryHost" -}}
{{ regexReplaceAll "^oci://([^/]+)/.*$" .Values.models.remote.url "${1}" }}
{{- end }}

{{- /* Where it is not 443. */}}
{{- define "widedeep.registryPort" -}}
{{- if hasPrefix "oci://" .Values.models.remote.url }}
{{- regexFind ":[0-9]+$" (include "widedeep.registryHost" .) | trimPrefix ":" | default (ternary "80" "" .Values.models.remote.plainHttp) }}
{{- end }}
{{- end }}

{{- define "widedeep.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if .Values.gpu.enabled }}
{{- $limits := default dict (get $resources "limits") }}
{{- $_ := set $limits .Values.gpu.resourceName (int .Values.gpu.count) }}
{{- $_ := set $resources "limits" $limits }}
{{- end }}
{{- toYaml $resources }}
{{- end }}
