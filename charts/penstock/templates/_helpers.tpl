{{- define "penstock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The name of everything in the release: short if the release is called after the chart. */}}
{{- define "penstock.fullname" -}}
{{- $name := include "penstock.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* By these the pods are found. They never change during the life of a release. */}}
{{- define "penstock.selectorLabels" -}}
app.kubernetes.io/name: {{ include "penstock.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "penstock.labels" -}}
{{ include "penstock.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "penstock.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "penstock.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "penstock.leaseName" -}}
{{- default (include "penstock.fullname" .) .Values.lease.name }}
{{- end }}

{{- /* The ProxyClass that the IngressClass refers to; empty if there is none. */}}
{{- define "penstock.proxyClassName" -}}
{{- if .Values.proxyClass.create }}
{{- default .Values.ingressClass.name .Values.proxyClass.name }}
{{- else }}
{{- .Values.proxyClass.name }}
{{- end }}
{{- end }}

{{- /* NAMESPACE/NAME of the Service whose addresses are published; empty if others are. */}}
{{- define "penstock.publishService" -}}
{{- if .Values.publish.addresses }}
{{- else if .Values.publish.service }}
{{- .Values.publish.service }}
{{- else if .Values.service.enabled }}
{{- printf "%s/%s" .Release.Namespace (include "penstock.fullname" .) }}
{{- end }}
{{- end }}

{{- /* Not empty if the addresses of nodes are published. */}}
{{- define "penstock.publishNodes" -}}
{{- if and .Values.publish.nodeAddresses (not .Values.publish.addresses) (not (include "penstock.publishService" .)) }}yes{{ end }}
{{- end }}

{{- /* Where eBPF programs and maps are pinned, a directory for each release; empty if nowhere. */}}
{{- define "penstock.pinDirectory" -}}
{{- if and .Values.ebpf.enabled .Values.ebpf.bpffs }}
{{- printf "%s/%s-%s" .Values.ebpf.bpffs .Release.Namespace (include "penstock.fullname" .) }}
{{- end }}
{{- end }}

{{- /* The configuration file: what other values say, and then what config says. */}}
{{- define "penstock.config" -}}
{{- $controller := dict "controller" .Values.ingressClass.controller }}
{{- $drain := dict "drain" (printf "%ds" (int .Values.termination.drainSeconds)) }}
{{- $config := dict "routing" $controller "timeouts" $drain }}
{{- with include "penstock.pinDirectory" . }}
{{- $_ := set $config "kernel" (dict "pinDirectory" .) }}
{{- end }}
{{- if hasKey (default dict .Values.config.timeouts) "drain" }}
{{- fail "config.timeouts.drain: set termination.drainSeconds instead, by which the pod gets the time to drain" }}
{{- end }}
{{- if hasKey (default dict .Values.config.routing) "controller" }}
{{- fail "config.routing.controller: set ingressClass.controller instead, which the IngressClass gets as well" }}
{{- end }}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | toYaml }}
{{- end }}
