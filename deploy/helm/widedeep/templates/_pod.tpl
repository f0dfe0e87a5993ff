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

{{- /* What the server serves: a path, or a URL. */}}
{{- define "widedeep.served" -}}
{{- if eq .Values.models.source "remote" }}{{ include "widedeep.remoteUrl" . }}
{{- else if eq .Values.models.source "pull" }}{{ include "widedeep.pulled" . }}
{{- else }}{{ .Values.models.path }}
{{- end }}
{{- end }}

{{- /* Containers that read object storage. */}}
{{- define "widedeep.credentials" -}}
{{- with .Values.models.remote.credentialsSecret }}
- secretRef:
    name: {{ . | quote }}
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
