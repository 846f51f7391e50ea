{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "mqspan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "mqspan.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "mqspan.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mqspan.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mqspan.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mqspan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mqspan.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mqspan.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "mqspan.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mqspan.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "mqspan.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Where the queue's directory is in the pod. */}}
{{- define "mqspan.queueDirectory" -}}/var/lib/mqspan{{- end -}}

{{/* Where the files of tlsSecret are in the pod. */}}
{{- define "mqspan.tlsDirectory" -}}/etc/mqspan-tls{{- end -}}

{{/* The configuration as the agent gets it: that of the values, with headers, files and directory that the chart brings. */}}
{{- define "mqspan.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $add := dict -}}
{{- range $header, $value := dig "exporters" "otlp" "headers" dict $config -}}
{{- if not (contains "${env:" (toString $value)) -}}
{{- fail (printf "config.exporters.otlp.headers.%s would be in a ConfigMap, for all to read: put it into a Secret and name it in headersSecret, or write ${env:NAME} and set NAME in extraEnv" $header) -}}
{{- end -}}
{{- end -}}
{{- if .Values.headersSecret.name -}}
{{- $headers := dict -}}
{{- range $i, $header := keys .Values.headersSecret.headers | sortAlpha -}}
{{- $_ := set $headers $header (printf "${env:OTLP_HEADER_%d}" $i) -}}
{{- end -}}
{{- $add = dict "exporters" (dict "otlp" (dict "headers" $headers)) -}}
{{- end -}}
{{- if .Values.tlsSecret.name -}}
{{- $tls := dict -}}
{{- range $file, $key := dict "ca_file" .Values.tlsSecret.caKey "cert_file" .Values.tlsSecret.certKey "key_file" .Values.tlsSecret.keyKey -}}
{{- if $key -}}
{{- if dig "exporters" "otlp" "tls" $file "" $config -}}
{{- fail (printf "config.exporters.otlp.tls.%s and tlsSecret name one file each: take one of them away" $file) -}}
{{- end -}}
{{- $_ := set $tls $file (printf "%s/%s" (include "mqspan.tlsDirectory" $) $key) -}}
{{- end -}}
{{- end -}}
{{- $add = mergeOverwrite $add (dict "exporters" (dict "otlp" (dict "tls" $tls))) -}}
{{- end -}}
{{- if .Values.queueHostPath -}}
{{- $storage := dict "storage" (dict "directory" (include "mqspan.queueDirectory" .)) -}}
{{- $add = mergeOverwrite $add (dict "exporters" (dict "otlp" (dict "sending_queue" $storage))) -}}
{{- end -}}
{{- if dig "enrich" "kubernetes" "enabled" false $config -}}
{{- if not (dig "enrich" "kubernetes" "node_name" "" $config) -}}
{{- $add = mergeOverwrite $add (dict "enrich" (dict "kubernetes" (dict "node_name" "${env:NODE_NAME}"))) -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite $config $add | toYaml -}}
{{- end -}}

{{/* What the configuration's ${env:...} refer to. */}}
{{- define "mqspan.env" -}}
- name: HOST_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if .Values.headersSecret.name }}
{{- range $i, $header := keys .Values.headersSecret.headers | sortAlpha }}
- name: OTLP_HEADER_{{ $i }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.headersSecret.name }}
      key: {{ get $.Values.headersSecret.headers $header }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mqspan.tlsMount" -}}
{{- if .Values.tlsSecret.name -}}
- name: tls
  mountPath: {{ include "mqspan.tlsDirectory" . }}
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "mqspan.tlsVolume" -}}
{{- if .Values.tlsSecret.name -}}
- name: tls
  secret:
    secretName: {{ .Values.tlsSecret.name }}
    defaultMode: 0444
{{- end -}}
{{- end -}}

{{/* The port of an address such as 0.0.0.0:13133 or [::]:13133; nothing for none. */}}
{{- define "mqspan.port" -}}
{{- regexFind "[0-9]+$" (default "" .) -}}
{{- end -}}

{{- define "mqspan.healthPort" -}}
{{- include "mqspan.port" (dig "health" "address" "" .Values.config) -}}
{{- end -}}

{{- define "mqspan.metricsPort" -}}
{{- include "mqspan.port" (dig "metrics" "prometheus" "address" "" .Values.config) -}}
{{- end -}}

{{- define "mqspan.isKprobe" -}}
{{- if eq (dig "capture" "backend" "auto" .Values.config) "kprobe" -}}true{{- end -}}
{{- end -}}

{{- define "mqspan.asksKubernetes" -}}
{{- if dig "enrich" "kubernetes" "enabled" false .Values.config -}}true{{- end -}}
{{- end -}}
