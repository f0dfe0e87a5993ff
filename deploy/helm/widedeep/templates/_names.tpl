{{- define "widedeep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "widedeep.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name (include "widedeep.name" .) }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains (include "widedeep.name" .) .Release.Name }}
{{- $name = .Release.Name }}
{{- end }}
{{- $name = $name | trunc 50 | trimSuffix "-" }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "%q names no Service, which takes small letters, digits and dashes, a letter first: set fullnameOverride" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- define "widedeep.selector" -}}
app.kubernetes.io/name: {{ include "widedeep.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The server's pods alone, and not that of `helm test`. */}}
{{- define "widedeep.serverSelector" -}}
{{ include "widedeep.selector" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "widedeep.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "widedeep.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "widedeep.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "widedeep.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "widedeep.image" -}}
{{- $name := .Values.image.repository }}
{{- with .Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "widedeep.tlsSecret" -}}
{{- if .Values.tls.secretName }}
{{- .Values.tls.secretName }}
{{- else if .Values.tls.certManager.enabled }}
{{- printf "%s-tls" (include "widedeep.fullname" .) }}
{{- else }}
{{- fail "tls.enabled needs tls.secretName or tls.certManager.enabled" }}
{{- end }}
{{- end }}

{{- define "widedeep.tlsServerName" -}}
{{- default (include "widedeep.fullname" .) .Values.tls.serverName }}
{{- end }}
